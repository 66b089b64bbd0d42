"""Scores alone: how well each pair of an input fits, without preparing any of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from pairloom import readers
from pairloom.batch import SEGMENTS, Batch
from pairloom.errors import UsageError
from pairloom.pipeline import plan_of
from pairloom.progress import Progress
from pairloom.readers.model import ReadOptions
from pairloom.recipe import Recipe
from pairloom.run import read_batches, run_steps
from pairloom.stats import Stats, StepCount, Summary
from pairloom.step import Step, threads
from pairloom.steps.align import Align
from pairloom.writers.ledger import TableWriter
from pairloom.writers.parts import Parts

SCORES = pa.schema(
    [("key", pa.string()), ("source_key", pa.string()), *Align.adds.items(), ("segments", SEGMENTS), ("reject", pa.string())]
)
"""The columns of a table of scores: those that `align` adds, and the reason code of a pair that has none."""


def scoring(recipe: Recipe) -> tuple[Step, ...]:
    """The steps of a recipe up to `align`, told what follows as in a run: what is decoded, and so each score, is the same.

    Raises:
        UsageError: if the recipe scores nothing.
    """
    place = next((place for place, step in enumerate(recipe.steps) if isinstance(step, Align)), None)
    if place is None:
        raise UsageError("the recipe has no `align` step, so there is nothing to score by")
    return recipe.bound()[: place + 1]


def score(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    recipe: str | Recipe = "default",
    *,
    workers: int = 1,
    shard_size: int = 10_000,
    limit: int | None = None,
    sample: int | None = None,
    reading: ReadOptions | None = None,
    show: Callable[[Progress], None] | None = None,
) -> Summary:
    """Write a Parquet table with one row for each pair of `inputs`, in their order, exactly as `run` by `recipe` would score it.

    The columns are `SCORES`. A pair that a step before `align` rejects has its reason code in `reject` and no scores. The
    table appears when it is whole.

    Raises:
        RecipeError, UsageError: if it can't work as asked; nothing was written.
    """
    start, reading, path = time.perf_counter(), reading or ReadOptions(), Path(output)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a Parquet file")
    steps = scoring(recipe if isinstance(recipe, Recipe) else Recipe.load(recipe))
    plan = plan_of(inputs, reading, shard_size, limit, sample)
    counts = [StepCount("read"), *(StepCount(step.name, step.decides) for step in steps)]
    progress = Progress(sum(shard.rows for shard in plan.shards), 1.0, show)
    with threads(workers), Parts(path.parent) as parts:
        table = TableWriter(parts.open(path.name), SCORES)
        for shard in plan.shards:
            for batch in read_batches(readers.read(shard, reading), shard.index, shard_size):
                bad: list[Batch] = []
                kept = run_steps([lambda read: read, *steps], batch, counts, lambda some, step, bad=bad: bad.append(some))  # type: ignore[misc]
                table.write(_rows(kept, bad))
                progress.hear(0, counts)
        table.close()
        parts.publish()
    faults = tuple(fault for shard in plan.shards for fault in shard.faults)
    return Summary.of(str(output), [Stats(0, counts, faults)], time.perf_counter() - start)


def _rows(kept: Batch, bad: Sequence[Batch]) -> pa.Table:
    """Kept and rejected pairs of a batch, again in the order in which they were read."""
    tables = [kept.table.drop_columns(["reject"]).append_column("reject", pa.nulls(len(kept), pa.string()))]
    for batch in bad:
        codes = pa.array([cell["code"] for cell in batch["reject"]], pa.string())
        here = pa.table({"key": batch.table["key"], "source_key": batch.table["source_key"], "reject": codes})
        tables.append(here)
    whole = pa.concat_tables(tables, promote_options="default")
    for name in set(SCORES.names) - set(whole.column_names):
        whole = whole.append_column(name, pa.nulls(whole.num_rows, SCORES.field(name).type))
    return whole.select(SCORES.names).sort_by("key")
