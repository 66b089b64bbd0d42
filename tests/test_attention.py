"""Attention over segments and views: by hand, and what must hold whatever the numbers are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pairloom.alignment.attention import Pooling, align, align_each, bank_statistics

COSINE = st.floats(-1, 1)
KINDS = ["whole", "mean", "max", "softmax", "attention"]


def test_by_hand() -> None:
    pooling = Pooling(gamma=2, tau=0.5, tau_view=0.25)
    found = align([[0.4, 0.2], [0.1, 0.1]], [0.05, 0.02], [0.1, 0.05], pooling)
    first = 0.25 * math.log((math.exp(0.4 / 0.25) + math.exp(0.2 / 0.25)) / 2)
    raw = [1.0 * math.exp(first / 0.5), 0.25 * math.exp(0.1 / 0.5)]
    weights = [one / sum(raw) for one in raw]
    assert found.weights == pytest.approx(weights)
    assert found.scores == pytest.approx([first - 0.05, 0.08])
    assert found.alignment == pytest.approx(weights[0] * (first - 0.05) + weights[1] * 0.08)
    assert found.views == pytest.approx([weights[0] * 0.4 + weights[1] * 0.1, weights[0] * 0.2 + weights[1] * 0.1])


def test_what_says_nothing_gets_no_weight() -> None:
    found = align([[0.3], [0.3], [0.3]], [0.1, 0.3, 0.3], [0.1, 0.01, 0.0])
    assert found.weights[0] > 0.999 and found.weights[2] == 0
    assert found.alignment == pytest.approx(0.2, abs=1e-3)


def test_one_segment_is_its_score_above_the_bank() -> None:
    found = align([[0.3]], [0.1], [0.0])
    assert found.weights.tolist() == [1.0] and found.alignment == pytest.approx(0.2)


def test_the_simple_kinds() -> None:
    s, m, d = [[0.1], [0.3], [0.2]], [0.0, 0.1, 0.2], [0.1, 0.1, 0.1]
    assert align(s, m, d, kind="mean").alignment == pytest.approx(0.2)
    assert align(s, m, d, kind="max").alignment == pytest.approx(0.3)
    assert align(s, m, d, Pooling(tau=1e-3), "softmax").alignment == pytest.approx(0.3)
    assert align(s, m, d, Pooling(tau=1e3), "softmax").alignment == pytest.approx(0.2, abs=1e-3)


def test_bank_statistics() -> None:
    mean, deviation = bank_statistics([[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.0, 1.0]])
    assert mean == pytest.approx([0.5, 0.7]) and deviation == pytest.approx([0.5, 0.1])


@pytest.mark.parametrize("similarities", [np.empty((0, 1)), np.empty((1, 0)), [[math.nan]], [[math.inf]]])
def test_what_can_not_be_scored_is_refused(similarities: object) -> None:
    with pytest.raises(ValueError, match="finite"):
        align(similarities, [0.0], [0.1])  # type: ignore[arg-type]


@given(arrays(float, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=COSINE), st.sampled_from(KINDS), st.data())
def test_invariants(s: np.ndarray, kind: str, data: st.DataObject) -> None:
    rows = len(s)
    m = data.draw(arrays(float, rows, elements=COSINE))
    d = data.draw(arrays(float, rows, elements=st.floats(0, 1)))
    found = align(s, m, d, kind=kind)  # type: ignore[arg-type]
    assert found.weights.min() >= 0 and found.weights.sum() == pytest.approx(1)
    assert found.alignment == pytest.approx(float(found.weights @ found.scores))
    assert len(found.views) == s.shape[1]
    fit = found.scores + (m if kind == "attention" else 0)
    assert (fit <= s.max(axis=1) + 1e-9).all() and (fit >= s.mean(axis=1) - 1e-9).all()
    order = data.draw(st.permutations(range(rows)))
    moved = align(s[order], m[order], d[order], kind=kind)  # type: ignore[arg-type]
    assert moved.alignment == pytest.approx(found.alignment, abs=1e-9)


@given(arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)), elements=COSINE), st.sampled_from(KINDS))
def test_many_images_at_once_are_the_same_as_one_by_one(s: np.ndarray, kind: str) -> None:
    m, d = s.mean(axis=(1, 2)), s.std(axis=(1, 2))
    together = align_each(s, m, d, kind=kind)  # type: ignore[arg-type]
    alone = [align(s[:, image], m, d, kind=kind).alignment for image in range(s.shape[1])]  # type: ignore[arg-type]
    assert together == pytest.approx(alone, abs=1e-12)
