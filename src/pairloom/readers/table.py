"""CSV, TSV and JSON lines. A row that isn't valid is rejected and reading goes on with the next line."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import IO

from pairloom.batch import Row
from pairloom.errors import Reject, UsageError
from pairloom.readers.cells import parse_json, strict_text, text_encoding
from pairloom.readers.columns import Columns, broken_row, find_columns, key_of, table_row
from pairloom.readers.inputs import open_container
from pairloom.readers.lines import MAX_LINE_BYTES, Line, cells_of, is_blank, lines, records
from pairloom.readers.model import Index, ReadOptions, Shard, printable

_SEPARATORS = (",", "\t", ";")
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
# Which of the first four bytes are zero in UTF-16 and UTF-32 that starts with letters of ASCII.
_WIDE_ZEROS = ("\0x\0x", "x\0x\0", "\0\0\0x", "x\0\0\0")
HEAD_RECORDS = 100
"""The fields of JSON lines may differ; the columns are the fields of this many valid ones."""


class _BrokenTable(Exception):
    """The table as a whole can't be read: `code` and `message` as in `Fault`."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(code, message)


@dataclass(frozen=True, slots=True)
class _Format:
    """What the head of a table says: how to cut and decode the rest. `separator` is None for JSON lines."""

    encoding: str
    start: int
    separator: str | None = None
    header: tuple[str, ...] = ()

    def rows(self, file: IO[bytes], offset: int) -> Iterator[Line]:
        """The records from `offset` on."""
        if self.separator is not None:
            return records(file, offset, self.separator, len(self.header))
        return (line for line in lines(file, offset) if not is_blank(line[1]))

    def values(self, data: bytes | None) -> Mapping[str, object]:
        """The values of one record by column; the first of two columns of one name counts. Raises `Reject`."""
        if data is None:
            raise Reject("broken_row", f"a line of more than {MAX_LINE_BYTES} bytes")
        if b"\0" in data:
            raise Reject("broken_row", "a NUL character in the line")
        text = strict_text(data, self.encoding)
        if self.separator is None:
            return parse_json(text, "broken_row")
        cells = cells_of(text, self.separator)
        if cells is None:
            raise Reject("broken_row", "not valid CSV, such as a quote that isn't closed or not doubled")
        if len(cells) != len(self.header):
            raise Reject("broken_row", f"{len(cells)} fields, but the header has {len(self.header)}")
        return dict(reversed(list(zip(self.header, cells, strict=True))))


def index_csv(path: str, options: ReadOptions, found: Index) -> None:
    """Count the rows of a CSV whose separator is a comma, a tab or a semicolon."""
    _index(path, "csv", options, found)


def index_tsv(path: str, options: ReadOptions, found: Index) -> None:
    """Count the rows of a CSV whose separator is a tab."""
    _index(path, "tsv", options, found)


def index_jsonl(path: str, options: ReadOptions, found: Index) -> None:
    """Count the rows of JSON lines."""
    _index(path, "jsonl", options, found)


def _index(path: str, kind: str, options: ReadOptions, found: Index) -> None:
    """Count the rows by cutting the file; a record is looked into only for its key."""
    with open_container(path) as file:
        try:
            form = _format(file, kind, options)
            columns = _columns(file, form, options, path)
        except _BrokenTable as broken:
            found.fault(path, 0, broken.code, broken.message)
            return
        keys: set[str] = set()
        for offset, data in form.rows(file, form.start):
            if found.full:
                return
            key = None if columns is None or columns.key is None else _key(form, data, columns)
            found.add(offset, key in keys)
            if key is not None:
                keys.add(key)


def columns_of(path: str, kind: str, options: ReadOptions) -> Columns | None:
    """The columns that mean something; None of a table that is empty or broken."""
    with open_container(path) as file:
        try:
            return _columns(file, _format(file, kind, options), options, path)
        except _BrokenTable:
            return None


