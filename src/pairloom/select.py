"""Selection: from staged shards to final ones, with what only the whole run can decide.

Encoded bytes are copied, never made again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import IO, Any

import pyarrow as pa

from pairloom.recipe import Recipe
from pairloom.remote import Place
from pairloom.stats import Stats, StepCount
from pairloom.step import Selection
from pairloom.writers.ledger import REJECTS, TableWriter, read_schema, read_tables
from pairloom.writers.parts import Part, Parts
from pairloom.writers.shard import commit_shard, committed, data_name, manifest_name
from pairloom.writers.webdataset import members

_PIECE = 1 << 18
_AT_ONCE = 256

Dropped = dict[str, tuple[Selection, str]]
"""What a selection drops: by key, the selection and its message."""


def publish(
    staged: Place,
    final: Place,
    recipe: Recipe,
    format: str,
    shards: Sequence[int],
    scores: pa.Table | None = None,
    threads: int = 1,
) -> Iterator[Stats]:
    """Write the final shards below `final` from those below `staged`, `threads` at a time; those there already are left alone.

    Gives what is left of each, in order; nothing is done before it is asked for.
    """
    dropped = decide(staged, recipe.select, shards, scores)
    with ThreadPoolExecutor(threads) as pool:  # most of it is digests, and waiting for the disk
        for first in range(0, len(shards), _AT_ONCE):  # each that waits takes memory
            some = shards[first : first + _AT_ONCE]
            yield from pool.map(lambda index: _publish_shard(staged, final, recipe, format, index, dropped), some)


def _publish_shard(staged: Place, final: Place, recipe: Recipe, format: str, index: int, dropped: Dropped) -> Stats:
    here = _dropped_here(staged, index, dropped)
    fingerprint = _fingerprint(recipe, here)
    manifest = json.loads((staged / manifest_name(index)).read_text("utf-8"))
    chosen = _count(Stats.from_json(manifest["stats"]), recipe.select, here)
    old = committed(final, index, fingerprint)
    if old is None or old.to_json() != chosen.to_json():
        with Parts(final) as parts:
            _copy_shard(staged, parts, index, format, manifest["files"], here)
            commit_shard(final, parts, fingerprint, chosen)
    return chosen


def decide(staged: Place, select: Sequence[Selection], shards: Sequence[int], scores: pa.Table | None = None) -> Dropped:
    """Let the selections see the ledger of all pairs of the run."""
    return drop(_ledger(staged, shards, select, scores), select)


def drop(ledger: pa.Table, select: Sequence[Selection]) -> Dropped:
    """Let each selection see the ledger of all pairs that those before it kept."""
    dropped: Dropped = {}
    for one in select:
        messages = one.drop(ledger)
        keys = ledger["key"]
        dropped |= {keys[row].as_py(): (one, message) for row, message in messages.items()}
        gone = set(messages)
        ledger = ledger.take(pa.array([row for row in range(ledger.num_rows) if row not in gone], pa.int64()))
    return dropped


def _ledger(staged: Place, shards: Sequence[int], select: Sequence[Selection], scores: pa.Table | None) -> pa.Table:
    """The columns that some selection reads, of all shards; texts that are only compared come as digests of 16 bytes."""
    columns = sorted({"key", *(column for one in select for column in one.reads)})
    whole = {column for one in select for column in one.reads if column not in one.compares}
    own = [name for name in columns if scores is None or name == "key" or name not in scores.column_names]
    parts = (shards[first : first + _AT_ONCE] for first in range(0, len(shards), _AT_ONCE))
    ledger = pa.concat_tables(_part(staged, some, own, whole) for some in parts).combine_chunks()
    if scores is None:
        return ledger
    wanted = [name for name in columns if name not in own]
    found = {key.as_py(): row for row, key in enumerate(scores["key"])}
    rows = pa.array([found.get(key.as_py()) for key in ledger["key"]], pa.int64())
    for name in wanted:
        ledger = ledger.append_column(name, scores[name].take(rows))
    return ledger


def _part(staged: Place, shards: Sequence[int], columns: list[str], whole: set[str]) -> pa.Table:
    """The ledger of some shards in one piece: many small pieces take more memory than what they hold."""
    tables = []
    for index in shards:
        path = staged / f"{index:05d}.parquet"
        tables += [read_schema(path).empty_table().select(columns), *read_tables(path, columns)]
    return pa.concat_tables(_digested(table, whole) for table in tables).combine_chunks()


def _digested(table: pa.Table, whole: set[str]) -> pa.Table:
    for place, field in enumerate(table.schema):
        if field.name not in {"key", *whole}:
            cells = (
                value.encode() if isinstance(value, str) else repr(value).encode() for value in table[field.name].to_pylist()
            )
            digests = [hashlib.blake2b(cell, digest_size=16).digest() for cell in cells]
            table = table.set_column(place, field.name, pa.array(digests, pa.binary(16)))
    return table


def _dropped_here(staged: Place, index: int, dropped: Dropped) -> Dropped:
    tables = read_tables(staged / f"{index:05d}.parquet", ["key"]) if dropped else ()
    return {key: dropped[key] for table in tables for key in table["key"].to_pylist() if key in dropped}


def _fingerprint(recipe: Recipe, dropped: Dropped) -> str:
    """A digest of the recipe and of what is dropped from one shard, which changes when other shards do."""
    said = json.dumps([recipe.fingerprint(), [(key, one.name, message) for key, (one, message) in sorted(dropped.items())]])
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def _count(stats: Stats, select: Sequence[Selection], dropped: Dropped) -> Stats:
    steps, left = list(stats.steps), stats.pairs_out
    for one in select:
        gone = sum(1 for selection, _ in dropped.values() if selection is one)
        steps.append(StepCount(one.name, True, left, left - gone, Counter({one.reason: gone} if gone else {})))
        left -= gone
    return Stats(stats.shard, steps, stats.faults)


def _copy_shard(staged: Place, parts: Parts, index: int, format: str, digests: dict[str, Any], dropped: Dropped) -> None:
    data, ledger = data_name(index, format), f"{index:05d}.parquet"
    rejects = f"rejects/{ledger}"
    if not dropped:
        for name in (data, ledger, rejects):
            parts.link(name, staged / name, digests[name])
        return

    def keep(key: str) -> bool:
        return key not in dropped

    (_filter_tar if format == "webdataset" else _filter_table)(staged / data, parts.open(data), keep)
    _filter_table(staged / ledger, parts.open(ledger), keep)
    writer = TableWriter(parts.open(rejects), REJECTS)
    for table in read_tables(staged / rejects):
        writer.write(table)
    for table in read_tables(staged / ledger, ["key", "source_key", "source", "original_text"]):
        writer.write(_rejects(table.filter(pa.array([not keep(key) for key in table["key"].to_pylist()], pa.bool_())), dropped))
    writer.close()


def _rejects(rows: pa.Table, dropped: Dropped) -> pa.Table:
    """Ledger rows that are all dropped, as `rejects/` holds them."""
    said = [dropped[key] for key in rows["key"].to_pylist()]
    columns = {
        "step": [one.name for one, _ in said],
        "reason": [one.reason for one, _ in said],
        "message": [why for _, why in said],
    }
    for name, values in columns.items():
        rows = rows.append_column(name, pa.array(values, pa.string()))
    return rows


def _filter_tar(source: Place, part: Part, keep: Callable[[str], bool]) -> None:
    """Copy the members of kept pairs as they are, headers and all."""
    with source.open("rb") as file:
        for kept, run in groupby(members(file), lambda member: keep(member[0].partition(".")[0])):
            places = [(start, end) for _, start, end in run]
            if kept:
                _copy(file, places[0][0], places[-1][1], part)
    part.write(bytes(1024 + -(part.size + 1024) % 10_240))


def _copy(file: IO[bytes], start: int, end: int, part: Part) -> None:
    file.seek(start)
    for place in range(start, end, _PIECE):
        part.write(file.read(min(_PIECE, end - place)))


def _filter_table(source: Place, part: Part, keep: Callable[[str], bool]) -> None:
    writer = TableWriter(part, read_schema(source), rows=1)
    for table in read_tables(source):
        writer.write(table.filter(pa.array([keep(key) for key in table["key"].to_pylist()], pa.bool_())))
    writer.close()
