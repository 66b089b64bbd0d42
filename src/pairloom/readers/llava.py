"""LLaVA's JSON: one array of records, each with an image and a conversation about it, read record by record."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import IO, Any

from pairloom.batch import Row
from pairloom.errors import Reject, UsageError
from pairloom.readers.cells import extra_of, image_cell, make_row, parse_json, path_in, strict_text, texts_of
from pairloom.readers.columns import broken_row, folder_of
from pairloom.readers.inputs import exists, open_container
from pairloom.readers.lines import MAX_LINE_BYTES
from pairloom.readers.model import Index, ReadOptions, Shard, shown

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+("?)|[{}\[\]]', re.DOTALL)
_CHUNK, _HEAD = 1 << 20, 4096
_TURNS = {"conversations": ("from", "value", ("gpt", "assistant")), "messages": ("role", "content", ("assistant",))}
_MARK = re.compile(r"\s*<image>\s*")

Record = tuple[int, bytes]
"""The offset and the bytes of a record."""


class _CutArray(Exception):
    """The array ends where it should not, at this offset."""

    def __init__(self, offset: int, message: str) -> None:
        self.offset, self.message = offset, message
        super().__init__(offset, message)


def index(path: str, options: ReadOptions, found: Index) -> None:
    """Count the records by their brackets; they are not looked into. An id may stand in several records, as in
    LLaVA's own data, where an image has several conversations."""
    with open_container(path) as file:
        start = _start(file, path)
        try:
            for offset, _ in _records(file, start):
                if found.full:
                    return
                found.add(offset)
        except _CutArray as cut:
            found.fault(path, cut.offset, "cut_json", cut.message)


def read(shard: Shard, options: ReadOptions) -> Iterator[Row]:
    """The rows of a shard, one in memory at a time."""
    with open_container(shard.container) as file:
        for number, data in shard.pick(_whole(file, shard.offset)):
            yield _row(data, number, shard, options)


def _whole(file: IO[bytes], offset: int) -> Iterator[bytes]:
    try:
        yield from (data for _, data in _records(file, offset))
    except _CutArray:  # is in the plan as a fault
        return


def _start(file: IO[bytes], path: str) -> int:
    """Where the first record begins."""
    head = file.read(_HEAD).removeprefix(b"\xef\xbb\xbf")
    skipped = file.tell() - len(head)
    array = re.match(rb"\s*\[\s*(?=[{\]])", head)
    if array is None:
        raise UsageError(f"{shown(path)} is no array of records as LLaVA has it; JSON lines are read from .jsonl")
    return skipped + array.end()


def _records(file: IO[bytes], offset: int) -> Iterator[Record]:
    """The records from `offset` on, which must be where one begins or the array ends."""
    file.seek(offset)
    data, start, place, depth = b"", 0, 0, 0  # in memory from `offset` on; where the record starts, what was looked at
    while True:
        match = _TOKEN.search(data, place)
        if match is None or (match[0][:1] == b'"' and not match[1]):
            place = (len(data) if match is None else match.start()) - start
            data, offset, start = data[start:], offset + start, 0
            more = file.read(_CHUNK)
            if not more or len(data) > MAX_LINE_BYTES:
                raise _CutArray(offset, "the array has no end" if not more else f"a record of more than {MAX_LINE_BYTES} bytes")
            data += more
            continue
        place, token = match.end(), match[0]
        if len(token) == 1:
            depth += 1 if token in b"{[" else -1
        if depth < 0:  # the end of the array
            return
        if depth == 0:  # a string or list where a record should be is a broken row
            begin = data.index(token[:1] if token[:1] == b'"' else b"{" if token == b"}" else b"[", start)
            yield offset + begin, data[begin:place]
            start = place


def _row(data: bytes, number: int, shard: Shard, options: ReadOptions) -> Row:
    try:
        record = parse_json(strict_text(data, options.encoding), "broken_row")
    except Reject as reject:
        return broken_row(number, shard.container, reject.bare())

    def image() -> bytes:
        named = record.get("image", record.get("images"))
        if isinstance(named, list) and len(named) > 1:
            raise Reject("mistyped_cell", f"{len(named)} images; a pair has one")
        name = named[0] if isinstance(named, list) and named else named or None
        return image_cell(name, _folder(shard.container, name))

    key = str(record.get("id") or record.get("image") or number)
    return make_row(key, shard.container, image, lambda: _texts(record), extra_of(record, ("id", "image", "images")))


def _folder(table: str, name: object) -> str:
    """The folder that an image's path is relative to: that of the JSON, or `images` in it."""
    folder = folder_of(table)
    inner = os.path.join(folder, "images")  # noqa: PTH118 - pathlib would change odd names
    inside = isinstance(name, str) and not exists(path_in(folder, name)) and exists(path_in(inner, name))
    return inner if inside else folder


def _texts(record: Mapping[str, Any]) -> tuple[str, ...]:
    """What the model answers, all turns as one text; the questions stay in `extra`."""
    for name, (role, said, models) in _TURNS.items():
        turns = record.get(name)
        if isinstance(turns, list):
            answers = [_answer(turn.get(said)) for turn in turns if isinstance(turn, dict) and turn.get(role) in models]
            return texts_of("\n".join(answers) if answers else None)
    raise Reject("missing_text", f"the record has none of {', '.join(_TURNS)}")


def _answer(value: object) -> str:
    if not isinstance(value, str):
        raise Reject("mistyped_cell", f"an answer is of type {type(value).__name__}")
    return _MARK.sub(" ", value).strip()