def read(shard: Shard, options: ReadOptions) -> Iterator[Row]:
    """The rows of a shard, one in memory at a time."""
    with open_container(shard.container) as file:
        try:
            form = _format(file, shard.kind, options)
            columns = _columns(file, form, options, shard.container)
        except _BrokenTable:  # is in the plan as a fault
            return
        for number, (_, data) in shard.pick(form.rows(file, shard.offset)):
            yield _row(form, data, columns, number, shard, options)


def _row(form: _Format, data: bytes | None, columns: Columns | None, number: int, shard: Shard, options: ReadOptions) -> Row:
    try:
        values = form.values(data)
    except Reject as reject:
        return broken_row(number, shard.container, reject.bare())
    if columns is None:  # no line was valid when the plan was made
        return broken_row(number, shard.container, Reject("broken_row", "the table has no known columns"))
    return table_row(values, columns, number, shard.container, number in shard.repeated, options)


def _key(form: _Format, data: bytes | None, columns: Columns) -> str | None:
    try:
        return key_of(form.values(data), columns)
    except Reject:
        return None


def _format(file: IO[bytes], kind: str, options: ReadOptions) -> _Format:
    """Look at the head of the table. Raises `_BrokenTable`, or `UsageError` for an encoding that can't be cut into lines."""
    head = file.read(4)
    if head.startswith(_WIDE_MARKS) or "".join("x" if byte else "\0" for byte in head) in _WIDE_ZEROS:
        raise _BrokenTable("encoding", "UTF-16 or UTF-32; convert the table to UTF-8")
    encoding, start = _encoding(options), 0
    if head.startswith(codecs.BOM_UTF8):
        encoding, start = "utf-8", 3
    if kind == "jsonl":
        return _Format(encoding, start)
    first = next((line for _, line in lines(file, start) if not is_blank(line)), None)
    if first is None:
        return _Format(encoding, start, ",")
    separator = "\t" if kind == "tsv" else max(_SEPARATORS, key=lambda each: first.count(each.encode()))
    return _with_header(file, _Format(encoding, start, separator))


def _with_header(file: IO[bytes], form: _Format) -> _Format:
    """The format with the names of the columns, and the start of what follows them."""
    assert form.separator is not None
    rows = records(file, form.start, form.separator, None)
    data = next(rows)[1] or b""
    after = next(rows, None)
    try:
        names = cells_of(data.decode(form.encoding), form.separator)
    except UnicodeError:
        raise _BrokenTable("encoding", str(text_encoding(form.encoding).message)) from None
    if names is None or b"\0" in data:
        raise _BrokenTable("broken_header", "the first line isn't valid CSV")
    start = after[0] if after is not None else file.seek(0, 2)
    return _Format(form.encoding, start, form.separator, tuple(name.strip() for name in names))


def _columns(file: IO[bytes], form: _Format, options: ReadOptions, path: str) -> Columns | None:
    """The columns that mean something, None if there is no record to tell by."""
    if form.separator is not None:
        return find_columns(form.header, options, path) if form.header else None
    names: dict[str, None] = {}
    for values in islice(_valid(file, form), HEAD_RECORDS):
        names.update(dict.fromkeys(values))
    return find_columns(names, options, path) if names else None


def _valid(file: IO[bytes], form: _Format) -> Iterator[Mapping[str, object]]:
    """The records that are valid."""
    for _, data in form.rows(file, form.start):
        try:
            yield form.values(data)
        except Reject:
            continue


def _encoding(options: ReadOptions) -> str:
    """The encoding of a table, in which quotes, separators and line breaks must be the bytes of ASCII."""
    signs = '",;\t\n{}'
    try:
        if signs.encode(options.encoding) == signs.encode("ascii"):
            return options.encoding
    except LookupError:
        raise UsageError(f"there is no encoding {printable(options.encoding)!r}") from None
    raise UsageError(f"a table in {options.encoding} can't be read line by line; convert it to UTF-8")
