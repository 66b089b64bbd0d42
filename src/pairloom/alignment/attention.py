"""Attention over segments of a text and views of an image: similarities in, one score out. Arrays only, no training.

A long text says much that no image shows. Of its segments j, the cosine s(j,v) with each view v of the image is known, and so
are the mean m(j) and the standard deviation d(j) of the segment's cosine over a bank of unrelated images. Then

    c(j) = tau_view * log(mean over v of exp(s(j,v) / tau_view))      how well it fits the views, between their mean and maximum
    w(j) ∝ (d(j) / max d)^gamma * exp(c(j) / tau), summing to 1       informativeness times relevance
    alignment = sum over j of w(j) * (c(j) - m(j))

A sentence that shows nothing is about equally similar to every image: its d is small and it gets no weight. A sentence about
something else is not similar to this image: its c is small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairloom.choices import Kind

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pooling:
    """The constants of attention, chosen for each model on validation data: the exponent of informativeness, and the
    temperatures, in units of cosine, of relevance and of the maximum over views."""

    gamma: float = 10.0
    tau: float = 0.2
    tau_view: float = 0.1


@dataclass(frozen=True, slots=True)
class Alignment:
    """One text held against one image. `alignment` is the sum of `weights` times `scores`.

    `scores` and `weights`, float64 (s,), are those of the segments, `views`, float64 (v,), those of the views.
    """

    alignment: float
    scores: Floats
    weights: Floats
    views: Floats


def bank_statistics(texts: npt.ArrayLike, bank: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Mean and standard deviation, float64 (s,), of each text's cosine over the bank.

    `texts` (s, d) and `bank` (b, d) are L2-normalised embeddings.
    """
    cosines = np.asarray(texts, np.float64) @ np.asarray(bank, np.float64).T
    return cosines.mean(axis=1), cosines.std(axis=1)


def align(
    similarities: npt.ArrayLike,
    mean: npt.ArrayLike,
    deviation: npt.ArrayLike,
    pooling: Pooling = Pooling(),
    kind: Kind = "attention",
) -> Alignment:
    """Pool the cosines of s segments with v views, float (s, v); `mean` and `deviation`, float (s,), are of the bank.

    `attention` is described above. The other kinds take no notice of the bank and are what it is measured against: the `mean`
    and the `max` of c over segments, `softmax` weights by relevance alone. `whole` is for the one segment that a whole text is.

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


def _pooled(s: Floats, mean: npt.ArrayLike, deviation: npt.ArrayLike, pooling: Pooling, kind: Kind) -> tuple[Floats, Floats]:
    """Weights and scores of segments, which are the first axis; views are the last."""
    shape = (-1,) + (1,) * (s.ndim - 2)
    m, d = np.asarray(mean, np.float64).reshape(shape), np.asarray(deviation, np.float64).reshape(shape)
    if not s.size or not all(np.isfinite(part).all() for part in (s, m, d)):
        raise ValueError("similarities must be finite, with at least one segment and one view")
    fit = pooling.tau_view * _log_mean_exp(s / pooling.tau_view)
    return _weights(fit, d, pooling, kind), fit - m if kind == "attention" else fit


def _weights(fit: Floats, deviation: Floats, pooling: Pooling, kind: Kind) -> Floats:
    if kind in ("whole", "mean"):
        return np.full(fit.shape, 1 / len(fit))
    if kind == "max":
        return np.asarray(np.arange(len(fit)).reshape(deviation.shape) == fit.argmax(axis=0), np.float64)
    logits = fit / pooling.tau
    if kind == "attention" and deviation.max() > 0:
        with np.errstate(divide="ignore"):  # what is the same with every image gets no weight at all
            logits = logits + pooling.gamma * np.log(deviation / deviation.max())
    weights = np.exp(logits - logits.max(axis=0))
    return np.asarray(weights / weights.sum(axis=0))


def _log_mean_exp(values: Floats) -> Floats:
    """Over the last axis, without overflow."""
    top = values.max(axis=-1, keepdims=True)
    return np.asarray(top[..., 0] + np.log(np.exp(values - top).mean(axis=-1)))
