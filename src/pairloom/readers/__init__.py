"""Readers: from files and folders to a plan of shards, and from a shard to its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from pairloom import plugins
from pairloom.batch import Row
from pairloom.errors import RunError, UsageError
from pairloom.readers import folder, llava, parquet, plugin, table, webdataset
from pairloom.readers.detect import OWN, guesses
from pairloom.readers.fetch import fetched
from pairloom.readers.folder import let_go
from pairloom.readers.inputs import identity
from pairloom.readers.model import Container, Fault, Index, Plan, ReadOptions, Shard, shown
from pairloom.remote.retry import Unreachable

__all__ = ["OWN", "Container", "Fault", "Plan", "ReadOptions", "Shard", "containers", "identity", "let_go", "plan", "read"]

_Pass = Callable[[str, ReadOptions, Index], None]
_Read = Callable[[Shard, ReadOptions], Iterator[Row]]

_READERS: dict[str, tuple[_Pass, _Read]] = {
    "folder": (folder.index, folder.read),
    "webdataset": (webdataset.index, webdataset.read),
    "csv": (table.index_csv, table.read),
    "tsv": (table.index_tsv, table.read),
    "jsonl": (table.index_jsonl, table.read),
    "parquet": (parquet.index, parquet.read),
    "llava": (llava.index, llava.read),
}


def plan(
    inputs: str | Sequence[str],
    options: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
    shard_size: int = 10_000,
    limit: int | None = None,
    sample: int | None = None,
) -> Plan:
    """Find all rows of the inputs and cut them into shards of at most `shard_size` rows, none of two containers.

    An input is a file (`.tar`, `.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.parquet`, LLaVA's `.json`), a folder, a glob, a brace
    range such as `{00000..00041}.tar`, several of these with `::` between them, or the URL of a file or folder. Of a folder
    counts the first of: a `metadata.jsonl`, `.csv` or `.parquet` (Hugging Face's imagefolder), images at any depth, tars, tables
    of one kind, those of a folder `data` in it (Hugging Face's Hub), files that an installed package reads.

    `limit` takes the first rows of the whole input, `sample` that many of them, evenly spread.
    """
    for name, value in (("shard_size", shard_size), ("limit", limit), ("sample", sample)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}; at least 1 makes sense")
    found_in: list[Container] = []
    shards: list[Shard] = []
    rows = 0
    for path, kind in containers(inputs):
        if limit is not None and rows >= limit:
            break
        found = _index(path, kind, options, Index(shard_size, None if limit is None else limit - rows))
        found_in.append(Container(path, kind, found.size, found.mtime_ns, found.rows))
        shards += found.shards(path, kind, len(shards))
        rows += found.rows
    if not shards:
        names = ", ".join(shown(each.name) for each in found_in[:3])
        raise UsageError(f"there is not one pair in {names}{', …' if len(found_in) > 3 else ''}")
    return Plan(tuple(found_in), tuple(shards if sample is None or sample >= rows else _sampled(shards, rows, sample)))


def containers(inputs: str | Sequence[str]) -> list[tuple[str, str]]:
    """The files and folders that `plan` would look into, in its order, each with its kind."""
    return [(path, guess.kind) for guess in guesses(inputs) for path in guess.paths]


def read(shard: Shard, options: ReadOptions = ReadOptions()) -> Iterator[Row]:  # noqa: B008 - frozen
    """The rows of a shard, in order: exactly `shard.rows` of them, unless the container changed since it was planned.

    What can't be used is among them, with its reason in `reject`.
    """
    if not shard.rows:  # it only tells of a fault
        return iter(())
    rows = _reader(shard.kind)[1](shard, options)
    return rows if options.fetch == "no" else fetched(rows, options.fetch)


def _index(path: str, kind: str, options: ReadOptions, found: Index) -> Index:
    """The index pass over one container. If the disk or the network fails, what was found before it counts."""
    try:
        if kind != "folder":
            found.size, found.mtime_ns = identity(path)
        _reader(kind)[0](path, options, found)
    except Unreachable as error:  # it may be there tomorrow, and a plan without it would be another one
        raise RunError(f"the input can't be read now: {error.strerror}") from None
    except OSError as error:
        found.fault(path, 0, "unreadable", error.strerror or str(error))
    return found


def packages(kinds: Iterable[str]) -> dict[str, str]:
    """The installed packages that read containers of these kinds, each with its version."""
    return plugins.packages("readers", (kind for kind in kinds if kind not in OWN))


def _reader(kind: str) -> tuple[_Pass, _Read]:
    return _READERS.get(kind) or (partial(plugin.index, kind), plugin.read)


def _sampled(shards: Sequence[Shard], rows: int, sample: int) -> Iterator[Shard]:
    """The shards with `sample` rows, each from the middle of one of as many equal parts of the input.

    A shard without any goes, unless it has a fault to tell of.
    """
    picks = [(2 * part + 1) * rows // (2 * sample) for part in range(sample)]
    before = place = index = 0
    for shard in shards:
        first = place
        while place < len(picks) and picks[place] < before + shard.rows:
            place += 1
        numbers = tuple(pick - before + shard.first_row for pick in picks[first:place])
        before += shard.rows
        if numbers or shard.faults:
            repeated = tuple(sorted(set(shard.repeated).intersection(numbers)))
            yield replace(shard, index=index, rows=len(numbers), repeated=repeated, picks=numbers)
            index += 1
