"""What a run counted: plain values that know nothing of terminals or pages."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pairloom.readers.model import Fault

_NONE: Counter[str] = Counter()


@dataclass(slots=True)
class StepCount:
    """Pairs in and out of one step. `decides` marks filters, whose drops are wanted and never count as failures."""

    name: str
    decides: bool = False
    pairs_in: int = 0
    pairs_out: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def failures(self) -> int:
        """Pairs that could not be used here."""
        return 0 if self.decides else self.pairs_in - self.pairs_out

    def add(self, other: StepCount) -> None:
        """Count what another shard counted at the same step."""
        self.pairs_in += other.pairs_in
        self.pairs_out += other.pairs_out
        self.seconds += other.seconds
        if other.reasons:
            self.reasons.update(other.reasons)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StepCount:
        """The count that `asdict` made."""
        # One name for all shards, of which there may be a million.
        return cls(**{**value, "name": sys.intern(value["name"]), "reasons": Counter(value["reasons"])})


@dataclass(slots=True)
class Stats:
    """What happened to the pairs of one shard, step by step; the first step is always `read`."""

    shard: int
    steps: list[StepCount]
    faults: tuple[Fault, ...] = ()

    @property
    def pairs_in(self) -> int:
        """Pairs read."""
        return self.steps[0].pairs_in

    @property
    def pairs_out(self) -> int:
        """Pairs written."""
        return self.steps[-1].pairs_out

    @property
    def pairs_rejected(self) -> int:
        """Pairs written to `rejects/`."""
        return sum(step.reasons.total() for step in self.steps)

    @property
    def reasons(self) -> Counter[str]:
        """Rejected pairs by reason code, the commonest first."""
        return _commonest(sum((step.reasons for step in self.steps), Counter()))

    def to_json(self) -> dict[str, Any]:
        """Without times, so that the same input gives the same bytes."""
        steps = [{**asdict(step), "reasons": dict(sorted(step.reasons.items()))} for step in self.steps]
        for step in steps:
            del step["seconds"]
        return {
            "shard": self.shard,
            "pairs_in": self.pairs_in,
            "pairs_out": self.pairs_out,
            "pairs_rejected": self.pairs_rejected,
            "steps": steps,
            "input_faults": [asdict(fault) for fault in self.faults],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Stats:
        """The stats that `to_json` wrote."""
        steps = [StepCount.from_json(step) for step in value["steps"]]
        return cls(value["shard"], steps, tuple(Fault(**fault) for fault in value["input_faults"]))


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole run: the sum of its shards, and how long this call took."""

    output: str
    shards: int
    steps: tuple[StepCount, ...]
    faults: tuple[Fault, ...]
    seconds: float
    resumed: int = 0

    @classmethod
    def of(cls, output: str, shards: Iterable[Stats], seconds: float, resumed: int = 0, again: Counter[str] = _NONE) -> Summary:
        """Add up the shards. Rows that were rejected as read and tried `again` in another shard, here by reason, count once."""
        steps: list[StepCount] = []
        faults: list[Fault] = []
        count = 0
        for stats in shards:
            count += 1
            add_steps(steps, stats.steps)
            faults += stats.faults
        if steps:
            steps[0].pairs_in -= again.total()
            steps[0].reasons -= again
        return cls(output, count, tuple(steps), tuple(faults), seconds, resumed)

    @property
    def pairs_in(self) -> int:
        """Pairs read."""
        return self.steps[0].pairs_in if self.steps else 0

    @property
    def pairs_out(self) -> int:
        """Pairs written."""
        return self.steps[-1].pairs_out if self.steps else 0

    @property
    def pairs_rejected(self) -> int:
        """Pairs in `rejects/`."""
        return sum(step.reasons.total() for step in self.steps)

    @property
    def reasons(self) -> Counter[str]:
        """Rejected pairs by reason code, the commonest first."""
        return _commonest(sum((step.reasons for step in self.steps), Counter()))

    def to_json(self) -> dict[str, Any]:
        """The stable contract of `pairloom run --json`."""
        return {
            "pairs_in": self.pairs_in,
            "pairs_out": self.pairs_out,
            "pairs_rejected": self.pairs_rejected,
            "reasons": dict(self.reasons),
            "input_faults": [asdict(fault) for fault in self.faults],
            "steps": [{**asdict(step), "seconds": round(step.seconds, 3), "reasons": dict(step.reasons)} for step in self.steps],
            "seconds": round(self.seconds, 3),
            "shards": self.shards,
            "shards_resumed": self.resumed,
            "output": self.output,
        }

    def _repr_html_(self) -> str:
        from pairloom.report.notebook import summary_frame

        return summary_frame(self)


def add_steps(total: list[StepCount], steps: Sequence[StepCount]) -> None:
    """Count in `total`, empty at first, what another shard counted step by step."""
    total.extend(StepCount(step.name, step.decides) for step in steps[len(total) :])
    for one, other in zip(total, steps, strict=True):
        one.add(other)


def _commonest(reasons: Counter[str]) -> Counter[str]:
    return Counter(dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))))
