"""Trying again what was rejected for a reason that may pass: in new shards of just those rows; the old ones stay as they are."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from pairloom.batch import Row
from pairloom.crumbs import read_known, write_known
from pairloom.errors import Reject, UsageError
from pairloom.output import RUNS, Output
from pairloom.readers.model import Plan, Shard, shown
from pairloom.remote import Place
from pairloom.writers.ledger import read_tables

PASSING = ("unreachable", "timeout", "http_status", "missing_image", "unreadable", "out_of_memory", "crashed")
"""Reasons that may pass, where they come up when a pair is read."""

_COLUMNS = ["key", "source_key", "source", "step", "reason", "message", "original_text"]


def with_retries(place: Output) -> Output:
    """A complete output, with shards added to its plan for the pairs whose last rejection may pass; the same if there are none.

    The old shards are told not to read those rows again, should one be made anew.

    Raises:
        UsageError: if the input names one container twice, whose rows can't be told apart, or the output is behind a URL.
    """
    if not isinstance(place.path, Path):
        raise UsageError(f"--retry-rejects works on outputs in a folder; copy {place.path} to one first")
    names = [container.name for container in place.plan.containers]
    failed = _failed(place)
    for name in failed:
        if names.count(name) > 1:
            raise UsageError(f"--retry-rejects can't tell the rows of {shown(name)} apart, which the input names twice")
    if not any(failed.values()):
        return place
    _set_aside(place.path / RUNS, failed)
    shards = list(place.plan.shards)
    for name, rows in failed.items():
        numbers, size = sorted(rows), int(place.settings["shard_size"])
        for start in range(0, len(numbers), size):
            chosen = {number: rows[number][1] for number in numbers[start : start + size]}
            shards.append(_shard(place.plan.shards, name, chosen, len(shards)))
    return replace(place, plan=Plan(place.plan.containers, tuple(shards)))


def _failed(place: Output) -> dict[str, dict[int, tuple[int, Row]]]:
    """By container and number: each row whose last try failed for a reason that may pass, and the shard of that try."""
    failed: dict[str, dict[int, tuple[int, Row]]] = {}
    for shard in place.plan.shards:
        rows = failed.setdefault(shard.container, {})
        for number in shard.numbers if shard.again else ():
            rows.pop(number, None)
        rows.update((number, (shard.index, row)) for number, row in _rejected(place.root, shard))
    return failed


def _rejected(root: Place, shard: Shard) -> Iterator[tuple[int, Row]]:
    numbers = shard.numbers
    for table in read_tables(root / "rejects" / f"{shard.index:05d}.parquet", _COLUMNS):
        passing = [
            step == "read" and reason in PASSING
            for step, reason in zip(table["step"].to_pylist(), table["reason"].to_pylist(), strict=True)
        ]
        for row in table.filter(pa.array(passing, pa.bool_())).to_pylist():
            reject = Reject(row["reason"], row["message"] or "")
            texts = (row["original_text"],) if row["original_text"] else ()
            place = int(row["key"][max(5, len(str(shard.index))) :])
            yield numbers[place], Row(row["source_key"], row["source"], None, texts, reject=reject)


def _set_aside(runs: Path, failed: Mapping[str, Mapping[int, tuple[int, Row]]]) -> None:
    """From now on these rows belong to a new shard; where they were rejected they stay so."""
    rows: dict[int, dict[int, Row]] = {}
    for found in failed.values():
        for number, (index, row) in found.items():
            rows.setdefault(index, {})[number] = row
    for index, known in rows.items():
        write_known(runs, index, read_known(runs, index) | known)


def _shard(shards: Sequence[Shard], name: str, rows: Mapping[int, Row], index: int) -> Shard:
    """A shard of just those rows of a container, read from where the first of them was."""
    plain = [shard for shard in shards if shard.container == name and not shard.again]
    numbers = tuple(rows)
    first = plain[bisect_right([shard.first_row for shard in plain], numbers[0]) - 1]
    repeated = {number for shard in plain for number in shard.repeated}
    reasons = Counter(row.reject.code for row in rows.values() if row.reject)
    return replace(
        first, index=index, rows=len(numbers), faults=(), repeated=tuple(sorted(repeated.intersection(numbers))),
        picks=numbers, again=tuple(sorted(reasons.items())),
    )  # fmt: skip
