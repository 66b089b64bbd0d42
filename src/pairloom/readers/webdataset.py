"""WebDataset: tar files whose adjacent members of one stem make a sample."""

from __future__ import annotations

import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby, islice
from typing import IO, Any, Self

from pairloom.batch import Row
from pairloom.errors import Reject
from pairloom.readers.cells import (
    IMAGES,
    JSON_TEXTS,
    MAX_IMAGE_BYTES,
    MAX_TEXT_BYTES,
    check_size,
    decode_text,
    extra_of,
    json_texts,
    make_row,
    parse_json,
    texts_of,
)
from pairloom.readers.inputs import open_container
from pairloom.readers.model import Index, ReadOptions, Shard

TEXTS = ("txt", "caption", "text")
_NAME = re.compile(r"^((?:.*/|)[^./]+)[.]([^/]*)$", re.DOTALL)
# Members about the archive and not of it, which the webdataset package skips as well.
_META = re.compile(r"__[^/]*__($|/)")
# What tarfile lets through, beyond its own errors, when a header holds nonsense.
_BAD_HEADER = (tarfile.TarError, ValueError, OverflowError, EOFError, IndexError, KeyError, RecursionError)
_OCTAL = re.compile(rb"[0-7]{11}[ \0]")
_sum = lru_cache(maxsize=16)(sum)  # the second half is the same in most headers of an archive


class TarHeader(tarfile.TarInfo):
    """A header, read ten times as fast if it is that of a plain file as nearly all are; tarfile does the rest."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        file = tar.fileobj
        assert file is not None
        start = file.tell()
        info = None if tar.pax_headers else cls._plain(file.read(tarfile.BLOCKSIZE), tar.encoding, tar.errors)
        if info is None:
            file.seek(start)
            return super().fromtarfile(tar)
        info.offset, info.offset_data = start, start + tarfile.BLOCKSIZE
        tar.offset = info.offset_data + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return info

    @classmethod
    def _plain(cls, buf: bytes, encoding: str | None, errors: str) -> Self | None:
        # A prefix at 345 would belong to the name.
        if len(buf) != tarfile.BLOCKSIZE or buf[156:157] != tarfile.REGTYPE or buf[345] or not _OCTAL.fullmatch(buf, 124, 136):
            return None
        if b"%06o\0" % (sum(buf[:148]) + 8 * ord(" ") + _sum(buf[156:])) != buf[148:155]:
            return None
        info = cls(buf[:100].partition(b"\0")[0].decode(encoding or "utf-8", errors))
        info.size = int(buf[124:135], 8)
        return info


@dataclass(frozen=True, slots=True)
class _Member:
    """A regular member that belongs to a sample."""

    key: str
    suffix: str
    info: tarfile.TarInfo


@dataclass(slots=True)
class _Cut:
    """Where the members end, and why when it isn't the end of the archive; `key` is that of a member that was cut."""

    offset: int = 0
    code: str | None = None
    message: str = ""
    key: str | None = None
    keys: set[str] = field(default_factory=set)


def index(path: str, options: ReadOptions, found: Index) -> None:
    """Find the samples by their headers; the data between them is skipped."""
    cut = _Cut()
    last: tuple[str, int] | None = None

    def add(sample: tuple[str, int]) -> None:
        found.add(sample[1], sample[0] in cut.keys)
        cut.keys.add(sample[0])

    with open_container(path) as file:
        # A sample is known to be whole only when the next one begins.
        for key, members in groupby(_members(file, cut), key=lambda member: member.key):
            if last is not None:
                add(last)
            if found.full:
                return
            last = key, next(members).info.offset
    if last is not None and (cut.key is None or cut.key != last[0]):
        add(last)
    if cut.code is not None:
        found.fault(path, cut.offset, cut.code, cut.message)


def suffixes(path: str, most: int = 1000) -> Counter[str]:
    """How many of the first members have which suffix."""
    with open_container(path) as file:
        return Counter(member.suffix for member in islice(_members(file, _Cut()), most))


def read(shard: Shard, options: ReadOptions) -> Iterator[Row]:
    """The rows of a shard, one sample in memory at a time."""
    with open_container(shard.container) as file:
        yield from rows(file, shard, options)


