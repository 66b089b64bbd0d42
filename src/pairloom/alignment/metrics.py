"""How well texts and images find each other, with intervals: scores in, numbers out.

Everywhere `scores` is float (texts, images), higher means a better fit, and `positive` is bool (texts, images): which images
belong to which text, several where there are duplicates. The tie rule is the strict one: what scores the same as the right
answer counts as ranked before it, so that a constant score finds nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_KEPT = 4_000_000  # numbers drawn that are worth their memory


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """One policy against another on the same queries: the difference with its 95 % interval, the probability of one as large
    by chance (two-sided), and the share of the other's errors that are gone (negative where errors were added)."""

    difference: float
    low: float
    high: float
    p_value: float
    error_reduction: float


def ranks(scores: npt.ArrayLike, positive: npt.ArrayLike) -> Ints:
    """The rank of the best right image for each text, int64 (texts,), 1 being the first; rows without one are refused.

    Give both transposed for image to text.
    """
    s, right = np.asarray(scores, np.float64), np.asarray(positive, bool)
    if s.shape != right.shape or not right.any(axis=1).all():
        raise ValueError("each query needs a right answer, and scores and positives the same shape")
    best = np.where(right, s, -np.inf).max(axis=1, keepdims=True)
    return np.asarray(1 + (~right & (s >= best)).sum(axis=1), np.int64)


def recall_at(found: npt.ArrayLike, k: int) -> Floats:
    """For each rank 1.0 if it is among the first `k`, else 0.0; their mean is R@k."""
    return np.asarray(np.asarray(found) <= k, np.float64)


def matches(scores: npt.ArrayLike, own: npt.ArrayLike, others: npt.ArrayLike) -> Floats:
    """For each text 1.0 if image `own[i]` scores higher than all of `others[i]`, int (texts, n), else 0.0.

    With nine others the mean is 10-way matching accuracy, 10 % by chance.
    """
    s = np.asarray(scores, np.float64)
    right = np.take_along_axis(s, np.asarray(own, np.int64)[:, None], 1)[:, 0]
    return np.asarray(right > np.take_along_axis(s, np.asarray(others, np.int64), 1).max(axis=1), np.float64)


def auc(positive: npt.ArrayLike, negative: npt.ArrayLike) -> float:
    """The probability that a positive scores higher than a negative, ties counting half (Mann-Whitney)."""
    high, low = np.asarray(positive, np.float64), np.sort(np.asarray(negative, np.float64))
    if not high.size or not low.size:
        raise ValueError("there must be positives and negatives")
    below, upto = np.searchsorted(low, high, "left"), np.searchsorted(low, high, "right")
    return float((below + upto).mean() / (2 * low.size))


def bootstrap(
    values: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    statistic: Callable[[Floats], float] | None = None,
    rounds: int = 2000,
    seed: int = 0,
) -> Estimate:
    """A statistic of `values` (n,), by default the mean, with the percentile interval of `rounds` resamplings, whole `clusters`
    (n,) at a time."""
    v = np.asarray(values, np.float64)
    if statistic is None:
        each, found = _means(v, clusters, rounds, seed), float(v.mean())
    else:
        each, found = [statistic(v[rows]) for rows in _resampled(len(v), clusters, rounds, seed)], statistic(v)
    low, high = np.percentile(each, [2.5, 97.5])
    return Estimate(found, float(low), float(high))


def paired(
    base: npt.ArrayLike, other: npt.ArrayLike, clusters: npt.ArrayLike | None = None, rounds: int = 2000, seed: int = 0
) -> Difference:
    """The mean of `other` less that of `base`, both (n,) hits from 0 to 1 of the same queries.

    The interval is a paired bootstrap over clusters. The probability is McNemar's exact test where all are 0 or 1 and each
    query is its own cluster, else that of the bootstrap.
    """
    a, b = np.asarray(base, np.float64), np.asarray(other, np.float64)
    change = b - a
    each = np.array(_means(change, clusters, rounds, seed))
    low, high = np.percentile(each, [2.5, 97.5])
    alone = clusters is None or len(np.unique(np.asarray(clusters))) == len(a)
    if alone and np.isin(np.concatenate([a, b]), (0, 1)).all():
        p = mcnemar(int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum()))
    else:
        p = min(1.0, 2 * (1 + min((each <= 0).sum(), (each >= 0).sum())) / (rounds + 1))
    return Difference(float(change.mean()), float(low), float(high), float(p), error_reduction(a.mean(), b.mean()))


def mcnemar(lost: int, won: int) -> float:
    """Two-sided exact probability that `lost` and `won` discordant pairs are as uneven by chance (McNemar 1947, binomial)."""
    n = lost + won
    return min(1.0, 2 * sum(comb(n, k) for k in range(min(lost, won) + 1)) / int(2**n))


def error_reduction(base: float, other: float) -> float:
    """The share of errors of accuracy `base` that accuracy `other` doesn't make; 0 where there were none."""
    return float((other - base) / (1 - base)) if base < 1 else 0.0


def holm(p_values: list[float]) -> list[float]:
    """Probabilities corrected for having made that many comparisons (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    corrected, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - place)))
        corrected[index] = highest
    return corrected


def _resampled(count: int, clusters: npt.ArrayLike | None, rounds: int, seed: int) -> Iterator[Ints]:
    """Row numbers of each resampling."""
    numbers = _numbers(count, clusters)
    order = np.argsort(numbers, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    for draw in _draws(len(groups), rounds, seed):
        yield draw if len(groups) == count else np.concatenate([groups[group] for group in draw])


def _means(values: Floats, clusters: npt.ArrayLike | None, rounds: int, seed: int) -> list[float]:
    """The mean of each resampling, from the sums of the clusters."""
    numbers = _numbers(len(values), clusters)
    sums, sizes = np.bincount(numbers, values), np.bincount(numbers)
    blocks = (
        [_drawn(len(sums), rounds, seed)] if len(sums) * rounds <= _KEPT else map(np.atleast_2d, _draws(len(sums), rounds, seed))
    )
    return [mean for rows in blocks for mean in (sums[rows].sum(axis=1) / sizes[rows].sum(axis=1)).tolist()]


def _numbers(count: int, clusters: npt.ArrayLike | None) -> Ints:
    """The cluster of each row, from 0 on; a row's own number where each is its own."""
    if clusters is None:
        return np.arange(count)
    names, numbers = np.unique(np.asarray(clusters), return_inverse=True)
    return np.arange(count) if len(names) == count else numbers


@functools.lru_cache(maxsize=2)
def _drawn(count: int, rounds: int, seed: int) -> Ints:
    """All draws at once, (rounds, count): a comparison resamples the same pairs some hundred times."""
    return np.array(list(_draws(count, rounds, seed)), np.int64).reshape(rounds, count)


def _draws(count: int, rounds: int, seed: int) -> Iterator[Ints]:
    chance = np.random.default_rng(seed)
    return (chance.integers(0, count, count) for _ in range(rounds))
