"""Recall, matching accuracy and their intervals, from a matrix of similarities (queries x candidates, the diagonal is right)."""

from __future__ import annotations

from math import comb

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]


def ranks(scores: Array) -> npt.NDArray[np.int64]:
    """How many wrong candidates score at least as much as the right one, for each query."""
    right = np.diagonal(scores)[:, None]
    return np.asarray((scores >= right).sum(1) - 1, np.int64)


def recall(rank: npt.NDArray[np.int64], depth: int) -> Scores:
    """1 where the right candidate is among the best `depth`."""
    return (rank < depth).astype(np.float64)


def ten_way(rank: npt.NDArray[np.int64], count: int) -> Scores:
    """Chance that the right candidate beats 9 others drawn from the `count` - 1 wrong ones: no draw, so no noise of drawing."""
    table = np.array([comb(count - 1 - number, 9) / comb(count - 1, 9) for number in range(count)])
    return np.asarray(table[rank])


def interval(values: Scores, seed: int = 0, rounds: int = 2000) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval over queries, in per cent."""
    draw = np.random.default_rng(seed)
    means = [values[draw.integers(len(values), size=len(values))].mean() for _ in range(rounds)]
    low, high = np.percentile(means, [2.5, 97.5])
    return 100 * float(values.mean()), 100 * float(low), 100 * float(high)


def show(name: str, values: Scores) -> str:
    """One line: name, mean, interval, number of queries."""
    mean, low, high = interval(values)
    return f"{name:58s} {mean:5.1f}  [{low:.1f}, {high:.1f}]  n={len(values)}"
