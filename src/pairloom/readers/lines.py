"""Physical lines of a text table, and the records they make.

A quoted CSV field may hold line breaks, so a quote that is never closed could swallow the rest of a file. The rule here:
a record is the shortest run of lines that closes its quotes. If that takes more than `MAX_SPAN_LINES` lines or
`MAX_SPAN_BYTES` bytes or the end of the file, or if what comes out isn't strict CSV with as many fields as the header,
then the first line alone is a broken row, and reading goes on with the second line.

Everything works on bytes, so that offsets are exact: in UTF-8, and in all encodings that Python calls a superset of ASCII
and whose trail bytes are neither quotes, separators nor line breaks (GBK, GB18030, Big5, Shift JIS, Latin).
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import IO

MAX_LINE_BYTES = 16 << 20  # JSON can take 70 bytes of memory for one in the file
MAX_SPAN_BYTES = 1 << 20
MAX_SPAN_LINES = 1000

_QUOTED = re.compile(rb'(?:[^"]++|"")*+')
# The csv module stops at 131,072 characters a field otherwise; our own limits are on lines and on texts.
csv.field_size_limit(MAX_LINE_BYTES)

Line = tuple[int, bytes | None]
"""The offset and the bytes of a line with its line break, or None for the bytes of one that is too long."""


def lines(file: IO[bytes], offset: int) -> Iterator[Line]:
    """The physical lines from `offset` on."""
    file.seek(offset)
    while line := file.readline(MAX_LINE_BYTES):
        start, offset = offset, offset + len(line)
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (more := file.readline(1 << 20)) and not more.endswith(b"\n"):
                offset += len(more)
            offset += len(more)
            yield start, None
        else:
            yield start, line


def is_blank(line: bytes | None) -> bool:
    """Whether a line is no row. One of tabs alone is: of a TSV with empty fields."""
    return line is not None and not line.strip(b"\r\n ")


def records(file: IO[bytes], offset: int, separator: str, width: int | None) -> Iterator[Line]:
    """The CSV records from `offset` on, which must be the start of one; broken ones are there as their first line."""
    waiting: deque[Line] = deque()
    following = lines(file, offset)
    while (line := waiting.popleft() if waiting else next(following, None)) is not None:
        start, data = line
        if is_blank(data):
            continue
        if data is not None and b'"' in data and _is_open(data, separator.encode(), False):
            data = _join(data, waiting, following, separator, width)
        yield start, data


def _join(first: bytes, waiting: deque[Line], following: Iterator[Line], separator: str, width: int | None) -> bytes:
    """The record that starts with the line `first`, taking lines off `waiting`; just that line if there is no such record."""
    taken: list[bytes] = [first]
    size, used = len(first), 0
    is_open = True
    while is_open and len(taken) < MAX_SPAN_LINES and size < MAX_SPAN_BYTES:
        if used == len(waiting):
            line = next(following, None)
            if line is None:
                return first
            waiting.append(line)
        data = waiting[used][1]
        if data is None:
            return first
        taken.append(data)
        size, used = size + len(data), used + 1
        is_open = _is_open(data, separator.encode(), True)
    record = b"".join(taken)
    # Any encoding does to count fields, and Latin-1 decodes everything.
    cells = None if is_open else cells_of(record.decode("latin-1"), separator)
    if cells is None or (width is not None and len(cells) != width):
        return first
    for _ in range(used):
        waiting.popleft()
    return record


def _is_open(line: bytes, separator: bytes, inside: bool) -> bool:
    """Whether a line, that begins `inside` a quoted field or not, ends inside one."""
    place = 0
    if b'"' not in line:
        return inside
    while True:
        if inside or line.startswith(b'"', place):
            match = _QUOTED.match(line, place if inside else place + 1)
            assert match is not None  # it matches nothing, too
            place = match.end()
            if place == len(line):
                return True
            inside = False
            place += 1
        place = line.find(separator, place)
        if place < 0:
            return False
        place += 1


def cells_of(record: str, separator: str) -> list[str] | None:
    """The fields of one record, None if it isn't strict CSV."""
    try:
        return next(csv.reader([record], delimiter=separator, strict=True), None)
    except csv.Error:
        return None
