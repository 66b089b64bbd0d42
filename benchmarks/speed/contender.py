"""What a contender is: how it does a round of work, and what it makes of one item, for the quality."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Make = Callable[[], "Contender"]
"""Imports what a contender needs and sets it up."""


@dataclass(frozen=True)
class Contender:
    """One way to do a work; it has one thread.

    `run` does all items, as the contender's own documentation does many, and is what is timed. `pixels` shows one item as the
    array that the quality is measured on, and `file` as the bytes that it stores; None where there is no such thing.
    """

    run: Callable[[Sequence[Any]], object]
    pixels: Callable[[Any], np.ndarray] | None = None
    file: Callable[[Any], bytes] | None = None


def each(work: Callable[[Any], object]) -> Callable[[Sequence[Any]], object]:
    """A round of one item after the other; no result is kept."""

    def run(items: Iterable[Any]) -> None:
        for item in items:
            if work(item) is None:
                raise ValueError("gave nothing")

    return run
