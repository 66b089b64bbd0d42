"""Files that an installed package reads, known by their suffix.

The package gives one function: from a file and what the caller said about it, `(path, options)`, to one function a pair, in
order, each of which reads its pair and gives a `Row`. Counting calls none of them. `Reject` raised by such a function costs its
pair, raised between them it ends the file; `UsageError` means that the file is none of its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import cast

from pairloom import plugins
from pairloom.batch import Row
from pairloom.errors import Reject, UsageError
from pairloom.readers.cells import make_row, texts_of
from pairloom.readers.columns import broken_row
from pairloom.readers.model import Index, ReadOptions, Shard

ReadPair = Callable[[], Row]


def index(kind: str, path: str, options: ReadOptions, found: Index) -> None:
    """Count the pairs. A key may stand in several: what it is, is known only when a pair is read."""
    try:
        for _ in _pairs(kind, path, options):
            if found.full:
                return
            found.add(found.rows)
    except Reject as reject:
        found.fault(path, found.rows, reject.code, reject.message)


def read(shard: Shard, options: ReadOptions) -> Iterator[Row]:
    """The rows of a shard, one in memory at a time."""
    for number, pair in shard.pick(islice(_whole(_pairs(shard.kind, shard.container, options)), shard.first_row, None)):
        yield _row(pair, number, shard.container, options)


def _pairs(kind: str, path: str, options: ReadOptions) -> Iterator[ReadPair]:
    reader = plugins.load("readers", kind)
    if reader is None:
        raise UsageError(f"nothing that is installed here reads .{kind}, such as {path}")
    return cast(Iterator[ReadPair], iter(reader(path, options)))


def _whole(pairs: Iterator[ReadPair]) -> Iterator[ReadPair]:
    try:
        yield from pairs
    except Reject:  # is in the plan as a fault
        return


def _row(pair: ReadPair, number: int, path: str, options: ReadOptions) -> Row:
    """A row as Pairloom's own readers give it, whatever the package has put into it."""
    try:
        row = pair()
    except Reject as reject:
        return broken_row(number, path, reject.bare())
    if row.url and options.fetch != "no":
        return row
    return make_row(row.source_key or str(number), path, partial(_image, row), lambda: texts_of(row.texts), row.extra, row.reject)


def _image(row: Row) -> bytes:
    if row.image is None:
        raise Reject("missing_image", "the pair has no image")
    return row.image
