"""Attention over segments of a text and views of an image: similarities in, one score out. Arrays only, no training.

A long text says much that no image shows. Of its segments j, the cosine s(j,v) with each view v of the image is known, and so
are two numbers of a bank of unrelated images and prose (`Bank`): the mean m(j) of its cosine with the images, and its
informativeness i(j). Then, with D = max i,

    x(j) = tau_view * log(mean over v of exp(s(j,v) / tau_view)) - m(j)     how far it matches above what any image does
    a(j) ∝ i(j)^gamma, summing to 1
    f(x) = log(1 + exp(x / (0.3 D)))^1.5                                    what counts: a power of x, below 0 next to nothing
    alignment = A where f(A) = sum over j of a(j) * f(x(j))                 the mean of x through f, about a power mean

That is a mean of the segments' matches, weighed by informativeness times relevance: A = sum of w(j) * x(j) with

    w(j) ∝ a(j) * (f(x(j)) - f(A)) / (x(j) - A), summing to 1

A sentence that shows nothing is about equally similar to every image, and similar to prose: its i is small and it gets next to
no weight. A sentence about something else matches this image no better than any: its x is about 0, where f is flat. Sentences
that all match count about alike. A segment that matches better never lowers the alignment, and that of one segment is its x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairloom.alignment.bank import LEAST
from pairloom.choices import Kind

Floats = npt.NDArray[np.float64]

POWER = 1.5
"""The power of f: the mean of sentences is 1, which prose dilutes; 2 and more leave the best sentence alone."""

SOFTNESS = 0.3
"""The width of the bend of f at 0, in units of D; anything from 0.1 to 0.6 gives the same ranks."""

_SOFTMAX = 0.1  # the temperature of plain softmax pooling, in units of cosine
_FAR = -30.0  # so far below 0 softplus is the exponential
_NEAR = 1e-5  # so near each other a slope between two values is the derivative in their middle


@dataclass(frozen=True, slots=True)
class Pooling:
    """The constants of attention, chosen for each model on validation data: the exponent of informativeness, and the
    temperature, in units of cosine, of the soft maximum over views."""

    gamma: float = 8.0
    tau_view: float = 0.03


@dataclass(frozen=True, slots=True)
class Alignment:
    """One text held against one image. `alignment` is the sum of `weights` times `scores`.

    `scores` and `weights`, float64 (s,), are those of the segments, `views`, float64 (v,), those of the views.
    """

    alignment: float
    scores: Floats
    weights: Floats
    views: Floats


def align(
    similarities: npt.ArrayLike,
    mean: npt.ArrayLike,
    informativeness: npt.ArrayLike,
    pooling: Pooling = Pooling(),
    kind: Kind = "attention",
) -> Alignment:
    """Pool the cosines of s segments with v views, float (s, v); `mean` and `informativeness`, float (s,), are what
    `Bank.statistics` gives.

    `attention` is described above. The other kinds take no notice of the bank and are what it is measured against: the `mean`
    and the `max` over segments of the soft maximum c = x + m over views, and `softmax`, weights ∝ exp(c / 0.1). `whole` is for
    the one segment that a whole text is.

    Raises:
        ValueError: if there is no segment or no view, or if a number is not finite.
    """
    s = np.atleast_2d(np.asarray(similarities, np.float64))
    weights, scores = _pooled(s, mean, informativeness, pooling, kind)
    return Alignment(float(weights @ scores), scores, weights, weights @ s)


def align_each(
    similarities: npt.ArrayLike,
    mean: npt.ArrayLike,
    informativeness: npt.ArrayLike,
    pooling: Pooling = Pooling(),
    kind: Kind = "attention",
) -> Floats:
    """The `alignment` of one text with each of n images, float64 (n,); cosines are float (s, n, v), all else is as in `align`."""
    weights, scores = _pooled(np.asarray(similarities, np.float64), mean, informativeness, pooling, kind)
    return np.asarray((weights * scores).sum(axis=0))


def attend(match: Floats, prior: Floats, unit: float) -> Floats:
    """The weights w (s, ...) of segments that match so well, x (s, ...), where `unit` is D and `prior` the logarithms of
    informativeness, which need not be normalised, of the same shape or (s, 1, ...)."""
    u = match / (SOFTNESS * unit)
    prior = prior - _log_sum_exp(prior)
    # as logarithms, for far below 0 nothing else would be left of f
    logs = POWER * _log_softplus(u)
    mean = _log_sum_exp(prior + logs)
    level = _inverse_log_softplus(mean / POWER)
    away, middle = u - level, (u + level) / 2
    near = np.abs(away) < _NEAR
    # slopes over f(A); no weight needs more than exp(700), for f(A) is no less than a(j) * f(x(j))
    secants = np.expm1(np.minimum(logs - mean, 700.0)) / np.where(near, 1.0, away)
    tangents = (POWER - 1) * _log_softplus(middle) - np.logaddexp(0.0, -middle) - mean
    slopes = np.where(near, POWER * np.exp(np.where(near, tangents, 0.0)), secants)
    weights = np.exp(prior) * slopes
    return np.asarray(weights / weights.sum(axis=0))


def _pooled(
    s: Floats, mean: npt.ArrayLike, informativeness: npt.ArrayLike, pooling: Pooling, kind: Kind
) -> tuple[Floats, Floats]:
    """Weights and scores of segments, which are the first axis; views are the last."""
    shape = (-1,) + (1,) * (s.ndim - 2)
    m, i = np.asarray(mean, np.float64).reshape(shape), np.asarray(informativeness, np.float64).reshape(shape)
    if not s.size or not all(np.isfinite(part).all() for part in (s, m, i)):
        raise ValueError("similarities must be finite, with at least one segment and one view")
    fit = pooling.tau_view * _log_mean_exp(s / pooling.tau_view)
    if kind == "attention":
        unit = float(i.max())
        if unit < LEAST:  # nothing tells one segment from another
            return attend(fit - m, np.zeros_like(i), 1.0), fit - m
        with np.errstate(divide="ignore"):  # what is the same with every image gets no weight at all
            return attend(fit - m, np.log((i / unit) ** pooling.gamma), unit), fit - m
    return _weights(fit, kind), fit


def _weights(fit: Floats, kind: Kind) -> Floats:
    if kind in ("whole", "mean"):
        return np.full(fit.shape, 1 / len(fit))
    if kind == "max":
        places = np.arange(len(fit)).reshape((-1,) + (1,) * (fit.ndim - 1))
        return np.asarray(places == fit.argmax(axis=0), np.float64)
    weights = np.exp((fit - fit.max(axis=0)) / _SOFTMAX)
    return np.asarray(weights / weights.sum(axis=0))


def _log_softplus(u: Floats) -> Floats:
    return np.where(u < _FAR, u, np.log(np.logaddexp(0.0, np.maximum(u, _FAR))))


def _inverse_log_softplus(logs: Floats) -> Floats:
    y = np.exp(np.maximum(logs, _FAR))
    return np.where(logs < _FAR, logs, y + np.log(-np.expm1(-y)))


def _log_sum_exp(values: Floats) -> Floats:
    """Over the first axis, which stays, without overflow."""
    top = values.max(axis=0, keepdims=True)
    return np.asarray(top + np.log(np.exp(values - top).sum(axis=0, keepdims=True)))


def _log_mean_exp(values: Floats) -> Floats:
    """Over the last axis, without overflow."""
    top = values.max(axis=-1, keepdims=True)
    return np.asarray(top[..., 0] + np.log(np.exp(values - top).mean(axis=-1)))
