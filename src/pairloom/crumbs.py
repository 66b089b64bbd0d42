"""Where an attempt at a shard stands, for whoever tries that shard again should this one die; and what is not to be read again.

Both lie in `runs/` of the output, where no digest covers them, and serve every engine.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pairloom.batch import Row
from pairloom.errors import Reject
from pairloom.writers.parts import write_json

ATTEMPTS, KNOWN = "attempts", "known"
_mine: set[Path] = set()


class Crumb:
    """A file that holds how many rows of a shard are done, and is locked for as long as its process lives."""

    def __init__(self, runs: Path, shard: int) -> None:
        self._path = runs / ATTEMPTS / f"{shard:05d}-{secrets.token_hex(6)}"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        with suppress(OSError):  # where nothing can be locked, it is found by nobody
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _mine.add(self._path)

    def write(self, rows: int) -> None:
        """Say that so many rows are done; one small write, not synced, which a process that dies leaves all the same."""
        os.pwrite(self._file, b"%012d" % rows, 0)

    def remove(self) -> None:
        """The attempt has ended, well or not, but by itself."""
        _mine.discard(self._path)
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def pick_up() -> None:
    """This process will end, but not for what it is at."""
    for path in list(_mine):
        path.unlink(missing_ok=True)


@contextmanager
def dead(runs: Path, shard: int) -> Iterator[list[int]]:
    """How many rows each attempt at a shard had done whose process died; they are forgotten when this ends well.

    An attempt that is still under way, on another node maybe, holds its lock and doesn't count.
    """
    files: dict[Path, int] = {}
    found = []
    try:
        for path in sorted((runs / ATTEMPTS).glob(f"{shard:05d}-*")):
            with suppress(OSError, ValueError):
                files[path] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                fcntl.flock(files[path], fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append((path, int(os.read(files[path], 12) or b"0")))
        yield [rows for _, rows in found]
        for path, _ in found:
            path.unlink(missing_ok=True)
    finally:
        for file in files.values():
            os.close(file)


def forget(runs: Path) -> None:
    """All shards are done."""
    shutil.rmtree(runs / ATTEMPTS, ignore_errors=True)


def read_known(runs: Path, shard: int) -> dict[int, Row]:
    """The rows of a shard that are not to be read again, by their number in the container, each rejected: they kill, or are
    tried again in another shard."""
    try:
        rows = json.loads(_known_file(runs, shard).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return {
        row["number"]: Row(
            row["source_key"], row["source"], None, tuple(row["texts"]), reject=Reject(row["code"], row["message"])
        )
        for row in rows
    }


def write_known(runs: Path, shard: int, known: Mapping[int, Row]) -> None:
    """Remember them, for resuming and repairing."""
    rows = [
        {"number": number, "source_key": row.source_key, "source": row.source, "texts": row.texts,
         "code": row.reject.code, "message": row.reject.message}
        for number, row in sorted(known.items())
        if row.reject is not None
    ]  # fmt: skip
    write_json(_known_file(runs, shard), rows)


def _known_file(runs: Path, shard: int) -> Path:
    return runs / KNOWN / f"{shard:05d}.json"
