"""Cutting a text to the budget of a model: by alignment, by sentences, by tokens, or naively by characters."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from pairloom.batch import Batch
from pairloom.step import Step, lift, step
from pairloom.steps.segment import CJK, Budget, Span, sentences, tokenizer_problems
from pairloom.tokenizer import SPECIALS, count, longest_prefix, measure, parts

_LOOKAHEAD = 1000
_TRIES = 16  # segments that don't fit any more, until the rest is taken not to fit either
_UNSPACED = re.compile(f"[{CJK}\u3000-\u303f\uff00-\uffef]")


@step("truncate")
class Truncate(Step):
    """Write `caption`, the part of the text that a model is to read; `text` stays whole. What fits is never cut.

    * `by: alignment`: the segments that carry the match with the image, as `align` weighs them: the heaviest first, as long
      as they fit into `max_tokens` (begin and end marks included), in the order of the text.
    * `by: sentences`: as many whole sentences from the start as fit. They are those of `segments` if `segment` ran before, else
      found in the same way. A first sentence that is too long itself gives as much of it as fits.
    * `by: tokens`: as much as fits, cut between words or else between characters.
    * `by: characters`: the naive way, the first `max_characters` whatever they hold; nothing sees to the token budget.

    `tokens_kept` and `tokens_lost` count without the two marks; what was kept is counted as read on its own. Of several
    captions the first is cut, or the one that `align` found best.

    Example: `truncate: {by: sentences, max_tokens: 64}`
    """

    by: Literal["alignment", "sentences", "tokens", "characters"] = "sentences"
    max_tokens: Budget = 77
    tokenizer: str = "clip"
    max_characters: Annotated[int, Field(gt=0)] = 512

    adds: ClassVar[dict[str, pa.DataType]] = {"caption": pa.string(), "tokens_kept": pa.int32(), "tokens_lost": pa.int32()}

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("text", *(("segments", "segment_weights") if self.by == "alignment" else ()))

    def problems(self, columns: set[str]) -> list[str]:
        """What a recipe gets wrong that the fields alone don't show."""
        return tokenizer_problems(self.tokenizer)

    def text(self, text: str) -> str:
        """The caption of one text, of which nothing else is known."""
        return self._caption(text, None, None)[0]

    def __call__(self, batch: Batch) -> Batch:
        texts = [text or "" for text in batch["text"]]
        none = [None] * len(batch)
        cells, best, weights = (
            batch[name] if name in batch.table.column_names else none for name in ("segments", "best_caption", "segment_weights")
        )
        jobs = [(text, *_segments(*row)) for text, *row in zip(texts, cells, best, weights, strict=True)]
        found, rejects = lift(lambda job: self._caption(*job), jobs)
        captions, kept, lost = ([row[place] if row else None for row in found] for place in range(3))
        return batch.with_columns(self.adds, caption=captions, tokens_kept=kept, tokens_lost=lost).with_rejects(rejects)

    def _caption(self, text: str, spans: Sequence[Span] | None, weights: Sequence[float] | None) -> tuple[str, int, int]:
        budget, kept = self.max_tokens - SPECIALS, None
        if self.by == "characters":
            caption, total = text[: self.max_characters], count(self.tokenizer, text)
        else:
            found, total = measure(self.tokenizer, text, budget)
            if total <= budget:
                caption = text.strip()
            elif self.by == "alignment" and spans and weights and any(weights):
                caption = self._heaviest(text, spans, weights, budget)
            else:
                end = self._end(text, found, spans)
                caption, kept = text[:end].strip(), self._before(text, end, found)
        if kept is None:
            kept = total if caption == text else count(self.tokenizer, caption)
        return caption, kept, max(0, total - kept)

    def _before(self, text: str, end: int, found: list[int]) -> int | None:
        """How many tokens `text[:end]` has by those of `text`, which begin at `found`; None if it must be read on its own."""
        return bisect_left(found, end) if 0 < end < len(text) and parts(self.tokenizer, text, end) else None

    def _heaviest(self, text: str, spans: Sequence[Span], weights: Sequence[float], budget: int) -> str:
        """The segments of most weight that fit, in their order."""
        chosen: list[Span] = []
        misses = 0
        for place in sorted(range(len(spans)), key=lambda place: (-weights[place], place)):
            if not weights[place] or misses == _TRIES:
                break
            caption = _joined(text, [*chosen, spans[place]])
            if count(self.tokenizer, caption) <= budget:
                chosen.append(spans[place])
            elif not chosen:  # too long by itself: as much of it as fits
                return caption[: longest_prefix(self.tokenizer, caption, budget)].strip()
            else:
                misses += 1
        return _joined(text, chosen)

    def _end(self, text: str, found: list[int], spans: Sequence[Span] | None) -> int:
        """Where to cut a text that is over the budget; `found` says where the tokens begin."""
        budget = self.max_tokens - SPECIALS
        room = found[budget]
        if self.by != "tokens":
            # Sentences past the budget don't matter, but where one ends can depend on what follows.
            whole = _whole(spans) if spans else sentences(text[: room + _LOOKAHEAD])
            for end in reversed([end for _, end in whole if end <= room]):
                if self._before(text, end, found) is not None or count(self.tokenizer, text[:end]) <= budget:
                    return end
        return longest_prefix(self.tokenizer, text, budget, found)


def _segments(
    cells: Sequence[Mapping[str, int]] | None, best: int | None, weights: Sequence[float] | None
) -> tuple[list[Span] | None, list[float] | None]:
    """Spans and weights of the segments of the caption that counts."""
    if cells is None:
        return None, None
    places = [place for place, cell in enumerate(cells) if cell["caption"] == (best or 0)]
    spans = [(cells[place]["start"], cells[place]["end"]) for place in places]
    return spans, [weights[place] for place in places] if weights else None


def _whole(spans: Sequence[Span]) -> list[Span]:
    """Sentences from segments; those that overlap are windows of one."""
    whole: list[Span] = []
    for start, end in spans:
        if whole and start < whole[-1][1]:
            whole[-1] = (whole[-1][0], max(end, whole[-1][1]))
        else:
            whole.append((start, end))
    return whole


def _joined(text: str, spans: Sequence[Span]) -> str:
    """Pieces of a text in their order; what stood beside each other stays as it was."""
    pieces = ""
    before = 0
    for start, end in _whole(sorted(spans)):
        gap = text[before:start]
        if pieces and gap.strip():
            gap = "" if _UNSPACED.match(pieces[-1]) and _UNSPACED.match(text[start]) else " "
        pieces += (gap if pieces else "") + text[start:end]
        before = end
    return pieces
