"""Duplicates among all pairs of a run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from pairloom.step import SELECTIONS, Selection, step


@step("duplicates", SELECTIONS)
class Duplicates(Selection):
    """Keep the first of pairs that are the same; the lowest place in the input wins.

    `of: pair` compares image and text, `of: image` the image alone. With `distance: 0` images are the same when their files
    are (SHA-256 of the original bytes); with more, when their perceptual hashes differ in at most so many of 64 bits, which
    needs `image_hash` among the steps. A near duplicate is one of a *kept* pair, so that chains never melt together.

    Example: `duplicates: {of: image}`
    """

    of: Literal["pair", "image"] = "pair"
    distance: Annotated[int, Field(ge=0, le=16)] = 0

    reason = "duplicate"

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("phash" if self.distance else "sha256", *self._texts)

    @property
    def compares(self) -> tuple[str, ...]:  # type: ignore[override]
        return self._texts if self.distance else self.reads

    @property
    def _texts(self) -> tuple[str, ...]:
        return ("text",) if self.of == "pair" else ()

    def drop(self, ledger: pa.Table) -> dict[int, str]:
        keys, first = ledger["key"], self._near(ledger) if self.distance else self._same(ledger)
        return {row: f"same as {keys[kept]}" for row, kept in first.items()}

    def _same(self, ledger: pa.Table) -> dict[int, int]:
        _, first, group = np.unique(_groups(ledger, self.reads), return_index=True, return_inverse=True)
        kept = first[group]
        return {row: int(kept[row]) for row in np.flatnonzero(kept != np.arange(len(kept))).tolist()}

    def _near(self, ledger: pa.Table) -> dict[int, int]:
        """Two hashes within `distance` agree in at least one of `distance + 1` slices, so only those are compared."""
        hashes = [int(value, 16) for value in ledger["phash"].to_pylist()]
        edges = np.linspace(0, 64, self.distance + 2).astype(int).tolist()
        slices = [(low, (1 << (high - low)) - 1) for low, high in pairwise(edges)]
        kept: dict[tuple[int, int, int], list[int]] = {}
        dropped: dict[int, int] = {}
        for row, (value, text) in enumerate(zip(hashes, _groups(ledger, self._texts).tolist(), strict=True)):
            places = [(number, (value >> low) & mask, text) for number, (low, mask) in enumerate(slices)]
            near = [old for place in places for old in kept.get(place, ()) if (hashes[old] ^ value).bit_count() <= self.distance]
            if near:
                dropped[row] = min(near)
                continue
            for place in places:
                kept.setdefault(place, []).append(row)
        return dropped


def duplicate_groups(marks: Sequence[tuple[str, str, str]]) -> npt.NDArray[np.int64]:
    """A number for each pair, int64 (n,), the same where the SHA-256 of the image's bytes, its perceptual hash or the text are,
    which `marks` hold in that order (and so on: what is the same as the same is in one group)."""
    parent = list(range(len(marks)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    first: dict[tuple[str, str], int] = {}
    for row, (sha256, phash, text) in enumerate(marks):
        # a picture without any structure has the hash of zeros, which says nothing
        for mark in (("sha256", sha256), ("phash", phash if phash.strip("0") else sha256), ("text", text)):
            other = root(first.setdefault(mark, row))
            parent[max(root(row), other)] = min(root(row), other)
    return np.array([root(row) for row in range(len(marks))], np.int64)


def _groups(ledger: pa.Table, columns: Sequence[str]) -> npt.NDArray[np.int64]:
    """A number for each row, the same for rows that are the same in all the columns; a few bytes a row."""
    numbers = np.zeros(ledger.num_rows, np.int64)
    for name in columns:
        codes = ledger[name].combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy().astype(np.int64)
        numbers = np.unique(numbers * (codes.max(initial=0) + 1) + codes, return_inverse=True)[1]
    return numbers