def rows(file: IO[bytes], shard: Shard, options: ReadOptions) -> Iterator[Row]:
    """The rows of a shard whose container, or a copy of it, is open already."""
    file.seek(shard.offset)
    for number, (key, members) in shard.pick(groupby(_members(file, _Cut()), key=lambda member: member.key)):
        # The members are listed before their data is read, which moves the file's position; tarfile seeks back.
        yield _row(key, list(members), file, shard, number in shard.repeated, options)


def _members(file: IO[bytes], cut: _Cut) -> Iterator[_Member]:
    """The members from the file's position on that have a stem and a suffix; `cut` tells how it ended."""
    start = cut.offset = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(start)
    try:
        tar = tarfile.open(fileobj=file, mode="r:", tarinfo=TarHeader)  # noqa: SIM115 - it doesn't own the file
    except _BAD_HEADER as error:
        cut.code, cut.message = "cut_tar" if size - start < tarfile.BLOCKSIZE else "corrupt_tar", str(error)
        return
    while True:
        try:
            info = tar.next()
        except _BAD_HEADER as error:
            # A long name is in blocks of its own before the header, which `offset` passes only with the header.
            cut.code, cut.message = "cut_tar" if max(tar.offset, file.tell()) >= size else "corrupt_tar", str(error)
            return
        vars(tar)["members"] = []  # tarfile would keep every header of the archive
        if info is None:
            break
        match = _NAME.match(info.name)
        if info.size < 0 or tar.offset <= info.offset:  # would go backwards, for ever
            cut.code, cut.message = "corrupt_tar", "a member of negative size"
            return
        plain = info.isreg() and not info.issparse()
        if plain and info.offset_data + info.size > size:
            cut.code, cut.message = "cut_tar", f"the file ends within the member {info.name}"
            cut.key = match[1] if match else None
            return
        cut.offset = tar.offset
        if plain and match and not _META.match(info.name):
            yield _Member(match[1], match[2].lower(), info)
    # tarfile takes a header that makes no sense for the end of the archive. The real end is a block of zeros.
    file.seek(cut.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        cut.code, cut.message = "cut_tar", "the file ends without an end-of-archive block"
    elif block.strip(b"\0"):
        cut.code, cut.message = "corrupt_tar", "not a member header"
    elif any(more.strip(b"\0") for more in iter(lambda: file.read(1 << 20), b"")):
        cut.code, cut.message = "corrupt_tar", "something follows the end-of-archive block, such as another archive"


def _row(key: str, members: list[_Member], file: IO[bytes], shard: Shard, repeated: bool, options: ReadOptions) -> Row:
    """Read the members of one sample that count."""
    suffixes: dict[str, tarfile.TarInfo] = {member.suffix: member.info for member in reversed(members)}
    reject: Reject | None = None
    if key.startswith("/") or ".." in key.split("/"):
        # Names are never used as paths here, but someone downstream may.
        reject = Reject("unsafe_name", "the member's name is absolute or goes up")
    elif len(suffixes) < len(members):
        reject = Reject("duplicate_member", "two members of the sample have the same suffix")
    elif repeated:
        reject = Reject("duplicate_key", "an earlier sample has the same key")

    def load(suffix: str, limit: int) -> bytes:
        info = suffixes[suffix]
        check_size(info.size, limit)
        file.seek(info.offset_data)
        return file.read(info.size)

    def text(suffix: str) -> str:
        return decode_text(load(suffix, MAX_TEXT_BYTES), options.encoding)

    def image() -> bytes:
        images = sorted(suffix for suffix in suffixes if suffix.rpartition(".")[2] in IMAGES)
        if not images:
            raise Reject("missing_image", "a sample without an image")
        return load(images[0], MAX_IMAGE_BYTES)

    fields: dict[str, Any] | Reject = Reject("missing_text", "a sample without a text")
    if "json" in suffixes:
        try:
            fields = parse_json(text("json"))
        except Reject as reason:
            fields = reason.bare()

    def texts() -> tuple[str, ...]:
        named = next((suffix for suffix in TEXTS if suffix in suffixes), None)
        if named is not None:
            return texts_of(text(named))
        if isinstance(fields, Reject):
            raise fields
        return json_texts(fields)

    used = () if isinstance(fields, Reject) else tuple(name for name in JSON_TEXTS if fields.get(name) is not None)[:1]
    extra = "{}" if isinstance(fields, Reject) else extra_of(fields, used)
    return make_row(key, shard.container, image, texts, extra, reject)
