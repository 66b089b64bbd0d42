"""Text steps: cleaning that keeps the meaning, language, tokens, and cutting to a budget."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import ftfy
import pyarrow as pa
from pydantic import Field

from pairloom.batch import Batch
from pairloom.errors import Reject
from pairloom.step import Step, TextStep, lift, step
from pairloom.steps.segment import Budget, Span, sentences
from pairloom.tokenizer import SPECIALS, count, load_tokenizer, longest_prefix

_MEND = ftfy.TextFixerConfig(
    unescape_html=True,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)
_NESTED = re.compile(r"&(?:amp;|#0*38;|#[xX]0*26;)+")
_REMOVED = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\u200b]+")
_SPACES = re.compile(r"\s+")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_PLAIN = re.compile(r"(?:[!-%'-~]+ )*[!-%'-~]+")


@step("clean")
class Clean(TextStep):
    """Mend what is broken and keep what is meant.

    Mended: mojibake and HTML entities. Made one: composed characters (NFC), runs of white space (to one space, none at
    the ends). Removed: control characters, BOM, U+200B, unpaired bidi controls. All else stays, letter by letter.
    `cleaned_chars` counts the characters of all captions as read that the clean captions don't have, by kind and number.
    Captions that are empty afterwards go; a pair without any left is rejected as `empty_text`.
    """

    adds: ClassVar[dict[str, pa.DataType]] = {"cleaned_chars": pa.int32()}

    def problems(self, columns: set[str]) -> list[str]:
        """What a recipe gets wrong: columns that point into the text must not be made before it changes."""
        late = sorted({"segments", "caption", "tokens"} & columns)
        return [f"changes the texts that `{name}` was made of: put `clean` before" for name in late]

    def text(self, text: str) -> str:
        """One clean caption."""
        for _ in range(8):  # what one round mends can show the next layer; nesting deeper than this is no accident
            before, text = text, _round(text)
            if text == before:
                break
        return text

    def __call__(self, batch: Batch) -> Batch:
        results, rejects = lift(self._captions, batch["texts"])
        texts = [result[0] if result else old for result, old in zip(results, batch["texts"], strict=True)]
        first = [row[0] if row else "" for row in texts]
        changed = [result[1] if result else 0 for result in results]
        return batch.with_columns(self.adds, texts=texts, text=first, cleaned_chars=changed).with_rejects(rejects)

    def _captions(self, texts: list[str | None]) -> tuple[list[str], int]:
        before = [text or "" for text in texts]
        after = [self.text(text) for text in before]
        kept = [text for text in after if text]
        if not kept:
            raise Reject("empty_text", f"nothing left of {len(texts)} captions")
        changed = sum((Counter(old) - Counter(new)).total() for old, new in zip(before, after, strict=True) if old != new)
        return kept, changed


@step("detect_language")
class DetectLanguage(Step):
    """Name the language of the first caption."""

    reads: ClassVar[tuple[str, ...]] = ("text",)
    adds: ClassVar[dict[str, pa.DataType]] = {"language": pa.string(), "language_score": pa.float32()}

    def text(self, text: str) -> tuple[str, float]:
        """The language of one text and how sure that is, from 0 to 1."""
        return "und", 0.0

    def __call__(self, batch: Batch) -> Batch:
        found = [self.text(text) for text in batch["text"]]
        return batch.with_columns(self.adds, language=[name for name, _ in found], language_score=[score for _, score in found])


@step("tokenize")
class Tokenize(Step):
    """Store the token ids of the first caption, with the marks that the tokenizer adds (CLIP: begin and end), uncut, unpadded."""

    tokenizer: str = "clip"

    reads: ClassVar[tuple[str, ...]] = ("text",)
    adds: ClassVar[dict[str, pa.DataType]] = {"tokens": pa.list_(pa.int32())}

    def text(self, text: str) -> list[int]:
        """The token ids of one text."""
        return list(load_tokenizer(self.tokenizer).encode(text).ids)

    def __call__(self, batch: Batch) -> Batch:
        tokens, rejects = lift(self.text, batch["text"])
        return batch.with_columns(self.adds, tokens=tokens).with_rejects(rejects)


@step("truncate")
class Truncate(Step):
    """Write `caption`: as much of the first text as a model reads."""

    by: Literal["sentences", "tokens", "characters"] = "sentences"
    max_tokens: Budget = 77
    tokenizer: str = "clip"
    max_characters: Annotated[int, Field(gt=0)] = 512

    reads: ClassVar[tuple[str, ...]] = ("text",)
    adds: ClassVar[dict[str, pa.DataType]] = {"caption": pa.string(), "tokens_kept": pa.int32(), "tokens_lost": pa.int32()}

    def text(self, text: str) -> str:
        """The caption of one text."""
        return text[: self._end(text, None)]

    def _end(self, text: str, spans: Sequence[Span] | None) -> int:
        if self.by == "characters":
            return self.max_characters
        budget = self.max_tokens - SPECIALS
        if self.by == "tokens" or count(self.tokenizer, text) <= budget:
            return longest_prefix(self.tokenizer, text, budget)
        ends = [end for _, end in spans or sentences(text)]
        fitting = [end for end in ends if count(self.tokenizer, text[:end]) <= budget]
        return max(fitting, default=longest_prefix(self.tokenizer, text, budget))

    def __call__(self, batch: Batch) -> Batch:
        captions = [self.text(text) for text in batch["text"]]
        kept = [count(self.tokenizer, caption) for caption in captions]
        lost = [max(0, count(self.tokenizer, text) - k) for text, k in zip(batch["text"], kept, strict=True)]
        return batch.with_columns(self.adds, caption=captions, tokens_kept=kept, tokens_lost=lost)


def _round(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    if not text.isascii() or "&" in text:
        text = ftfy.fix_text(_NESTED.sub("&", text), _MEND)
    text = _REMOVED.sub("", text)
    text = _SPACES.sub(" ", text).strip()
    return unicodedata.normalize("NFC", text)
