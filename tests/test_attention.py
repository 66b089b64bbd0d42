"""Attention over segments and views: by hand, and what must hold whatever the numbers are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pairloom.alignment.attention import POWER, SOFTNESS, Pooling, align, align_each
from pairloom.alignment.bank import EVENING, Bank, BankVectors

COSINE = st.floats(-1, 1)
KINDS = ["whole", "mean", "max", "softmax", "attention"]


def test_by_hand() -> None:
    pooling = Pooling(gamma=2, tau_view=0.25)
    found = align([[0.4, 0.2], [0.1, 0.1]], [0.05, 0.02], [0.1, 0.05], pooling)
    x = [0.25 * math.log((math.exp(0.4 / 0.25) + math.exp(0.2 / 0.25)) / 2) - 0.05, 0.08]
    width = SOFTNESS * 0.1
    counts = [math.log(1 + math.exp(one / width)) ** POWER for one in x]
    mean = 0.8 * counts[0] + 0.2 * counts[1]
    alignment = width * math.log(math.exp(mean ** (1 / POWER)) - 1)
    raw = [a * (f - mean) / (one - alignment) for a, f, one in zip((0.8, 0.2), counts, x, strict=True)]
    weights = [one / sum(raw) for one in raw]
    assert found.scores == pytest.approx(x) and found.weights == pytest.approx(weights)
    assert found.alignment == pytest.approx(alignment) and weights[0] > 0.8
    assert found.views == pytest.approx([weights[0] * 0.4 + weights[1] * 0.1, weights[0] * 0.2 + weights[1] * 0.1])


def test_what_says_nothing_gets_no_weight() -> None:
    found = align([[0.3], [0.3], [0.3]], [0.1, 0.3, 0.3], [0.1, 0.01, 0.0])
    assert found.weights[0] > 0.999 and found.weights[2] == 0
    assert found.alignment == pytest.approx(0.2, abs=1e-3)


def test_what_fits_another_image_gets_little_weight_and_what_fits_this_one_gets_its_share() -> None:
    mean, deviation = np.zeros(6), np.full(6, 0.1)
    mixed = align([[0.3], [0.28], [0.0], [-0.1], [0.05], [-0.3]], mean, deviation)
    assert mixed.weights[:2].sum() > 0.5 > 0.15 > mixed.weights[5] and 0.1 < mixed.alignment < 0.29
    assert (np.diff(mixed.weights[[5, 3, 2, 4, 1, 0]]) > 0).all()
    fitting = align([[0.3], [0.25], [0.2], [0.3], [0.25], [0.2]], mean, deviation)
    assert fitting.weights.max() < 1.25 * fitting.weights.min()
    assert fitting.alignment == pytest.approx(0.25, abs=5e-3)


def test_one_segment_is_its_score_above_the_bank() -> None:
    found = align([[0.3]], [0.1], [0.0])
    assert found.weights.tolist() == [1.0] and found.alignment == pytest.approx(0.2)


def test_the_simple_kinds() -> None:
    s, m, d = [[0.1], [0.3], [0.2]], [0.0, 0.1, 0.2], [0.1, 0.1, 0.1]
    assert align(s, m, d, kind="mean").alignment == pytest.approx(0.2)
    assert align(s, m, d, kind="max").alignment == pytest.approx(0.3)
    raw = [math.exp(one / 0.1) for one in (0.1, 0.3, 0.2)]
    expected = sum(one * weight for one, weight in zip((0.1, 0.3, 0.2), raw, strict=True)) / sum(raw)
    assert align(s, m, d, kind="softmax").alignment == pytest.approx(expected)


NONE = np.eye(4)[3:].repeat(3, 0)  # prose that nothing else is like


def test_a_bank_tells_what_says_something_in_whatever_direction() -> None:
    # most of the images differ in the first direction, a few in the second, none in the third
    sides = np.array([[1.0, 0, 0, 0]] * 20 + [[-1.0, 0, 0, 0]] * 20 + [[0, 1.0, 0, 0]] + [[0, -1.0, 0, 0]])
    images = sides + np.array([0, 0, 0.5, 0])
    mean, found = Bank.of(BankVectors(images, NONE)).statistics(np.eye(4)[:3])
    assert mean == pytest.approx([0, 0, 0.5]) and found[2] == pytest.approx(0)
    variances = np.array([40 / 42, 2 / 42])  # by hand: what is left of them is v / (v + EVENING * mean), scaled to the sum
    left = variances / (variances + EVENING / 4)
    assert (found / found[0])[:2] == pytest.approx(np.sqrt(left / left[0]))
    assert found[1] > 0.3 * found[0] and sides[:, 1].std() < 0.25 * sides[:, 0].std()
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    again = Bank.of(BankVectors(images @ turned, NONE @ turned)).statistics(turned[:3])[1]
    assert again == pytest.approx(found, rel=1e-6, abs=1e-6)


def test_what_is_like_prose_is_less_informative() -> None:
    chance = np.random.default_rng(0)
    prose = np.array([0, 0, 3.0, 0]) + chance.normal(size=(40, 4))
    prose /= np.linalg.norm(prose, axis=1, keepdims=True)
    texts = np.array([[0.6, 0, 0.8, 0], [0.6, 0.8, 0, 0], [0.6, 0, -0.8, 0]])
    bank = Bank.of(BankVectors([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]], prose))
    _, found = bank.statistics(texts)
    direction = prose.mean(0) / np.linalg.norm(prose.mean(0))
    own = prose @ direction
    assert found == pytest.approx(found[0] * np.exp((texts[0] - texts) @ direction / own.std() / 10))
    assert found[0] < found[1] < found[2]


def test_a_bank_of_one_image_or_of_alike_ones_tells_nothing_apart() -> None:
    for images in ([[0.6, 0.8, 0, 0]], [[0.6, 0.8, 0, 0]] * 3):
        mean, found = Bank.of(BankVectors(np.array(images), NONE)).statistics([[1.0, 0.0, 0, 0]])
        assert mean == pytest.approx([0.6]) and found == pytest.approx([0.0], abs=1e-6)


@pytest.mark.parametrize("wrong", [(np.array([[math.nan] * 4]), NONE), (NONE, np.empty((0, 4)))])
def test_a_bank_of_nothing_is_refused(wrong: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="a bank needs images and prose, and finite embeddings"):
        Bank.of(BankVectors(*wrong))


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
    assert found.scores.min() - 1e-9 <= found.alignment <= found.scores.max() + 1e-9


@given(
    arrays(float, st.integers(1, 6), elements=COSINE),
    st.floats(0, 2),
    st.builds(Pooling, st.floats(0, 30)),
    st.data(),
)
def test_a_better_match_never_lowers_the_alignment(x: np.ndarray, more: float, pooling: Pooling, data: st.DataObject) -> None:
    d = data.draw(arrays(float, len(x), elements=st.floats(0, 1)))
    place = data.draw(st.integers(0, len(x) - 1))
    better = x + more * (np.arange(len(x)) == place)
    before, after = (align(one[:, None], np.zeros(len(x)), d, pooling) for one in (x, better))
    assert after.alignment >= before.alignment - 1e-9
    order = np.argsort(x)
    assert (np.diff(align(x[order, None], np.zeros(len(x)), np.full(len(x), 0.1), pooling).weights) >= -1e-9).all()


@given(arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)), elements=COSINE), st.sampled_from(KINDS))
def test_many_images_at_once_are_the_same_as_one_by_one(s: np.ndarray, kind: str) -> None:
    m, d = s.mean(axis=(1, 2)), s.std(axis=(1, 2))
    together = align_each(s, m, d, kind=kind)  # type: ignore[arg-type]
    alone = [align(s[:, image], m, d, kind=kind).alignment for image in range(s.shape[1])]  # type: ignore[arg-type]
    assert together == pytest.approx(alone, abs=1e-12)
