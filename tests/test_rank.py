"""Selections by rank: shares of the run, within groups if asked."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pairloom import KeepTop, Percentile

VALUES = [0.1, 0.9, 0.5, None, 0.5, 0.3, 0.7, float("nan")]


def ledger(values: list[float | None], **columns: list[object]) -> pa.Table:
    return pa.table({"key": [f"{row}" for row in range(len(values))], "alignment": values, **columns})


def test_keep_top() -> None:
    assert sorted(KeepTop("alignment", share=0.5).drop(ledger(VALUES))) == [0, 3, 5, 7]
    dropped = KeepTop("alignment", pairs=2).drop(ledger(VALUES))
    assert sorted(dropped) == [0, 2, 3, 4, 5, 7] and dropped[2] == "alignment 0.5"


def test_of_equal_values_the_first_stay() -> None:
    assert sorted(KeepTop("alignment", pairs=3).drop(ledger([0.5, 0.5, 0.5, 0.5]))) == [3]


def test_within_languages_and_lengths() -> None:
    values = [0.9, 0.8, 0.2, 0.1]
    languages = {"language": ["en", "en", "zh", "zh"]}
    assert sorted(KeepTop("alignment", share=0.5, within=("language",)).drop(ledger(values, **languages))) == [1, 3]
    lengths = {"tokens_kept": [10, 75, 60, 75], "tokens_lost": [0, 0, 100, 500]}
    step = KeepTop("alignment", share=0.5, within=("language", "length"))
    assert step.reads == ("alignment", "language", "tokens_kept", "tokens_lost")
    assert sorted(step.drop(ledger(values, **languages, **lengths))) == [1]


def test_percentile() -> None:
    values = [float(value) for value in range(11)]
    assert sorted(Percentile("alignment", min=20).drop(ledger(values))) == [0, 1]
    assert sorted(Percentile("alignment", min=20, max=90).drop(ledger(values))) == [0, 1, 10]
    assert sorted(Percentile("alignment", min=50).drop(ledger(VALUES))) == [0, 3, 5, 7]


@pytest.mark.parametrize("options", [{}, {"share": 0.5, "pairs": 3}, {"pairs": 3, "within": ("language",)}, {"share": 0}])
def test_what_makes_no_sense(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        KeepTop("alignment", **options)  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Percentile("alignment", min=60, max=40)


@given(st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=False)), st.floats(0.01, 1))
def test_kept_are_never_under_dropped(values: list[float | None], share: float) -> None:
    dropped = KeepTop("alignment", share=share).drop(ledger(values))
    assert len(dropped) == len(values) - math.ceil(len(values) * share - 1e-9)
    worth = [-float("inf") if value is None or value != value else value for value in values]
    kept = [worth[row] for row in range(len(values)) if row not in dropped]
    assert not kept or not dropped or min(kept) >= max(worth[row] for row in dropped)
