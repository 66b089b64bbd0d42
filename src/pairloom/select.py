"""Selection: from staged shards to final ones, with what only the whole run can decide.

Encoded bytes are copied, never made again.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pairloom.output import committed
from pairloom.recipe import Recipe
from pairloom.stats import Stats, StepCount
from pairloom.step import Selection
from pairloom.writers.ledger import REJECTS, TableWriter
from pairloom.writers.parts import Part, Parts
from pairloom.writers.shard import commit_shard, data_name, manifest_name

Dropped = dict[str, tuple[Selection, str]]
"""What a selection drops: by key, the selection and its message."""


def publish(
    staged: Path, final: Path, recipe: Recipe, format: str, shards: Sequence[Stats], scores: pa.Table | None = None
) -> dict[int, Stats]:
    """Write the final shards below `final` from those below `staged`; shards that are there already are left alone."""
    shards = sorted(shards, key=lambda stats: stats.shard)
    dropped = decide(staged, recipe.select, [stats.shard for stats in shards], scores)
    fingerprint = recipe.fingerprint()
    there = committed(final, fingerprint, max((stats.shard + 1 for stats in shards), default=0))
    done = {}
    for stats in shards:
        here = _dropped_here(staged, stats.shard, dropped)
        done[stats.shard] = chosen = _count(stats, recipe.select, here)
        old = there.get(stats.shard)
        if old is None or old.to_json() != chosen.to_json():
            with Parts(final) as parts:
                _copy_shard(staged, parts, stats.shard, format, here)
                commit_shard(final, parts, fingerprint, chosen)
    return done


def decide(staged: Path, select: Sequence[Selection], shards: Sequence[int], scores: pa.Table | None = None) -> Dropped:
    """Let each selection see the ledger of all pairs that those before it kept."""
    columns = sorted({"key", *(column for one in select for column in one.reads)})
    dropped: Dropped = {}
    ledger = _ledger(staged, shards, columns, scores)
    for one in select:
        messages = one.drop(ledger)
        keys = ledger["key"]
        dropped |= {keys[row].as_py(): (one, message) for row, message in messages.items()}
        gone = set(messages)
        ledger = ledger.take(pa.array([row for row in range(ledger.num_rows) if row not in gone], pa.int64()))
    return dropped


def _ledger(staged: Path, shards: Sequence[int], columns: list[str], scores: pa.Table | None) -> pa.Table:
    own = [name for name in columns if scores is None or name == "key" or name not in scores.column_names]
    tables = [pq.read_table(staged / f"{index:05d}.parquet", columns=own) for index in shards]
    ledger = pa.concat_tables(tables).combine_chunks()
    if scores is None:
        return ledger
    wanted = [name for name in columns if name not in own]
    found = {key.as_py(): row for row, key in enumerate(scores["key"])}
    rows = pa.array([found.get(key.as_py()) for key in ledger["key"]], pa.int64())
    for name in wanted:
        ledger = ledger.append_column(name, scores[name].take(rows))
    return ledger


def _dropped_here(staged: Path, index: int, dropped: Dropped) -> Dropped:
    keys = pq.read_table(staged / f"{index:05d}.parquet", columns=["key"])["key"].to_pylist() if dropped else []
    return {key: dropped[key] for key in keys if key in dropped}


def _count(stats: Stats, select: Sequence[Selection], dropped: Dropped) -> Stats:
    steps, left = list(stats.steps), stats.pairs_out
    for one in select:
        gone = sum(1 for selection, _ in dropped.values() if selection is one)
        steps.append(StepCount(one.name, True, left, left - gone, Counter({one.reason: gone} if gone else {})))
        left -= gone
    return Stats(stats.shard, steps, stats.faults)


def _copy_shard(staged: Path, parts: Parts, index: int, format: str, dropped: Dropped) -> None:
    data, ledger = data_name(index, format), f"{index:05d}.parquet"
    rejects = f"rejects/{ledger}"
    if not dropped:
        digests = json.loads((staged / manifest_name(index)).read_text("utf-8"))["files"]
        for name in (data, ledger, rejects):
            parts.link(name, staged / name, digests[name])
        return

    def keep(key: str) -> bool:
        return key not in dropped

    (_filter_tar if format == "webdataset" else _filter_table)(staged / data, parts.open(data), keep)
    _filter_table(staged / ledger, parts.open(ledger), keep)
    writer = TableWriter(parts.open(rejects), REJECTS)
    for batch in pq.ParquetFile(staged / rejects).iter_batches():
        writer.write(pa.Table.from_batches([batch]))
    writer.write(_rejects(staged / ledger, dropped))
    writer.close()


def _rejects(ledger: Path, dropped: Dropped) -> pa.Table:
    if not dropped:
        return REJECTS.empty_table()
    rows = pq.read_table(ledger, columns=["key", "source_key", "source", "original_text"]).to_pylist()
    said = [
        {**row, "step": dropped[row["key"]][0].name, "reason": dropped[row["key"]][0].reason, "message": dropped[row["key"]][1]}
        for row in rows
        if row["key"] in dropped
    ]
    return pa.Table.from_pylist(said, REJECTS)


def _filter_tar(source: Path, part: Part, keep: Callable[[str], bool]) -> None:
    """Copy the members of kept pairs as they are, headers and all."""
    with source.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            if keep(member.name.partition(".")[0]):
                file.seek(member.offset)
                part.write(file.read(member.offset_data - member.offset + -(-member.size // 512) * 512))
    part.write(bytes(1024 + -(part.size + 1024) % 10_240))


def _filter_table(source: Path, part: Part, keep: Callable[[str], bool]) -> None:
    file = pq.ParquetFile(source)
    writer = TableWriter(part, file.schema_arrow, rows=1)
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        writer.write(table.filter(pa.array([keep(key) for key in table["key"].to_pylist()], pa.bool_())))
    writer.close()
