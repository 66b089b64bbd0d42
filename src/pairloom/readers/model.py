"""What a plan is made of: containers, the shards they are cut into, and the faults found on the way."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from pairloom.choices import Fetch
from pairloom.remote.names import secretless

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the caller may say about the input; None means that the usual names are tried.

    `fetch` says whether images that a table gives as URLs are fetched: from public addresses, or from any.
    """

    image_column: str | None = None
    text_column: str | None = None
    encoding: str = "utf-8"
    fetch: Fetch = "no"


@dataclass(frozen=True, slots=True)
class Fault:
    """A part of a container that couldn't be read as rows; `pairs_before` rows of the container precede it."""

    source: str
    offset: int
    code: str
    message: str
    pairs_before: int


@dataclass(frozen=True, slots=True)
class Container:
    """One file or folder that holds rows, with what tells whether it changed since the plan was made."""

    name: str
    kind: str
    size: int
    mtime_ns: int
    rows: int


@dataclass(frozen=True, slots=True)
class Shard:
    """A unit of work: `rows` rows of one container, from row `first_row` on.

    `offset` says where to seek to: bytes for text tables and tars, a row number for Parquet and folders. `repeated` names
    the rows whose key an earlier row of the container has, because only the index pass sees the container as a whole.
    `picks`, when a sample was asked for, are the numbers of the rows that count, ascending; `rows` is how many they are.
    `again` says of a shard that tries rejected rows again how many had been rejected for which reason.
    """

    index: int
    container: str
    kind: str
    first_row: int
    rows: int
    offset: int
    faults: tuple[Fault, ...] = ()
    repeated: tuple[int, ...] = ()
    picks: tuple[int, ...] | None = None
    again: tuple[tuple[str, int], ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Shard:
        """The shard whose fields `json` wrote."""
        said = {
            "container": sys.intern(value["container"]),  # one string for all shards of a container
            "kind": sys.intern(value["kind"]),
            "faults": tuple(Fault(**fault) for fault in value["faults"]),
            "repeated": tuple(value["repeated"]),
            "picks": None if value["picks"] is None else tuple(value["picks"]),
            "again": tuple((reason, count) for reason, count in value.get("again", ())),
        }
        return cls(**{**value, **said})

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of its rows in the container."""
        return range(self.first_row, self.first_row + self.rows) if self.picks is None else self.picks

    def pick(self, things: Iterable[T]) -> Iterator[tuple[int, T]]:
        """Of things that stand for the rows from `first_row` on: those of this shard, each with its row number."""
        numbers = iter(self.numbers)
        wanted = next(numbers, None)
        if wanted is None:
            return
        for number, thing in enumerate(things, self.first_row):
            if number == wanted:
                yield number, thing
                wanted = next(numbers, None)
                if wanted is None:  # so that nothing is read beyond the last row
                    return


@dataclass(frozen=True, slots=True)
class Plan:
    """All containers of an input, in order, and the shards that cover them."""

    containers: tuple[Container, ...]
    shards: tuple[Shard, ...]

    @property
    def again(self) -> Counter[str]:
        """The rejects that were tried again, by reason: pairs that two shards read and that count once."""
        counts: Counter[str] = Counter()
        for shard in self.shards:
            counts.update(dict(shard.again))
        return counts

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values that `json.dumps` takes."""
        shards = [asdict(each) | {"container": secretless(each.container)} for each in self.shards]
        return {"containers": self.containers_json(), "shards": shards}

    def containers_json(self) -> list[dict[str, Any]]:
        """The containers as plain values."""
        return [asdict(each) | {"name": secretless(each.name)} for each in self.containers]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """The plan that `to_json` wrote."""
        shards = (Shard.from_json(each) for each in value["shards"])
        return cls(tuple(Container(**each) for each in value["containers"]), tuple(shards))


@dataclass(slots=True)
class Index:
    """Collects what the index pass over one container finds; keeps one offset a shard, not one a row.

    `size` and `mtime_ns` tell later whether the container changed; a folder sums them up over the files it sees.
    """

    shard_size: int
    limit: int | None = None
    rows: int = 0
    offsets: list[int] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    size: int = 0
    mtime_ns: int = 0

    @property
    def full(self) -> bool:
        """Whether the limit is reached, so that the rest of the container need not be looked at."""
        return self.limit is not None and self.rows >= self.limit

    def add(self, offset: int, repeated: bool = False) -> None:
        """Count the row that starts at `offset`."""
        if self.rows % self.shard_size == 0:
            self.offsets.append(offset)
        if repeated:
            self.repeated.append(self.rows)
        self.rows += 1

    def fault(self, source: str, offset: int, code: str, message: str) -> None:
        """Note that nothing can be read from `offset` on."""
        self.faults.append(Fault(shown(source), offset, code, shown(message), self.rows))

    def shards(self, container: str, kind: str, number: int) -> Iterable[Shard]:
        """Cut the container; the first shard gets the index `number`, the last one the faults."""
        repeated: dict[int, list[int]] = {}
        for row in self.repeated:
            repeated.setdefault(row // self.shard_size, []).append(row)
        offsets = self.offsets or ([0] if self.faults else [])
        for part, offset in enumerate(offsets):
            first = part * self.shard_size
            rows = min(self.shard_size, self.rows - first)
            faults = tuple(self.faults) if part == len(offsets) - 1 else ()
            yield Shard(number + part, container, kind, first, rows, offset, faults, tuple(repeated.get(part, ())))


def printable(name: str) -> str:
    """A name as valid UTF-8: bytes that are none become `\\xNN`, so that Arrow and JSON take it."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") if _escaped(name) else _plain(name)


def shown(name: str) -> str:
    """The name of a container, or a text with such names, as it may be told: valid UTF-8, without what a URL holds of secrets."""
    return printable(secretless(name))


def _escaped(name: str) -> bool:
    """Whether all lone surrogates of a name stand for single bytes, as `os.fsdecode` makes them."""
    return all("\udc80" <= letter <= "\udcff" for letter in name if "\ud800" <= letter <= "\udfff")


def _plain(name: str) -> str:
    """A name with any lone surrogate written out."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
