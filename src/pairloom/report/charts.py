"""Histograms as plain numbers, which a template draws: places and heights are shares of the plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating[Any]]

_BINS = 28
_TICKS = 7
_TAIL = 0.25  # percent of values beyond either end that go into the last bin


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin: where it stands, how much of it was kept and how much dropped."""

    left: float
    width: float
    kept: float
    dropped: float
    said: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A tick of the axis, or a limit drawn across the plot."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What a limit would do: the share of pairs on its good side. `now` marks the limit of this run."""

    label: str
    share: float
    now: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """A histogram with the limits that were set and what others would do."""

    title: str
    unit: str
    bars: tuple[Bar, ...]
    ticks: tuple[Mark, ...]
    marks: tuple[Mark, ...]
    question: str
    choices: tuple[Choice, ...]
    middle: str

    @property
    def has_dropped(self) -> bool:
        """Whether values of pairs that were not kept are in it."""
        return any(bar.dropped for bar in self.bars)


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from `low` to `high`, of equal steps or of equal ratios."""

    low: float
    high: float
    ratio: bool

    @classmethod
    def of(cls, values: Values, limits: Sequence[float], ratio: bool) -> Scale:
        """An axis for nearly all of the values, and for limits near them."""
        low, high = (float(edge) for edge in np.percentile(values, [_TAIL, 100 - _TAIL]))
        if ratio:
            low = max(low, float(values[values > 0].min(initial=1.0)))
            near = [limit for limit in limits if low / 8 <= limit <= high * 8]
            low, high = min([low, *near]), max([high, *near])
            return cls(low, high, True) if high > low * 1.01 else cls(low / 1.5, low * 1.5, True)
        near = [limit for limit in limits if low - (high - low) <= limit <= high + (high - low)]
        low, high = min([low, *near]), max([high, *near])
        room = (high - low) * 0.02 or abs(high) * 0.1 or 0.5
        return cls(low - room, high + room, False)

    def place(self, value: float) -> float:
        """Where a value is, 0 to 1; what lies beyond stands at the end."""
        if self.ratio:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))

    def edges(self) -> Values:
        """The edges of the bins."""
        return np.geomspace(self.low, self.high, _BINS + 1) if self.ratio else np.linspace(self.low, self.high, _BINS + 1)

    def ticks(self) -> tuple[Mark, ...]:
        """Round numbers along the axis, so few that their names don't touch."""
        found = self._powers() if self.ratio and self.high > self.low * 4 else self._steps()
        found = found[:: -(-len(found) // _TICKS)]
        return tuple(Mark(self.place(value), short(value)) for value in found)

    def _powers(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = [step * 10.0**power for power in range(first, last + 1) for step in (1, 2, 5)]
        if last - first > 3:
            every = [10.0**power for power in range(first, last + 1)]
        return [value for value in every if self.low <= value <= self.high]

    def _steps(self) -> list[float]:
        rough = (self.high - self.low) / (_TICKS - 1)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * times for times in (1, 2, 2.5, 5, 10) if power * times >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [round(number * step, 12) for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def bars_of(scale: Scale, kept: Values, dropped: Values) -> tuple[Bar, ...]:
    """The bins of kept and dropped values; what lies beyond the axis is in the first and the last."""
    edges = scale.edges()
    counts = [np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] for values in (kept, dropped)]
    highest = int((counts[0] + counts[1]).max(initial=1)) or 1
    bars = []
    for place, (low, high) in enumerate(pairwise(edges.tolist())):
        ours, theirs = int(counts[0][place]), int(counts[1][place])
        if ours or theirs:
            left = scale.place(low)
            said = f"{short(low)} to {short(high)}: {ours:,}" + (f", dropped {theirs:,}" if theirs else "")
            bars.append(Bar(left, scale.place(high) - left, ours / highest, theirs / highest, said))
    return tuple(bars)


def short(value: float) -> str:
    """A number in few digits."""
    if abs(value) >= 10_000:
        return f"{value / 1000:,.0f}k"
    if 0.001 <= abs(value) < 1:
        return f"{value:.3f}".rstrip("0")
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
