"""Segments: a text as its sentences, by character offsets, each within a model's token budget."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar

import pyarrow as pa
import sentencex
from pydantic import Field

from pairloom.batch import SEGMENTS, Batch
from pairloom.errors import UsageError
from pairloom.step import Step, lift, step
from pairloom.tokenizer import BUNDLED, SPECIALS, between_characters, count, is_single, load_tokenizer, parts, starts

Span = tuple[int, int]
"""Where a piece of text starts and ends, in code points."""

Budget = Annotated[int, Field(ge=16)]
"""Tokens with the two marks. CLIP needs up to 9 for one code point: fewer than 16 could leave nothing to keep."""

CJK = "\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
"""Han and kana, whose scripts put no space between words; for use inside a character class."""

_WINDOW = 1000  # sentencex takes quadratic time in Chinese, and linear time in windows of this size
_MARGIN = 100
_FRAGMENT = 2
_SCRIPTS = (
    ("ja", re.compile("[\u3041-\u30ff]+")),  # before Han, which Japanese uses too
    ("zh", re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")),
    ("ko", re.compile("[\uac00-\ud7af]+")),
    ("hi", re.compile("[\u0900-\u097f]+")),
    ("ar", re.compile("[\u0600-\u06ff]+")),
    ("ru", re.compile("[\u0400-\u04ff]+")),
    ("el", re.compile("[\u0370-\u03ff]+")),
    ("hy", re.compile("[\u0530-\u058f]+")),
    ("th", re.compile("[\u0e00-\u0e7f]+")),
    ("my", re.compile("[\u1000-\u109f]+")),
    ("am", re.compile("[\u1200-\u137f]+")),
)
_OTHERS = re.compile(f"[{''.join(script.pattern[1:-2] for _, script in _SCRIPTS[2:])}]")
_SCRIPTED = re.compile(f"[{''.join(script.pattern[1:-2] for _, script in _SCRIPTS)}]")
_INK = re.compile(r"\S")
_CJK = re.compile(f"[{CJK}]")
_MORE = re.compile(f"(?:[^{CJK}]*+[{CJK}]){{{_FRAGMENT + 1}}}")  # than a fragment has
_FULL_STOP = re.compile(f"[。！？｡]+(?=[^\\W{CJK}])")  # sentencex sees no boundary before a Latin letter here
# What stands before a full stop is looked at from there: to look for it at each place takes longer.
_TITLES = "|".join(f"(?<=\\b{title}\\.)" for title in ("Dr", "Mr", "Mrs", "Ms", "Prof", "St", "No", "vs"))
_NOT_AN_END = re.compile(f"[」』.](?:(?<=[」』])(?=と)|(?:{_TITLES})\\s*(?=\\w))")
_CLAUSE = re.compile("[,;:.!?][\"'”’)\\]]*(?=\\s)|[，、；：。！？…—]+[”’」』）》]*")
_BREAK = re.compile(f"(?<=\\s)(?=\\S)|(?=\\s)|(?<=[{CJK}])(?=\\w)|(?<=\\w)(?=[{CJK}])|(?<=[-/])(?=\\w)")


@step("segment")
class Segment(Step):
    """Add `segments`: the sentences of every caption, as character offsets into it.

    A sentence of more than `max_tokens` (begin and end marks included) is cut into windows that share about `overlap` of
    their tokens; each fits when read alone. A fragment of one or two words goes with its neighbour. `language` (ISO 639-1)
    names the rules of sentence ends; None goes by the script.

    Example: `segment: {max_tokens: 64, overlap: 0.25}`
    """

    max_tokens: Budget = 77
    tokenizer: str = "clip"
    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.5
    language: Annotated[str, Field(pattern="^[a-z]{2,3}$")] | None = None

    reads: ClassVar[tuple[str, ...]] = ("texts",)
    adds: ClassVar[dict[str, pa.DataType]] = {"segments": SEGMENTS}

    def problems(self, columns: set[str]) -> list[str]:
        """What a recipe gets wrong that the fields alone don't show."""
        return tokenizer_problems(self.tokenizer)

    def spans(self, text: str) -> list[Span]:
        """Where the segments of one text start and end, in characters."""
        budget, single = self.max_tokens - SPECIALS, is_single(self.tokenizer, text)
        spans: list[Span] = []
        for start, end in sentences(text, self.language):
            if (single and end - start <= budget) or self._fits(text[start:end]):
                spans.append((start, end))
            else:
                spans += self._windows(text, start, end)
        return spans

    def __call__(self, batch: Batch) -> Batch:
        cells, rejects = lift(self._cells, batch["texts"])
        return batch.with_columns(self.adds, segments=cells).with_rejects(rejects)

    def _cells(self, texts: list[str | None]) -> list[dict[str, int]]:
        spans = [(caption, span) for caption, text in enumerate(texts) for span in self.spans(text or "")]
        return [{"caption": caption, "start": start, "end": end} for caption, (start, end) in spans]

    def _fits(self, piece: str) -> bool:
        budget = self.max_tokens - SPECIALS
        return (len(piece) <= budget and is_single(self.tokenizer, piece)) or count(self.tokenizer, piece) <= budget

    def _windows(self, text: str, start: int, stop: int) -> Iterator[Span]:
        """Windows over the sentence from `start` to `stop`, which is too long."""
        budget = self.max_tokens - SPECIALS
        reach = budget + 16 if text[start] >= "\u2e80" else 4 * budget
        done = start
        while True:
            cut, again = self._window(text[start : min(stop, start + reach)], start + reach >= stop)
            if not cut:
                reach *= 2
                continue
            if start + cut > done:  # with a large overlap, a window can end where the last one did
                yield start, (done := start + cut)
            if done == stop:
                return
            # A little more than the last window, so that the next one most likely takes a single reading.
            start, reach = _next_letter(text, start + again), cut + cut // 4 + 16

    def _window(self, piece: str, last: bool) -> tuple[int, int]:
        """How much of `piece` makes a window and where in it the next one starts; (0, 0) if `piece` is too short to tell."""
        budget = self.max_tokens - SPECIALS
        if last and len(piece) <= budget and is_single(self.tokenizer, piece):
            return len(piece), len(piece)
        found = starts(self.tokenizer, piece, budget + 1)
        if len(found) <= budget:
            return (len(piece), len(piece)) if last else (0, 0)
        room = max(1, found[budget])
        while True:
            end = _cut(piece, room)
            cut = len(piece[:end].rstrip()) or end
            # Cut inside a word, it may be spelt in more tokens.
            if cut == 1 or parts(self.tokenizer, piece, cut) or count(self.tokenizer, piece[:cut]) <= budget:
                break
            room = cut - 1
        if not self.overlap:
            return cut, end
        inside = sum(first < cut for first in found)
        return cut, _again(piece, found[int(inside * (1 - self.overlap))], cut)


