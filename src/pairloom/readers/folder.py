"""A folder of images, each with its text beside it in a file of the same stem."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pairloom.batch import Row
from pairloom.errors import Reject
from pairloom.readers.ahead import in_order
from pairloom.readers.cells import (
    IMAGES,
    JSON_TEXTS,
    MAX_TEXT_BYTES,
    decode_text,
    extra_of,
    json_texts,
    make_row,
    parse_json,
    read_file,
    read_image,
    texts_of,
)
from pairloom.readers.listing import Entry, entries
from pairloom.readers.model import Index, ReadOptions, Shard
from pairloom.remote import is_url
from pairloom.remote.retry import Unreachable

TEXTS = ("txt", "caption", "json")
"""The suffixes of sidecars; when there are several, the first in this order gives the text."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """The files of one row; `repeated` is set for a second image of one stem."""

    key: str
    image: Entry | None
    texts: tuple[Entry, ...]
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class _Left:
    """A walk that has given the first `place` pairs; `options`, one object for all shards of a run, tell whose it is."""

    options: ReadOptions
    place: int
    walk: Iterator[_Pair]


_left: dict[str, _Left] = {}
"""By container; one at the most, as it holds the names of all files of a folder."""


def has_images(path: str) -> bool:
    """Whether there is any row in the folder, not just texts."""
    return any(pair.image is not None for pair in _walk(path))


def index(path: str, options: ReadOptions, found: Index) -> None:
    """Count the rows; only names, sizes and times are looked at."""

    def skipped(subfolder: str, error: OSError) -> None:
        found.fault(subfolder, found.rows, "unreadable", error.strerror or str(error))

    let_go()  # the folder may have changed since
    for pair in _walk(path, skipped):
        if found.full:
            return
        found.add(found.rows, pair.repeated)
        for file in (pair.image, *(() if pair.repeated else pair.texts)):
            if file is not None:
                _note(file, found)


def read(shard: Shard, options: ReadOptions) -> Iterator[Row]:
    """The rows of a shard. The folder is walked again, by each process once for all shards that it reads in order."""
    pairs = _pairs_of(shard, options)

    def row(pair: _Pair) -> Row:
        return _row(pair, shard.container, options)

    return in_order(pairs, row) if is_url(shard.container) else map(row, pairs)


def let_go() -> None:
    """Forget how far this process has walked: it has read all it was to read."""
    _left.clear()


def _pairs_of(shard: Shard, options: ReadOptions) -> Iterator[_Pair]:
    """The pairs of a shard; where the walk ends is kept for the next one."""
    place, walk = 0, _walk(shard.container)
    left = _left.pop(shard.container, None)
    if left is not None and left.options is options and left.place <= shard.first_row:
        place, walk = left.place, left.walk
    for number, pair in shard.pick(islice(walk, shard.first_row - place, None)):
        place = number + 1
        yield pair
    let_go()
    _left[shard.container] = _Left(options, place, walk)


def _note(file: Entry, found: Index) -> None:
    """Let an edit of the file be noticed later. One that isn't there, such as a link to nowhere, has nothing to note."""
    with suppress(OSError):
        status = file.status or Path(file.path).stat()
        found.size += status.st_size
        found.mtime_ns = max(found.mtime_ns, status.st_mtime_ns)


def _walk(root: str, skipped: Callable[[str, OSError], None] | None = None) -> Iterator[_Pair]:
    """All pairs: those of the folder by stem, then those of its subfolders, each sorted by the bytes of the names.

    A subfolder that can't be listed goes to `skipped`; the folder itself must be.
    """
    waiting = [(root, "")]
    while waiting:
        folder, prefix = waiting.pop()
        try:
            stems, folders = _list(folder)
        except OSError as error:
            if not prefix or isinstance(error, Unreachable):
                raise
            if skipped is not None:
                skipped(folder, error)
            continue
        for stem in sorted(stems, key=os.fsencode):
            yield from _pairs(prefix + stem, sorted(stems[stem], key=lambda file: os.fsencode(_suffix(file))))
        for name in sorted(folders, key=os.fsencode, reverse=True):
            waiting.append((os.path.join(folder, name), f"{prefix}{name}/"))  # noqa: PTH118


def _list(folder: str) -> tuple[dict[str, list[Entry]], list[str]]:
    """A folder's files by stem, and the names of its subfolders."""
    stems: dict[str, list[Entry]] = {}
    folders: list[str] = []
    for entry in entries(folder):
        if entry.kind == "folder":
            folders.append(entry.name)
            continue
        stem, _, suffix = entry.name.rpartition(".")
        # A link to a folder is never followed, so that loops of links end here.
        if stem and suffix.lower() in IMAGES + TEXTS and entry.kind != "link":
            stems.setdefault(stem, []).append(entry)
    return stems, folders


def _suffix(file: Entry) -> str:
    return file.name.rpartition(".")[2]


def _pairs(key: str, files: list[Entry]) -> Iterator[_Pair]:
    """The rows that the files of one stem make: one, or one for each image."""
    images = [file for file in files if _suffix(file).lower() in IMAGES]
    texts = [file for file in files if _suffix(file).lower() in TEXTS]
    texts.sort(key=lambda file: (TEXTS.index(_suffix(file).lower()), file.path))
    for number, image in enumerate(images or [None]):
        yield _Pair(key, image, tuple(texts), number > 0)


def _row(pair: _Pair, source: str, options: ReadOptions) -> Row:
    """Read the files of one pair."""
    reject: Reject | None = None
    fields: dict[str, Any] | Reject = {}
    sidecar = next((file for file in pair.texts if file.name.lower().endswith(".json")), None)
    if pair.repeated:
        reject = Reject("duplicate_key", "another image has the same stem")
    if sidecar is not None:
        try:
            fields = parse_json(_text(sidecar, options))
        except Reject as reason:
            fields = reason.bare()

    def image() -> bytes:
        if pair.image is None:
            raise Reject("missing_image", "a text without an image")
        return read_image(pair.image.path, _size(pair.image))

    def texts() -> tuple[str, ...]:
        if not pair.texts:
            raise Reject("missing_text", "an image without a text")
        if pair.texts[0] != sidecar:
            return texts_of(_text(pair.texts[0], options))
        if isinstance(fields, Reject):
            raise fields
        return json_texts(fields)

    extra = "{}" if isinstance(fields, Reject) else extra_of(fields, _used(fields))
    return make_row(pair.key, source, image, texts, extra, reject)


def _text(file: Entry, options: ReadOptions) -> str:
    return decode_text(read_file(file.path, MAX_TEXT_BYTES, "missing_text", _size(file)), options.encoding)


def _size(file: Entry) -> int | None:
    return file.status.st_size if file.status else None


def _used(fields: dict[str, Any]) -> tuple[str, ...]:
    """The field that gives the text, which is therefore nothing extra."""
    return tuple(name for name in JSON_TEXTS if fields.get(name) is not None)[:1]
