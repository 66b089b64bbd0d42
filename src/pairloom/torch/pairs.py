"""Reading any one pair of an index: a span of a tar, a row of a table."""

from __future__ import annotations

import contextlib
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairloom import readers
from pairloom.batch import Row
from pairloom.errors import Reject
from pairloom.geometry import Box
from pairloom.readers import webdataset
from pairloom.readers.columns import find_columns, table_row
from pairloom.readers.model import ReadOptions, Shard
from pairloom.steps.tiles import SIDES
from pairloom.torch.cache import Cache
from pairloom.torch.index import SHARD, TABLE, Index
from pairloom.torch.output import members

_OPEN = 64  # files held open by one process
_GROUPS = 512 << 20  # bytes of row groups held by one process


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair as stored. `caption` is what `.txt` holds; segments are (caption number, start, end), with a weight each."""

    key: str
    image: bytes
    caption: str
    texts: tuple[str, ...] = ()
    segments: tuple[tuple[int, int, int], ...] = ()
    weights: tuple[float, ...] = ()
    tiles: tuple[Box, ...] = ()


@dataclass
class Pairs:
    """Opens what it reads on first use, in whatever process that is."""

    index: Index
    cache: Cache
    options: ReadOptions = field(default_factory=ReadOptions)
    _files: OrderedDict[tuple[int, int], Any] = field(default_factory=OrderedDict)
    _groups: OrderedDict[tuple[int, int], Any] = field(default_factory=OrderedDict)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_files": OrderedDict(), "_groups": OrderedDict()}

    def read(self, row: int) -> Pair:
        """The pair of that row. Raises `Reject` if it isn't there, or isn't what the index says."""
        file, start, length = (int(getattr(self.index, name)[row]) for name in ("file", "start", "length"))
        name, kind, _ = self.index.files[file]
        try:
            if kind == SHARD:
                return _of_span(os.pread(self._file(file).fileno(), length, start))
            if kind in (TABLE, "parquet"):
                table = self._group(file, start)
                values = {column: table[column][length].as_py() for column in table.column_names}
                return _of_values(values) if kind == TABLE else _of_row(self._table_row(values, name, (start << 32) + length))
            shard = Shard(0, name, kind, length, 1, start)
            if kind == "webdataset":
                return _of_row(next(webdataset.rows(self._file(file), shard, self.options)))
            return _of_row(next(readers.read(shard, self.options)))
        except (OSError, ValueError, KeyError, IndexError, TypeError, StopIteration, pa.ArrowException) as fault:
            raise Reject("unreadable", f"{name}: {fault!r}") from None

    def _table_row(self, values: Mapping[str, Any], name: str, number: int) -> Row:
        return table_row(values, find_columns(values, self.options, name), number, name, False, self.options)

    def _file(self, file: int) -> Any:
        key = (os.getpid(), file)
        if key not in self._files:
            name, _, digest = self.index.files[file]
            self._files[key] = self.cache.open(name, digest)
            gone = [one for one, held in self._files.items() if not os.fstat(held.fileno()).st_nlink]
            for one in gone:  # a copy that the cache deleted takes up room as long as it is open
                self._files.pop(one).close()
            if len(self._files) > _OPEN:
                with contextlib.suppress(OSError):
                    self._files.popitem(last=False)[1].close()
        self._files.move_to_end(key)
        return self._files[key]

    def _group(self, file: int, group: int) -> Any:
        key = (file, group)
        if key not in self._groups:
            self._groups[key] = pq.ParquetFile(self._file(file)).read_row_group(group, use_threads=False)
            while len(self._groups) > 1 and sum(table.nbytes for table in self._groups.values()) > _GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]


def _of_span(data: bytes) -> Pair:
    """A pair from the bytes of its members, as Pairloom writes them."""
    found: dict[str, bytes] = {}
    key = ""
    for name, place, size in members(data):
        key, _, suffix = name.partition(".")
        found["image" if suffix not in ("json", "txt") else suffix] = data[place + 512 : place + 512 + size]
    return _of_values({**json.loads(found["json"]), "key": key, "image": found["image"], "text": found["txt"].decode()})


def _of_values(said: Mapping[str, Any]) -> Pair:
    """A pair from the columns of the ledger; `text` is what `.txt` holds."""
    image = said["image"]
    segments = tuple((cell["caption"], cell["start"], cell["end"]) for cell in said.get("segments") or ())
    return Pair(
        said["key"],
        image["bytes"] if isinstance(image, dict) else image,
        said["text"],
        tuple(said.get("texts") or ()),
        segments,
        tuple(said.get("segment_weights") or ()),
        tuple(tuple(tile[side] for side in SIDES) for tile in said.get("tiles") or ()),
    )


def _of_row(row: Row) -> Pair:
    if row.reject is not None:
        raise row.reject
    return Pair(row.source_key, row.image or b"", row.texts[0], row.texts)
