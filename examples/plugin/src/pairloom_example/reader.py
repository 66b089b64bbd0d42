"""A reader: a function that gives, for each pair of a file in order, a function that reads it. Counting calls none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from zipfile import BadZipFile, ZipFile

from pairloom import ReadOptions, Reject, Row

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MOST = 256 << 20  # a member that claims more would fill the memory


def read_zip(path: str, options: ReadOptions) -> Iterator[Callable[[], Row]]:
    """Every image of a `.zip` with the `.txt` of its name, sorted by name."""
    try:
        archive = ZipFile(path)
    except BadZipFile as fault:
        raise Reject("broken_zip", str(fault)) from None  # between pairs: the rest of the file can't be read
    with archive:
        for name in sorted(archive.namelist()):
            if PurePosixPath(name).suffix.lower() in SUFFIXES:
                yield partial(_pair, archive, name, options.encoding)


def _pair(archive: ZipFile, name: str, encoding: str) -> Row:
    text = str(PurePosixPath(name).with_suffix(".txt"))
    try:
        texts = (_member(archive, text).decode(encoding),) if text in archive.namelist() else ()
        return Row(name, archive.filename or "", _member(archive, name), texts)
    except (BadZipFile, OSError, UnicodeError) as fault:
        raise Reject("broken_zip", f"{name}: {fault}") from None  # inside a pair: it is rejected, the others go on


def _member(archive: ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MOST:
        raise Reject("too_many_bytes", f"{name} has {archive.getinfo(name).file_size} bytes, at most {MOST} are read")
    return archive.read(name)
