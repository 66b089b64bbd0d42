"""What a run would do, found out on a few pairs without writing anything."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pairloom import readers
from pairloom.pipeline import plan_of
from pairloom.readers.model import Fault, ReadOptions
from pairloom.readers.taken import Taken, taken
from pairloom.recipe import Recipe
from pairloom.run import read_batches, run_steps
from pairloom.stats import Stats, StepCount, Summary
from pairloom.writers.webdataset import final_texts

_OVERHEAD = 2_500  # bytes a pair of headers, padding, JSON and ledger


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the input was taken for, a plan's size, and what became of the pairs that were tried.

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
    seconds: float

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
            "estimated_seconds": round(self.seconds, 1),
        }


def estimate(
    inputs: str | Path | Sequence[str | Path],
    recipe: Recipe,
    reading: ReadOptions,
    shard_size: int = 10_000,
    limit: int | None = None,
    tries: int = 64,
) -> Estimate:
    """Plan the input and try the recipe on `tries` pairs spread evenly over it; times are for one worker."""
    plan = plan_of(inputs, reading, shard_size, limit, None)
    steps = recipe.bound()
    counts = [StepCount("read"), *(StepCount(step.name, step.decides) for step in steps)]
    size, texts, extra, start = 0, {0}, dict[str, None](), time.perf_counter()
    total = sum(shard.rows for shard in plan.shards)
    for shard in plan_of(inputs, reading, shard_size, limit, min(tries, total)).shards if total else ():
        for batch in read_batches(readers.read(shard, reading), shard.index, shard_size):
            texts |= {len(each) for each in batch["texts"]}
            extra.update(dict.fromkeys(name for each in batch["extra"] for name in json.loads(each)))
            kept = run_steps([lambda read: read, *steps], batch, counts, lambda bad, step: None)
            size += sum(map(len, kept["image"])) + sum(len(text.encode()) for text in final_texts(kept)) + len(kept) * _OVERHEAD
    seconds = time.perf_counter() - start
    tried = Summary.of("", [Stats(0, counts)], seconds)
    share = total / max(1, tried.pairs_in)
    faults = tuple(fault for shard in plan.shards for fault in shard.faults)
    names = tuple(container.name for container in plan.containers)
    few = min(texts - {0}, default=0)
    return Estimate(
        tuple(taken([str(one) for one in ([inputs] if isinstance(inputs, str | Path) else inputs)], reading)), names, total,
        len(plan.shards), faults, tried, (few, max(texts)), tuple(extra), round(size * share), seconds * share,
    )  # fmt: skip
