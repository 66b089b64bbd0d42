"""Metrics by hand, and what must hold whatever the scores are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pairloom.alignment.metrics import auc, bootstrap, error_reduction, holm, matches, mcnemar, paired, ranks, recall_at

SCORES = np.array([[0.9, 0.1, 0.5], [0.4, 0.2, 0.3], [0.1, 0.2, 0.2]])


def test_ranks_by_hand() -> None:
    eye = np.eye(3, dtype=bool)
    assert ranks(SCORES, eye).tolist() == [1, 3, 2]  # the last one is a tie, which counts against
    assert ranks(SCORES.T, eye).tolist() == [1, 2, 3]
    assert recall_at([1, 3, 2], 1).tolist() == [1, 0, 0] and recall_at([1, 3, 2], 2).mean() == pytest.approx(2 / 3)


def test_several_right_answers() -> None:
    right = np.array([[1, 0, 1], [0, 1, 1], [1, 0, 1]], bool)
    assert ranks(SCORES, right).tolist() == [1, 2, 2]
    with pytest.raises(ValueError, match="right answer"):
        ranks(SCORES, np.zeros((3, 3), bool))


def test_a_constant_score_finds_nothing() -> None:
    assert ranks(np.zeros((4, 4)), np.eye(4)).tolist() == [4, 4, 4, 4]
    assert matches(np.zeros((4, 4)), range(4), [[1, 2], [0, 2], [0, 1], [0, 1]]).sum() == 0
    assert auc([1.0, 1.0], [1.0]) == 0.5


def test_matches_by_hand() -> None:
    assert matches(SCORES, [0, 1, 2], [[1, 2], [2, 0], [0, 0]]).tolist() == [1, 0, 1]


def test_auc_by_hand() -> None:
    assert auc([3, 2], [1, 2]) == pytest.approx((2 + 1.5) / 4)
    with pytest.raises(ValueError, match="negatives"):
        auc([1.0], [])


def test_mcnemar_and_holm_by_hand() -> None:
    assert mcnemar(0, 5) == pytest.approx(2 / 32) and mcnemar(3, 3) == 1 and mcnemar(0, 0) == 1
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_error_reduction() -> None:
    assert error_reduction(0.65, 0.82) == pytest.approx(0.17 / 0.35) and error_reduction(1.0, 0.5) == 0.0


def test_paired_by_hand() -> None:
    base, other = np.array([0] * 8 + [1] * 12), np.array([1] * 6 + [0] * 3 + [1] * 11)
    found = paired(base, other)
    assert found.difference == pytest.approx(5 / 20) and found.p_value == pytest.approx(mcnemar(1, 6))
    assert found.low < found.difference < found.high and found.error_reduction == pytest.approx(5 / 8)


def test_clusters_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(0).integers(0, 2, 40), 10)
    alone, grouped = bootstrap(values), bootstrap(values, np.repeat(np.arange(40), 10))
    assert grouped.value == alone.value and grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    chance = np.random.default_rng(1)
    inside = 0
    for trial in range(200):
        found = bootstrap(chance.random(60) < 0.3, rounds=300, seed=trial)
        inside += found.low <= 0.3 <= found.high
    assert 175 <= inside <= 200


@given(arrays(float, st.tuples(st.integers(2, 6), st.integers(2, 6)), elements=st.floats(-1, 1)))
def test_ranks_are_places(scores: np.ndarray) -> None:
    right = np.zeros(scores.shape, bool)
    right[:, 0] = True
    found = ranks(scores, right)
    assert ((found >= 1) & (found <= scores.shape[1])).all()
    order = np.random.default_rng(0).permutation(scores.shape[1])
    assert (ranks(scores[:, order], right[:, order]) == found).all()
    assert (ranks(scores * 2 + 1, right) <= scores.shape[1]).all()


@given(st.lists(st.floats(-1, 1), min_size=1), st.lists(st.floats(-1, 1), min_size=1))
def test_auc_is_that_of_all_pairs(high: list[float], low: list[float]) -> None:
    pairs = [(a > b) + (a == b) / 2 for a in high for b in low]
    assert auc(high, low) == pytest.approx(float(np.mean(pairs)))
    assert auc(high, low) == pytest.approx(1 - auc(low, high))