def sentences(text: str, language: str | None = None) -> list[Span]:
    """Where the sentences of a text start and end, without white space around them; short fragments go with a neighbour."""
    pieces = []
    edges = [*_boundaries(text, language), len(text)]
    for start, end in zip([0, *edges], edges, strict=False):
        body = text[start:end].strip()
        if body:
            first = start + text[start:end].index(body[0])
            pieces.append((first, first + len(body)))
    return _joined_fragments(text, pieces)


def tokenizer_problems(name: str) -> list[str]:
    """What keeps a tokenizer from being used, if anything; for the check of recipes."""
    try:
        if name not in BUNDLED:
            load_tokenizer(name)
    except UsageError as fault:
        return [str(fault)]
    return []


def _boundaries(text: str, language: str | None) -> Iterator[int]:
    """Places where a sentence ends and the next starts, in order, found window by window."""
    start = 0
    while start < len(text):
        window = text[start : start + _WINDOW]
        last = start + len(window) == len(text)
        ends = _ends(window, language or _language(window))
        if not last:  # what stands near the edge may look different with what follows in view
            ends = [end for end in ends if end <= len(window) - _MARGIN] or ends
        yield from (start + end for end in ends)
        if last:
            return
        start += ends[-1] if ends else len(window) - _MARGIN


def _ends(text: str, language: str) -> list[int]:
    ends, place = set(), 0
    for piece in sentencex.segment(language, text):
        place += len(piece)
        ends.add(place)
    if _CJK.search(text):
        ends |= {match.end() for match in _FULL_STOP.finditer(text)}
        ends -= {match.end() for match in _NOT_AN_END.finditer(text)}
    return sorted(ends - {len(text)})


def _language(text: str) -> str:
    """A language whose sentence ends are those of the script that takes up the largest part of the text."""
    if not _SCRIPTED.search(text):
        return "en"
    counts: dict[str, int] = {}
    for name, script in _SCRIPTS:
        counts[name] = sum(map(len, script.findall(text)))
        if name == "zh":
            if counts["ja"] * 20 > counts["zh"]:
                counts["ja"] += counts.pop("zh")
            if not _OTHERS.search(text):
                break
        if 2 * max(counts.values()) > len(text):  # no other can have as many
            break
    name = max(counts, key=lambda name: counts[name])
    # A Han character says about as much as three letters, of which there can't be more than characters.
    most = counts[name] * 4
    return name if most > len(text) or most > sum(map(str.isalpha, text)) else "en"


def _joined_fragments(text: str, pieces: list[Span]) -> list[Span]:
    """Let a fragment join what stands before it, unless that has taken one already; the first joins what follows."""
    spans: list[Span] = []
    size, full = 0, False
    for start, end in pieces:
        words = _words(text[start:end])
        if spans and (size <= _FRAGMENT or (words <= _FRAGMENT and not full)):
            spans[-1] = (spans[-1][0], end)
            size, full = size + words, True
        else:
            spans.append((start, end))
            size, full = words, False
    if len(spans) > 1 and size <= _FRAGMENT:
        spans[-2:] = [(spans[-2][0], spans[-1][1])]
    return spans


def _next_letter(text: str, place: int) -> int:
    found = _INK.search(text, place)
    return found.start() if found else len(text)


def _words(text: str) -> int:
    """How many words a text has, at least where they are more than a fragment's; a Han or kana character counts as one."""
    if len(text) > 64 or _MORE.match(text):
        return _FRAGMENT + 1
    return len(_CJK.findall(text)) + sum(any(map(str.isalnum, word)) for word in _CJK.sub(" ", text).split())


def _cut(piece: str, room: int) -> int:
    """The best place at or before `room` to end a window: after a clause, between words, between visible characters."""
    for pattern, least in ((_CLAUSE, room * 2 // 3), (_BREAK, room // 2)):
        matches = pattern.finditer(piece, least, room + 1)
        for place in [match.end() for match in matches][::-1]:
            if 0 < place <= room and between_characters(piece, place) == place:
                return place
    return between_characters(piece, room) or room


def _again(piece: str, place: int, cut: int) -> int:
    """Where the next window starts: at the first word from `place` on that this window, of length `cut`, has as well."""
    for match in _BREAK.finditer(piece, max(place, 1), cut):
        start = match.start()
        if start < cut and not piece[start].isspace() and between_characters(piece, start) == start:
            return start
    return between_characters(piece, min(place, cut)) or cut
