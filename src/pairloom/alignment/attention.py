"""Attention over segments of a text and views of an image: similarities in, one score out. Arrays only, no training.

A long text says much that no image shows. Of its segments j, the cosine s(j,v) with each view v of the image is known, and so
are the mean m(j) and the deviation d(j) of its cosine over a bank of unrelated images (`Bank`). Then, with D = max d,

    x(j) = tau_view * log(mean over v of exp(s(j,v) / tau_view)) - m(j)     how far it matches above what any image does
    a(j) ∝ d(j)^gamma, summing to 1                                         informativeness
    f(x) = log(1 + exp(x / (0.3 D)))²                                       what counts: the square of x, below 0 next to nothing
    alignment = A where f(A) = sum over j of a(j) * f(x(j))                 the mean of x through f, about a root mean square

That is a mean of the segments' matches, weighed by informativeness times relevance: A = sum of w(j) * x(j) with

    w(j) ∝ a(j) * (f(x(j)) - f(A)) / (x(j) - A), summing to 1

A sentence that shows nothing is about equally similar to every image: its d is small and it gets no weight. A sentence about
something else matches this image no better than any: its x is about 0, where f is flat. Sentences that all match count about
alike. A segment that matches better never lowers the alignment, and that of one segment is its x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairloom.choices import Kind

Floats = npt.NDArray[np.float64]

LEAST = 1e-6
"""The least deviation over a bank that is told from none, in units of cosine."""

EVENING = 0.3
"""What is added to the variance of each direction of a bank, in units of their mean."""

SOFTNESS = 0.3
"""The width of the bend of f at 0, in units of D; anything from 0.1 to 0.6 gives the same ranks."""

_SOFTMAX = 0.1  # the temperature of plain softmax pooling, in units of cosine
_FAR = -30.0  # so far below 0 softplus is the exponential
_NEAR = 1e-5  # so near each other a slope between two values is the derivative in their middle


@dataclass(frozen=True, slots=True)
class Pooling:
    """The constants of attention, chosen for each model on validation data: the exponent of informativeness, and the
    temperature, in units of cosine, of the soft maximum over views."""

    gamma: float = 10.0
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


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """Unrelated images, as far as texts are held against them: their mean, float64 (d,), and what is left of them without it,
    `evened`, float64 (b, d)."""

    mean: Floats
    evened: Floats

    @classmethod
    def of(cls, images: npt.ArrayLike) -> Bank:
        """A bank of L2-normalised embeddings (b, d).

        Evened are the directions in which its images differ, or the few that most of it is about would drown all others: each is
        divided by the root of its variance plus 0.3 of the mean variance, and all are scaled to the total that they had.

        Raises:
            ValueError: if a number is not finite.
        """
        vectors = np.asarray(images, np.float64)
        if not vectors.size or not np.isfinite(vectors).all():
            raise ValueError("a bank needs images, and finite embeddings of them")
        mean = vectors.mean(axis=0)
        away = vectors - mean
        gram = away @ away.T
        total = float(np.trace(gram))
        if total < len(away) * LEAST**2:
            return cls(mean, np.zeros_like(away))
        shrunk = gram + np.eye(len(away)) * EVENING * total / directions(*away.shape)
        evened = np.linalg.solve(np.linalg.cholesky(shrunk), away)
        return cls(mean, evened * math.sqrt(total / len(away) / float((evened**2).sum())))

    def statistics(self, texts: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Mean and deviation, float64 (s,), of the cosines of L2-normalised texts (s, d)."""
        vectors = np.asarray(texts, np.float64)
        return vectors @ self.mean, np.linalg.norm(vectors @ self.evened.T, axis=1)


def directions(images: int, dimension: int) -> int:
    """How many directions differ at most in a bank."""
    return max(1, min(images - 1, dimension))


def align(
    similarities: npt.ArrayLike,
    mean: npt.ArrayLike,
    deviation: npt.ArrayLike,
    pooling: Pooling = Pooling(),
    kind: Kind = "attention",
) -> Alignment:
    """Pool the cosines of s segments with v views, float (s, v); `mean` and `deviation`, float (s,), are of `Bank.statistics`.

    `attention` is described above. The other kinds take no notice of the bank and are what it is measured against: the `mean`
    and the `max` over segments of the soft maximum c = x + m over views, and `softmax`, weights ∝ exp(c / 0.1). `whole` is for
    the one segment that a whole text is.

    Raises:
        ValueError: if there is no segment or no view, or if a number is not finite.
    """
    s = np.atleast_2d(np.asarray(similarities, np.float64))
    weights, scores = _pooled(s, mean, deviation, pooling, kind)
    return Alignment(float(weights @ scores), scores, weights, weights @ s)


def align_each(
    similarities: npt.ArrayLike,
    mean: npt.ArrayLike,
    deviation: npt.ArrayLike,
    pooling: Pooling = Pooling(),
    kind: Kind = "attention",
) -> Floats:
    """The `alignment` of one text with each of n images, float64 (n,); cosines are float (s, n, v), all else is as in `align`."""
    weights, scores = _pooled(np.asarray(similarities, np.float64), mean, deviation, pooling, kind)
    return np.asarray((weights * scores).sum(axis=0))


def attend(match: Floats, prior: Floats, unit: float) -> Floats:
    """The weights w (s, ...) of segments that match so well, x (s, ...), where `unit` is D and `prior` the logarithms of
    informativeness, which need not be normalised, of the same shape or (s, 1, ...)."""
    u = match / (SOFTNESS * unit)
    prior = prior - _log_sum_exp(prior)
    # as logarithms, for far below 0 nothing else would be left of f
    logs = 2 * _log_softplus(u)
    mean = _log_sum_exp(prior + logs)
    level = _inverse_log_softplus(mean / 2)
    away, middle = u - level, (u + level) / 2
    near = np.abs(away) < _NEAR
    # slopes over f(A); no weight needs more than exp(700), for f(A) is no less than a(j) * f(x(j))
    secants = np.expm1(np.minimum(logs - mean, 700.0)) / np.where(near, 1.0, away)
    tangents = _log_softplus(middle) - np.logaddexp(0.0, -middle) - mean
    slopes = np.where(near, 2 * np.exp(np.where(near, tangents, 0.0)), secants)
    weights = np.exp(prior) * slopes
    return np.asarray(weights / weights.sum(axis=0))


def _pooled(s: Floats, mean: npt.ArrayLike, deviation: npt.ArrayLike, pooling: Pooling, kind: Kind) -> tuple[Floats, Floats]:
    """Weights and scores of segments, which are the first axis; views are the last."""
    shape = (-1,) + (1,) * (s.ndim - 2)
    m, d = np.asarray(mean, np.float64).reshape(shape), np.asarray(deviation, np.float64).reshape(shape)
    if not s.size or not all(np.isfinite(part).all() for part in (s, m, d)):
        raise ValueError("similarities must be finite, with at least one segment and one view")
    fit = pooling.tau_view * _log_mean_exp(s / pooling.tau_view)
    if kind == "attention":
        unit = float(d.max())
        if unit < LEAST:  # nothing tells one segment from another
            return attend(fit - m, np.zeros_like(d), 1.0), fit - m
        with np.errstate(divide="ignore"):  # what is the same with every image gets no weight at all
            return attend(fit - m, np.log((d / unit) ** pooling.gamma), unit), fit - m
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
