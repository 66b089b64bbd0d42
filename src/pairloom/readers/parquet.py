"""Parquet tables whose image column holds paths, bytes, or Hugging Face's struct of both."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairloom.batch import Row
from pairloom.errors import Reject
from pairloom.readers.columns import Columns, broken_row, find_columns, key_of, table_row
from pairloom.readers.inputs import open_container
from pairloom.readers.model import Index, ReadOptions, Shard, printable

BATCH_ROWS = 64
BATCH_BYTES = 16 << 20
REPEATED_BYTES = 128 << 20
# What pyarrow raises for files that are broken in any way.
_BROKEN = (pa.ArrowException, OSError, ValueError, KeyError)


@dataclass(frozen=True, slots=True)
class _Place:
    """A row that is not yet made into Python values, as most of a batch may not be wanted."""

    batch: Any
    row: int


def index(path: str, options: ReadOptions, found: Index) -> None:
    """Count the rows, as the end of the file tells; only a key column is read."""
    with open_container(path) as file:
        try:
            with _opened(file) as table:
                names, groups = table.schema_arrow.names, _groups(table)
        except _BROKEN as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk or the network, not the data
            found.fault(path, 0, "broken_parquet", str(error))
            return
        columns = find_columns(names, options, path)
        if columns.key is None:
            for row in range(sum(groups)):
                if found.full:
                    return
                found.add(row)
            return
        with _opened(file) as table:
            _index_keys(table, columns, groups, found)


def columns_of(path: str, options: ReadOptions) -> Columns | None:
    """The columns that mean something; None of a table that is broken."""
    with open_container(path) as file:
        try:
            with _opened(file) as table:
                names = table.schema_arrow.names
        except _BROKEN:
            return None
    return find_columns(names, options, path)


def _index_keys(table: Any, columns: Columns, groups: list[int], found: Index) -> None:
    keys: set[str] = set()
    for place in _places(table, groups, 0, [columns.key]):
        if found.full:
            return
        key = None if isinstance(place, Reject) else key_of(_values(place), columns)
        found.add(found.rows, key in keys)
        if key is not None:
            keys.add(key)


def read(shard: Shard, options: ReadOptions) -> Iterator[Row]:
    """The rows of a shard, one batch in memory at a time. Rows before its first in the same row group are passed over."""
    if not shard.numbers:
        return
    with open_container(shard.container) as file, _opened(file) as table:
        columns = find_columns(table.schema_arrow.names, options, shard.container)
        wanted = _wanted(table.schema_arrow, columns)
        for number, place in shard.pick(_places(table, _groups(table), shard.first_row, wanted, shard.numbers)):
            if isinstance(place, Reject):
                yield broken_row(number, shard.container, place)
            else:
                yield table_row(_values(place), columns, number, shard.container, number in shard.repeated, options)


@contextmanager
def _opened(file: Any) -> Iterator[Any]:
    """The table; without `pre_buffer` and with a buffer, a column is read page by page and not as a whole."""
    table = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
    try:
        yield table
    finally:
        table.close()


def _groups(table: Any) -> list[int]:
    """How many rows each row group has."""
    return [max(0, table.metadata.row_group(number).num_rows) for number in range(table.num_row_groups)]


def _wanted(schema: Any, columns: Columns) -> list[str]:
    """The columns worth reading: other columns with bytes can't go to `extra`."""
    used = (columns.image, columns.text, columns.key)
    return [field.name for field in schema if field.name in used or not _has_bytes(field.type)]


def _has_bytes(type: Any) -> bool:
    if pa.types.is_nested(type):
        return any(_has_bytes(type.field(place).type) for place in range(type.num_fields))
    return "binary" in str(type)


def _places(
    table: Any, groups: list[int], first: int, columns: list[Any], wanted: Sequence[int] | None = None
) -> Iterator[_Place | Reject]:
    """The rows from `first` on. Row groups without any of the row numbers `wanted` aren't read: each row is a reject."""
    begin = 0
    for number, rows in enumerate(groups):
        start, end = max(first - begin, 0), begin + rows
        if start < rows:
            place = 0 if wanted is None else bisect_left(wanted, begin)
            if wanted is None or (place < len(wanted) and wanted[place] < end):
                yield from _group(table, number, rows, start, columns)
            else:
                yield from repeat(Reject("broken_row", "not read"), rows - start)
        begin = end


def _group(table: Any, number: int, rows: int, start: int, columns: list[Any]) -> Iterator[_Place | Reject]:
    """The rows of one row group from its row `start` on; those that can't be read are rejects."""
    done = 0
    problem = "the row group has fewer rows than it says"
    try:
        size = _batch_rows(table.metadata.row_group(number).total_byte_size, rows)
        batches = table.iter_batches(size, row_groups=[number], columns=columns)
        for batch in batches:
            for row in range(min(batch.num_rows, rows - done)):
                if done >= start:
                    yield _Place(batch, row)
                done += 1
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk or the network, not the data
        problem = printable(str(error))
    yield from (Reject("broken_row", f"broken Parquet: {problem}") for _ in range(max(done, start), rows))


def _batch_rows(size: int, rows: int) -> int:
    """How many rows to read at once from a row group of `size` bytes: it may hold one large value, named by all its rows."""
    return max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, size // max(1, rows)), REPEATED_BYTES // max(1, size)))


def _values(place: _Place) -> Mapping[str, object]:
    """The values of a row by column; the first of two columns of one name counts."""
    names, columns = place.batch.schema.names, place.batch.columns
    return {names[each]: _value(columns[each], place.row) for each in reversed(range(len(names)))}


def _value(column: Any, row: int) -> object:
    """One cell, a `Reject` if Python can't hold it."""
    try:
        return column[row].as_py()
    except UnicodeDecodeError:
        return Reject("text_encoding", "not valid UTF-8")
    except (ValueError, OverflowError, pa.ArrowException) as error:
        return Reject("mistyped_cell", printable(str(error)))
