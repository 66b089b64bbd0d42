"""Selections by rank: a share of all pairs of a run by the values of one column."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from pairloom.step import SELECTIONS, Selection, step

Group = Literal["language", "length"]
_COLUMNS = {"language": ("language",), "length": ("tokens_kept", "tokens_lost")}
_LENGTHS = (77, 256)  # tokens: what one CLIP window holds, and what long-text models read

Percent = Annotated[float, Field(ge=0, le=100)]


@step("keep_top", SELECTIONS)
class KeepTop(Selection):
    """Keep the `share` of all pairs, or the number of `pairs`, with the highest values in `column`; of equal ones the first stay.

    With `within`, the share is taken among pairs of one `language` and of one `length` of text (up to 77, 256 or more tokens):
    scores of short and of long texts, or of two languages, are seldom on one scale. Shares are rounded up; no value comes last.

    Example: `keep_top: {column: alignment, share: 0.9}`
    """

    column: str
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    pairs: Annotated[int, Field(gt=0)] | None = None
    within: tuple[Group, ...] = ()

    reason = "not_in_top"

    @model_validator(mode="after")
    def _one_of_two(self) -> KeepTop:
        if (self.share is None) == (self.pairs is None):
            raise ValueError("give either `share` or `pairs`")
        if self.within and self.share is None:
            raise ValueError("`within` needs a `share`: a number of pairs would not say how many of each")
        return self

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.column, *(column for group in self.within for column in _COLUMNS[group]))

    @property
    def numbers(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.column,)

    def drop(self, ledger: pa.Table) -> dict[int, str]:
        values = _values(ledger, self.column)
        dropped: list[int] = []
        for rows in _groups(ledger, self.within):
            kept = self.pairs if self.pairs is not None else math.ceil(len(rows) * (self.share or 0) - 1e-9)
            dropped += rows[np.argsort(-values[rows], kind="stable")[kept:]].tolist()
        return {row: f"{self.column} {values[row]:.6g}" for row in sorted(dropped)}


@step("percentile", SELECTIONS)
class Percentile(Selection):
    """Keep pairs whose value in `column` lies from the percentile `min` to `max` of all pairs; no value means dropped.

    Example: `percentile: {column: similarity, min: 5, max: 99}`
    """

    column: str
    min: Percent = 0.0
    max: Percent = 100.0

    reason = "percentile"

    @model_validator(mode="after")
    def _ordered(self) -> Percentile:
        if self.max < self.min:
            raise ValueError("max is under min: nothing would be kept")
        return self

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.column,)

    numbers = reads

    def drop(self, ledger: pa.Table) -> dict[int, str]:
        values = _values(ledger, self.column)
        there = values[values > -np.inf]
        low, high = np.percentile(there, [self.min, self.max]) if there.size else (0.0, 0.0)
        outside = np.flatnonzero((values < low) | (values > high) | (values == -np.inf))
        return {int(row): f"{self.column} {values[row]:.6g}, kept is {low:.6g} to {high:.6g}" for row in outside}


def _values(ledger: pa.Table, column: str) -> npt.NDArray[np.float64]:
    values = ledger[column].to_numpy(zero_copy_only=False).astype(np.float64)
    return np.asarray(np.where(np.isnan(values), -np.inf, values))


def _groups(ledger: pa.Table, within: tuple[Group, ...]) -> Iterator[npt.NDArray[np.int64]]:
    """The row numbers of each group, ascending."""
    keys: list[Any] = [()] * ledger.num_rows
    if "language" in within:
        keys = [(*key, language) for key, language in zip(keys, ledger["language"].to_pylist(), strict=True)]
    if "length" in within:
        tokens = zip(*(ledger[name].to_pylist() for name in _COLUMNS["length"]), strict=True)
        bins = [sum((kept or 0) + (lost or 0) + 2 > most for most in _LENGTHS) for kept, lost in tokens]
        keys = [(*key, each) for key, each in zip(keys, bins, strict=True)]
    places: dict[Any, list[int]] = {}
    for row, key in enumerate(keys):
        places.setdefault(key, []).append(row)
    yield from (np.array(rows, np.int64) for rows in places.values())
