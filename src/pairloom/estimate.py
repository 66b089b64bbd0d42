"""What a run would do, found out on a few pairs without writing anything."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pairloom import readers
from pairloom.batch import Batch
from pairloom.pipeline import plan_of
from pairloom.readers.model import Fault, Plan, ReadOptions
from pairloom.readers.taken import Taken, taken
from pairloom.recipe import Recipe
from pairloom.run import read_batches, run_steps, timed
from pairloom.stats import Stats, StepCount, Summary
from pairloom.writers.webdataset import final_texts

_OVERHEAD = 2_500  # bytes a pair of headers, padding, JSON and ledger


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the input was taken for, a plan's size, and what became of the pairs that were tried.

    `planning` are the seconds it took to find the pairs, `seconds` those that one worker would take for all of them once it has
    started, `memory` the bytes that this process took at most: a worker takes about as much.

    `texts` are the fewest and the most texts of a pair, `extra` the names of what else the input says of pairs, which is kept.
    """

    inputs: tuple[Taken, ...]
    containers: tuple[str, ...]
    pairs: int
    shards: int
    faults: tuple[Fault, ...]
    tried: Summary
    texts: tuple[int, int]
    extra: tuple[str, ...]
    bytes_out: int
    planning: float
    seconds: float
    memory: int

    def cost(self, core_hour: float, gb_month: float) -> tuple[float, float]:
        """What the run costs, and its output a month, for these prices of an hour of one core and of 10⁹ bytes a month."""
        return self.seconds / 3600 * core_hour, self.bytes_out / 1e9 * gb_month

    def to_json(self) -> dict[str, Any]:
        """The stable contract of `pairloom check --json`."""
        return {
            "inputs": [asdict(one) for one in self.inputs],
            "containers": len(self.containers),
            "pairs": self.pairs,
            "shards": self.shards,
            "input_faults": [asdict(fault) for fault in self.faults],
            "tried": {"pairs_in": self.tried.pairs_in, "pairs_out": self.tried.pairs_out, "reasons": dict(self.tried.reasons)},
            "texts_per_pair": list(self.texts),
            "extra": list(self.extra),
            "estimated_bytes": self.bytes_out,
            "planning_seconds": round(self.planning, 1),
            "estimated_seconds": round(self.seconds, 1),
            "memory_bytes": self.memory,
        }


def estimate(
    inputs: str | Path | Sequence[str | Path],
    recipe: Recipe,
    reading: ReadOptions,
    shard_size: int = 10_000,
    limit: int | None = None,
    tries: int = 64,
) -> Estimate:
    """Plan the input and try the recipe on `tries` pairs spread evenly over it."""
    start = time.perf_counter()
    plan = plan_of(inputs, reading, shard_size, limit, None)
    planning = time.perf_counter() - start
    total = sum(shard.rows for shard in plan.shards)
    steps = recipe.bound()
    counts = [StepCount("read"), *(StepCount(step.name, step.decides) for step in steps)]
    size, texts, extra = 0, {0}, dict[str, None]()
    for batch in _batches(plan_of(inputs, reading, shard_size, limit, min(tries, total)), reading, counts[0]) if total else ():
        if not counts[0].pairs_in:  # what is loaded once must not count for every pair
            run_steps(steps, batch.take([0]), [StepCount(count.name) for count in counts[1:]], lambda bad, step: None)
        texts |= {len(each) for each in batch["texts"]}
        extra.update(dict.fromkeys(name for each in batch["extra"] for name in json.loads(each)))
        kept = run_steps([lambda read: read, *steps], batch, counts, lambda bad, step: None)
        size += sum(map(len, kept["image"])) + sum(len(text.encode()) for text in final_texts(kept)) + len(kept) * _OVERHEAD
    tried = Summary.of("", [Stats(0, counts)], sum(count.seconds for count in counts))
    share = total / max(1, tried.pairs_in)
    reading_all = counts[0].seconds  # few pairs spread over a container take as long to get at as all of it
    seconds = reading_all + share * (tried.seconds - reading_all)
    faults = tuple(fault for shard in plan.shards for fault in shard.faults)
    names = tuple(container.name for container in plan.containers)
    few, read = min(texts - {0}, default=0), taken([str(one) for one in _several(inputs)], reading)
    return Estimate(
        tuple(read), names, total, len(plan.shards), faults, tried, (few, max(texts)), tuple(extra), round(size * share),
        planning, seconds, _peak_memory(),
    )  # fmt: skip


def _several(inputs: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    return [inputs] if isinstance(inputs, str | Path) else inputs


def _batches(plan: Plan, reading: ReadOptions, count: StepCount) -> Iterator[Batch]:
    for shard in plan.shards:
        yield from timed(read_batches(readers.read(shard, reading), shard.index, max(1, shard.rows)), count)


def _peak_memory() -> int:
    """Bytes; Linux says KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
