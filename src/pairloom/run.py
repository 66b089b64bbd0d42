"""The whole program: one shard of raw pairs through the steps of a recipe into one shard of training-ready pairs.

Engines only decide where `run_shard` runs; the bytes are the same everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from pairloom import readers
from pairloom.batch import Batch, Row
from pairloom.errors import RunError
from pairloom.limits import BATCH_ROWS, Limits, allow
from pairloom.readers.model import ReadOptions, Shard, shown
from pairloom.recipe import Recipe
from pairloom.remote import Place
from pairloom.stats import Stats, StepCount
from pairloom.step import threads
from pairloom.steps.header import decoded_bytes
from pairloom.writers.shard import ShardFiles

BATCH_BYTES = 256 << 20

Tell = Callable[[Sequence[StepCount]], None]
"""Hears the counts of a shard after each batch; may raise to stop the shard, which then leaves nothing behind."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all shards of a run share. `packages` are the versions of the plugins that read the input, `runs` is the folder for
    what may differ from run to run."""

    recipe: Recipe
    root: Place
    shard_size: int = 10_000
    format: str = "webdataset"
    reading: ReadOptions = field(default_factory=ReadOptions)
    threads: int = 1
    packages: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    runs: Path | None = None

    def counts(self) -> list[StepCount]:
        """Counts of nothing yet: of reading, each step, and writing."""
        steps = [StepCount(step.name, step.decides) for step in self.recipe.steps]
        return [StepCount("read"), *steps, StepCount("write")]


def run_shard(job: Job, shard: Shard, tell: Tell = lambda counts: None, known: Mapping[int, Row] = MappingProxyType({})) -> Stats:
    """Read, prepare and commit one shard. Nothing of it is visible before all of it is.

    `known` are rows that are not read, by their number in the container, because that or what follows would end the process.

    Raises:
        RunError: if the input is no longer what the plan says.
    """
    steps, counts = job.recipe.bound(), job.counts()
    with threads(job.threads), ShardFiles(job.root, shard, job.format, job.recipe) as files:
        for batch in timed(read_batches(_rows(shard, job.reading, known), shard.index, job.shard_size), counts[0]):
            kept = run_steps([lambda read: read, *steps], batch, counts[:-1], files.reject)
            run_steps([files.keep], kept, counts[-1:], files.reject)
            tell(counts)
            del batch, kept  # or they would stay in memory while the next one is read
        stats = Stats(shard.index, counts, shard.faults)
        if stats.pairs_in != shard.rows:
            raise RunError(f"{shown(shard.container)} changed while it was read: {stats.pairs_in} pairs instead of {shard.rows}")
        if stats.pairs_in != stats.pairs_out + stats.pairs_rejected:
            raise AssertionError(f"pairs were lost: {stats.to_json()}")
        files.commit(stats)
    return stats


def run_steps(
    steps: Sequence[Callable[[Batch], Batch]],
    batch: Batch,
    counts: Sequence[StepCount],
    reject: Callable[[Batch, str], None],
) -> Batch:
    """One batch through the steps, with one count for each.

    This is the only place that takes rejected rows off the line, and the only one that counts.
    """
    for step, count in zip(steps, counts, strict=True):
        start = time.perf_counter()
        allow(BATCH_ROWS)
        count.pairs_in += len(batch)
        batch, bad = step(batch).split()
        count.pairs_out += len(batch)
        if len(bad):
            count.reasons.update(cell["code"] for cell in bad["reject"])
            reject(bad, count.name)
        count.seconds += time.perf_counter() - start
    return batch


def read_batches(rows: Iterable[Row], shard: int, shard_size: int) -> Iterator[Batch]:
    """Rows as batches of at most 32 rows and about 256 MiB, decoded pixels included; results never depend on the cut."""
    number = 0
    for group in _groups(iter(rows)):
        keys = [make_key(shard, number + row, shard_size) for row in range(len(group))]
        number += len(group)
        batch = Batch.read(keys, group)
        group.clear()  # the batch has copied it all
        yield batch
        del batch


def timed(batches: Iterator[Batch], count: StepCount) -> Iterator[Batch]:
    """The same batches; the time it takes to get each is added to `count`."""
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        count.seconds += time.perf_counter() - start
        if batch is None:
            return
        yield batch
        del batch


def make_key(shard: int, index: int, shard_size: int) -> str:
    """The key of a pair as img2dataset makes it: five digits of the shard, then the place in it (four at 10,000 a shard)."""
    return f"{shard:05d}{index:0{max(1, len(str(shard_size - 1)))}d}"


def _rows(shard: Shard, reading: ReadOptions, known: Mapping[int, Row]) -> Iterator[Row]:
    """The rows of a shard, those that are known in the place of what would be read."""
    left = tuple(number for number in shard.numbers if number not in known)
    others = readers.read(replace(shard, rows=len(left), picks=left) if known else shard, reading)
    for number in shard.numbers if known else ():
        if number in known:
            yield known[number]
        elif (row := next(others, None)) is not None:  # else the container changed, which its count tells
            yield row
    yield from others


def _groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    waiting: list[Row] = []
    while waiting or (waiting := list(islice(rows, 1))):
        group, size = waiting, _size(waiting[0])
        waiting = []
        for row in rows if size < BATCH_BYTES else ():
            size += _size(row)
            if size > BATCH_BYTES or len(group) == BATCH_ROWS:
                waiting = [row]
                break
            group.append(row)
        yield group


def _size(row: Row) -> int:
    """About the memory that a row takes on the line; a file is there twice, a text in four copies of up to four bytes."""
    letters = len(row.extra) + sum(map(len, row.texts))
    return letters * 16 + (2 * len(row.image) + decoded_bytes(row.image) if row.image else 0)
