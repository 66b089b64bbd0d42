"""How far a run is, and what it has counted so far."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from pairloom.errors import TooManyRejects
from pairloom.readers.model import Fault
from pairloom.stats import Stats, StepCount, Summary, add_steps

_ENOUGH = 200  # pairs before the share of failures says anything


@dataclass(slots=True)
class Progress:
    """How far a run is, for whoever shows it: pairs planned, read, kept and rejected so far; raises on too many failures."""

    pairs: int
    max_reject: float
    show: Callable[[Progress], None] | None = None
    again: Counter[str] = field(default_factory=Counter)
    finished: set[int] = field(default_factory=set)
    _running: dict[int, Sequence[StepCount]] = field(default_factory=dict)
    _total: list[StepCount] = field(default_factory=list)
    _faults: dict[int, tuple[Fault, ...]] = field(default_factory=dict)

    @property
    def summary(self) -> Summary:
        """All counts so far, as of a run that ended now."""
        counts = (Stats(-1, list(steps)) for steps in (self._total, *self._running.values()) if steps)
        return Summary.of("", counts, 0.0, again=self.again)

    def hear(self, shard: int, counts: Sequence[StepCount]) -> None:
        """Take in the counts so far of a shard; what comes late, when the shard is finished, says nothing new."""
        if shard not in self.finished:
            self._running[shard] = counts
            self._tell()

    def finish(self, shards: Iterable[Stats]) -> None:
        """Take in the counts of finished shards. They are added up and not kept: there may be a million of them."""
        for stats in shards:
            self.finished.add(stats.shard)
            self._running.pop(stats.shard, None)
            add_steps(self._total, stats.steps)
            if stats.faults:
                self._faults[stats.shard] = stats.faults
        self._tell()

    def total(self, final: Iterable[Stats] | None = None) -> Summary:
        """The counts of the finished shards, or those that a selection made `final`, with the times of the steps before it."""
        if final is None:
            faults = tuple(fault for shard in sorted(self._faults) for fault in self._faults[shard])
            made = Summary.of("", [Stats(-1, self._total, faults)], 0.0, again=self.again)
            return replace(made, shards=len(self.finished))
        made = Summary.of("", final, 0.0, again=self.again)
        for step, timed in zip(made.steps, self._total, strict=False):
            step.seconds = timed.seconds
        return made

    def _tell(self) -> None:
        summary = self.summary
        self.check(summary, _ENOUGH)
        if self.show:
            self.show(self)

    def check(self, summary: Summary, enough: int = 1) -> None:
        """Raise `TooManyRejects` if more than the allowed share of at least `enough` pairs failed."""
        failed = sum(step.failures for step in summary.steps)
        if summary.pairs_in < enough or failed <= self.max_reject * summary.pairs_in:
            return
        worst = max(summary.steps, key=lambda step: step.failures)
        reasons = ", ".join(f"{code} {count}" for code, count in worst.reasons.most_common(3))
        raise TooManyRejects(
            f"{failed} of {summary.pairs_in} pairs failed, most in `{worst.name}` ({reasons}). "
            f"Look into rejects/, or allow it with --max-reject {min(1.0, failed / summary.pairs_in + 0.05):.2f}."
        )


class Seldom:
    """Does what it is given at most once in so many `seconds`: who hears of each batch has less time for the next."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, time.monotonic()

    def __call__(self, do: Callable[[], None]) -> None:
        if time.monotonic() - self._last > self._seconds:
            self._last = time.monotonic()
            do()
