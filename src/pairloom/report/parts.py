"""A text in pieces: its segments with what they weigh, and what lies between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the text that counts. `weight` is None where it is no segment, such as the space between two."""

    text: str
    weight: float | None = None
    score: float | None = None
    best: bool = False


def weighted_parts(row: Mapping[str, Any]) -> Iterator[Part]:
    """The caption that counts, cut into its segments and what lies between; of overlapping windows each shows what it adds."""
    text, before = row["text"], 0
    cells = zip(row["segments"], row["segment_scores"], row["segment_weights"], strict=True)
    for place, (cell, score, weight) in enumerate(cells):
        if cell["caption"] != row["best_caption"]:
            continue
        start = max(before, cell["start"])
        if start > before:
            yield Part(text[before:start])
        yield Part(text[start : cell["end"]], weight, score, place == row["best_segment"])
        before = cell["end"]
    if before < len(text):
        yield Part(text[before:])


def shortened(parts: Sequence[Part], letters: int) -> tuple[Part, ...]:
    """About as many letters of a text, the best segment always among them."""
    best = next((place for place, part in enumerate(parts) if part.best), 0)
    shown: list[Part] = []
    left = letters - min(len(parts[best].text), letters // 2) if parts else 0
    for place, part in enumerate(parts):
        room = letters // 2 if place == best else left
        if room > 0:
            shown.append(replace(part, text=cut(part.text, max(2, room))))
        elif shown and shown[-1].text != " … ":
            shown.append(Part(" … "))
        left -= 0 if place == best else len(part.text)
    return tuple(shown)


def cut(text: str, length: int) -> str:
    """A text of at most `length` characters, with a mark where more would follow."""
    return text if len(text) <= length else text[: length - 1] + "…"
