"""From the texts of a pair to the tokens a model reads: which part of them, and how."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from tokenizers import processors

from pairloom.errors import UsageError
from pairloom.models.reader import TextReader
from pairloom.steps.segment import sentences
from pairloom.tokenizer import BUNDLED, MARKS, load_tokenizer, no_ids
from pairloom.torch.pairs import Pair

_LONGEST_RUN = 4  # sentences


@dataclass(frozen=True)
class Choice:
    """Which part of a pair's text to read.

    `whole`, `run` and `sentence` are the relative weights of the whole caption, a run of two to four sentences, and one
    sentence; the sentence, or the first of the run, is drawn by its weight in `align`. `captions` is `best` (the stored one)
    or `random`, one of several. With `segments` over 1, up to that many of the heaviest sentences are read, each by itself,
    in the order of the text.
    """

    whole: float = 1.0
    run: float = 0.0
    sentence: float = 0.0
    captions: Literal["best", "random"] = "best"
    segments: int = 1

    def __post_init__(self) -> None:
        if min(self.whole, self.run, self.sentence) < 0 or self.whole + self.run + self.sentence <= 0:
            raise UsageError("whole, run and sentence are weights: none under 0, one over it")
        if self.captions not in ("best", "random") or self.segments < 1:
            raise UsageError("captions must be best or random, segments at least 1")

    @property
    def is_whole(self) -> bool:
        """Whether what is read is always the stored caption."""
        return self.run == self.sentence == 0 and self.captions == "best" and self.segments == 1

    def __call__(self, pair: Pair, rng: np.random.Generator) -> list[str]:
        """The texts to read, one unless `segments` asks for more."""
        spare = self.captions == "random" and len(pair.texts) > 1
        number = int(rng.integers(len(pair.texts))) if spare else None
        how = rng.choice(3, p=np.array([self.whole, self.run, self.sentence]) / (self.whole + self.run + self.sentence))
        if how == 0 and self.segments == 1:
            return [pair.caption if number is None else pair.texts[number]]
        text, spans, weights = _sentences(pair, number)
        if not spans:
            return [pair.caption]
        if self.segments > 1:
            heaviest = sorted(range(len(spans)), key=lambda place: (-weights[place], place))[: self.segments]
            return [text[slice(*spans[place])] for place in sorted(heaviest)]
        first = int(rng.choice(len(spans), p=weights))
        last = first if how == 2 else min(len(spans) - 1, first + int(rng.integers(1, _LONGEST_RUN)))
        return [text[spans[first][0] : max(end for _, end in spans[first : last + 1])]]


def _sentences(pair: Pair, number: int | None) -> tuple[str, list[tuple[int, int]], Sequence[float]]:
    """A text, its sentences and their weights, which sum to 1: those of the ledger, else found now and all alike."""
    captions = {caption for caption, _, _ in pair.segments}
    if number is None and len(captions) == 1:
        number = captions.pop()
    places = [place for place, (caption, _, _) in enumerate(pair.segments) if caption == number]
    if not places or number is None:
        text = pair.caption if number is None else pair.texts[number]
        spans = sentences(text)
        return text, spans, [1 / len(spans)] * len(spans) if spans else []
    spans = [pair.segments[place][1:] for place in places]
    weights = np.array([pair.weights[place] for place in places] if pair.weights else [1.0] * len(places))
    if not np.isfinite(weights).all() or weights.sum() <= 0:
        weights = np.ones(len(places))
    return pair.texts[number], spans, (weights / weights.sum()).tolist()


@functools.cache
def text_reader(tokenizer: str = "clip", max_tokens: int = 77, fixed: bool = False) -> TextReader:
    """How texts are read by a bundled tokenizer, or by a `tokenizer.json`, whose own post-processor adds the marks.

    `fixed` pads to `max_tokens` always, for towers that take no shorter texts. Raises `UsageError` if there is no such tokenizer.
    """
    if unfit := no_ids(tokenizer):
        raise UsageError(unfit)
    made = load_tokenizer(tokenizer)
    if tokenizer in BUNDLED:
        made = type(made).from_str(made.to_str())
        (first,), (last,) = MARKS[tokenizer]
        names = made.id_to_token(first), made.id_to_token(last)
        made.post_processor = processors.TemplateProcessing(
            single=f"{names[0]} $A {names[1]}", special_tokens=[(names[0], first), (names[1], last)]
        )
    return TextReader(made, max_tokens, fixed=fixed)
