"""Filters over columns: each decides from what stands in the ledger and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field, FiniteFloat, model_validator

from pairloom.batch import Batch
from pairloom.step import Filter, step
from pairloom.steps.segment import CJK

_CJK = re.compile(f"[{CJK}]")

Count = Annotated[int, Field(ge=0)]


@step("min_side")
class MinSide(Filter):
    """Drop images whose original shorter side is under `side` pixels; vision towers need 28, web collections ask for 200.

    Example: `min_side: {side: 200}`
    """

    side: Annotated[int, Field(gt=0)] = 28

    reads: ClassVar[tuple[str, ...]] = ("original_width", "original_height")
    reason: ClassVar[str] = "too_small"

    def keep(self, batch: Batch) -> Sequence[bool]:
        return [min(size) >= self.side for size in zip(batch["original_width"], batch["original_height"], strict=True)]


@step("aspect_ratio")
class AspectRatio(Filter):
    """Drop images whose original longer side is over `max` times the shorter one, wide and tall alike (3 is DataComp's limit).

    Example: `aspect_ratio: {max: 3.0}`
    """

    max: Annotated[FiniteFloat, Field(ge=1)] = 3.0

    reads: ClassVar[tuple[str, ...]] = ("original_width", "original_height")
    reason: ClassVar[str] = "aspect_ratio"

    def keep(self, batch: Batch) -> Sequence[bool]:
        sizes = zip(batch["original_width"], batch["original_height"], strict=True)
        return [max(size) <= self.max * min(size) for size in sizes]


@step("text_length")
class TextLength(Filter):
    """Drop pairs whose first text is too short or too long, in characters or in words.

    A Chinese or Japanese character counts as a word, as these scripts put no space between words. None means no limit.

    Example: `text_length: {min_words: 2, max_characters: 2000}`
    """

    min_characters: Count = 1
    max_characters: Count | None = None
    min_words: Count = 0
    max_words: Count | None = None

    reads: ClassVar[tuple[str, ...]] = ("text",)
    reason: ClassVar[str] = "text_length"

    @model_validator(mode="after")
    def _ordered(self) -> TextLength:
        for least, most, what in (
            (self.min_characters, self.max_characters, "characters"),
            (self.min_words, self.max_words, "words"),
        ):
            if most is not None and most < least:
                raise ValueError(f"max_{what} is under min_{what}: nothing would be kept")
        return self

    def keep(self, batch: Batch) -> Sequence[bool]:
        return [self._fits(text or "") for text in batch["text"]]

    def _fits(self, text: str) -> bool:
        if not _within(len(text), self.min_characters, self.max_characters):
            return False
        if not self.min_words and self.max_words is None:
            return True
        return _within(_words(text), self.min_words, self.max_words)


@step("language")
class Language(Filter):
    """Keep pairs in one of the languages `allow` (ISO 639-1, as `detect_language` writes them) with at least `min_score`.

    Name "und" to keep texts whose language could not be told.

    Example: `language: {allow: [en, zh], min_score: 0.5}`
    """

    allow: Annotated[tuple[str, ...], Field(min_length=1)]
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.0

    reads: ClassVar[tuple[str, ...]] = ("language", "language_score")
    reason: ClassVar[str] = "language"

    def keep(self, batch: Batch) -> Sequence[bool]:
        found = zip(batch["language"], batch["language_score"], strict=True)
        return [language in self.allow and score is not None and score >= self.min_score for language, score in found]


@step("between")
class Between(Filter):
    """Keep pairs whose value in the numeric `column` is from `min` to `max`, both included; no value means dropped.

    Example: `between: {column: alignment, min: 0.0}`
    """

    column: Annotated[str, Field(min_length=1)]
    min: FiniteFloat | None = None
    max: FiniteFloat | None = None

    reason: ClassVar[str] = "between"

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        """Which column is read depends on the option, so that a recipe can be checked for it."""
        return (self.column,)

    numbers = reads

    @model_validator(mode="after")
    def _bounded(self) -> Between:
        if self.min is None and self.max is None:
            raise ValueError("give `min`, `max` or both")
        if self.min is not None and self.max is not None and self.max < self.min:
            raise ValueError("max is under min: nothing would be kept")
        return self

    def keep(self, batch: Batch) -> Sequence[bool]:
        return [_within(value, self.min, self.max) for value in batch[self.column]]


def _within(value: Any, least: float | None, most: float | None) -> bool:
    # NaN fails every comparison, hence the positive form: it is dropped, like null.
    return value is not None and (least is None or value >= least) and (most is None or value <= most) and value == value


def _words(text: str) -> int:
    return len(_CJK.sub(" ", text).split()) + len(_CJK.findall(text))
