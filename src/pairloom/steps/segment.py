"""Segments: a text as its sentences, by character offsets, each within a model's token budget."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pyarrow as pa
import sentencex
from pydantic import Field

from pairloom.batch import SEGMENTS, Batch
from pairloom.step import Step, lift, step
from pairloom.tokenizer import SPECIALS, longest_prefix

Span = tuple[int, int]
Budget = Annotated[int, Field(ge=16)]


@step("segment")
class Segment(Step):
    """Add `segments`: the sentences of every caption."""

    max_tokens: Budget = 77
    tokenizer: str = "clip"
    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.5
    language: str | None = None

    reads: ClassVar[tuple[str, ...]] = ("texts",)
    adds: ClassVar[dict[str, pa.DataType]] = {"segments": SEGMENTS}

    def spans(self, text: str) -> list[Span]:
        """Where the segments of one text start and end, in characters."""
        found = []
        for start, end in sentences(text, self.language):
            while start < end:
                size = longest_prefix(self.tokenizer, text[start:end], self.max_tokens - SPECIALS) or 1
                found.append((start, start + size))
                start += size
        return found

    def __call__(self, batch: Batch) -> Batch:
        cells, rejects = lift(self._cells, batch["texts"])
        return batch.with_columns(self.adds, segments=cells).with_rejects(rejects)

    def _cells(self, texts: list[str]) -> list[dict[str, int]]:
        spans = [(caption, span) for caption, text in enumerate(texts) for span in self.spans(text)]
        return [{"caption": caption, "start": start, "end": end} for caption, (start, end) in spans]


def sentences(text: str, language: str | None = None) -> list[Span]:
    """Where the sentences of a text start and end."""
    found, start = [], 0
    for piece in sentencex.segment(language or "en", text):
        body = piece.strip()
        if body:
            begin = start + piece.index(body)
            found.append((begin, begin + len(body)))
        start += len(piece)
    return found
