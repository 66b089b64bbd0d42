"""Files that appear whole or not at all: written under private names, published together by rename."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pairloom.remote import Place, Remote

PRIVATE = ".part-"
"""What every unfinished file has in its name; whoever finds one without its process may delete it."""
_WORDS = 1 << 12


class Part:
    """One file being written; its size and SHA-256 are known when it is closed.

    What is to go behind a URL waits in a local file without a name, which is gone with the process, however that ends.
    """

    def __init__(self, final: Place) -> None:
        self.final = final
        self.private = _private(final) if isinstance(final, Path) else None
        self._file: IO[bytes] = _created(self.private) if self.private else tempfile.TemporaryFile("wb")  # noqa: SIM115
        self._sha256 = hashlib.sha256()
        self.size = 0
        self._abandoned = self._complete = False

    def write(self, data: Any) -> int:
        """Append bytes."""
        view = memoryview(data)
        if not self._abandoned:  # a Parquet writer that dies writes its footer, wherever it stands
            self._file.write(data)
            self._sha256.update(data)
            self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        """The place of the next byte."""
        return self.size

    def flush(self) -> None:
        """Hand what is buffered to the system."""
        if not self._abandoned:
            self._file.flush()

    def close(self) -> None:
        """Make the bytes durable: a file that a manifest names must survive a power cut."""
        if self._complete or self._abandoned:
            return
        self._file.flush()
        self._complete = True
        if self.private:
            os.fsync(self._file.fileno())
            self._file.close()

    def publish(self) -> None:
        """Give the closed file its final name; behind a URL it is there, whole, when all of it has arrived."""
        if isinstance(self.final, Path):
            assert self.private is not None
            self.private.replace(self.final)
        else:
            self.final.upload(f"/dev/fd/{self._file.fileno()}", self.size)
            self._file.close()

    def abandon(self) -> None:
        """Close without caring whether the last bytes arrive: the disk may be full."""
        self._abandoned = True
        with contextlib.suppress(OSError):
            self._file.close()
        if self.private:
            self.private.unlink(missing_ok=True)

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written."""
        return self._complete and not self._abandoned

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def digest(self) -> dict[str, Any]:
        """What a manifest says of the file."""
        return {"bytes": self.size, "sha256": self._sha256.hexdigest()}


class Parts:
    """The files of one shard below `root`. Leaving the context without `publish` deletes them all."""

    def __init__(self, root: Place) -> None:
        self._root = root
        self._parts: dict[str, Part] = {}
        self._links: dict[str, tuple[Place, dict[str, Any]]] = {}

    def open(self, name: str) -> Part:
        """A new file of that name below the root."""
        part = self._parts[name] = Part(self._root / name)
        return part

    def link(self, name: str, source: Place, digest: dict[str, Any]) -> None:
        """A file that is already there under another name, taken over as it is: a hard link, or a copy where none is possible."""
        final = self._root / name
        if isinstance(source, Path) and isinstance(final, Path):
            private = _private(final)
            private.parent.mkdir(parents=True, exist_ok=True)
            try:
                private.hardlink_to(source)
            except OSError:
                shutil.copyfile(source, private)
            self._links[name] = (private, digest)
        elif isinstance(source, Remote) and isinstance(final, Remote):
            self._links[name] = (source, digest)
        else:
            with source.open("rb") as file:
                shutil.copyfileobj(file, self.open(name), 1 << 20)

    def publish(self) -> dict[str, dict[str, Any]]:
        """Give every file its final name; gives sizes and digests by name."""
        for part in self._parts.values():
            part.close()
        for part in self._parts.values():
            part.publish()
        for name, (source, _) in self._links.items():
            _publish_link(source, self._root / name)
        for folder in {(self._root / name).parent for name in (*self._parts, *self._links)}:
            if isinstance(folder, Path):
                _sync(folder)
        digests = {name: part.digest() for name, part in self._parts.items()}
        digests |= {name: digest for name, (_, digest) in self._links.items()}
        self._parts, self._links = {}, {}
        return dict(sorted(digests.items()))

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        for part in self._parts.values():
            part.abandon()
        for private, _ in self._links.values():
            if isinstance(private, Path):
                private.unlink(missing_ok=True)


def _created(private: Path) -> IO[bytes]:
    private.parent.mkdir(parents=True, exist_ok=True)
    return private.open("wb")


def _publish_link(source: Place, final: Place) -> None:
    if isinstance(source, Remote):
        assert isinstance(final, Remote)
        source.copy(final)
        return
    assert isinstance(final, Path)
    if not (final.exists() and final.samefile(source)):
        source.replace(final)
    source.unlink(missing_ok=True)  # renaming a link onto another link to the same file does nothing


def _sync(folder: Path) -> None:
    """Make names durable, too: after a power cut a manifest must not be there without the files it names."""
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def _private(final: Path) -> Path:
    """A name of its own for each attempt: on a cluster two may be at the same shard, with one process number on two nodes."""
    return final.with_name(f"{final.name}{PRIVATE}{secrets.token_hex(6)}")


def write_whole(path: Place, data: bytes) -> None:
    """Write a small file so that it is there whole or not at all."""
    with Parts(path.parent) as parts:
        parts.open(path.name).write(data)
        parts.publish()


def write_json(path: Place, value: Any) -> None:
    """Write a JSON file, one key a line, so that it is there whole or not at all."""
    with Parts(path.parent) as parts:
        file = parts.open(path.name)
        for piece in json_pieces(value):
            file.write(piece)
        parts.publish()


def json_bytes(value: Any) -> bytes:
    """JSON with one key a line."""
    return b"".join(json_pieces(value))


def json_pieces(value: Any) -> Iterator[bytes]:
    """The same bytes in pieces: the plan of a large run is long, and `json.dumps` holds a string for each of its commas."""
    words = chain(json.JSONEncoder(ensure_ascii=False, indent=1).iterencode(value), "\n")
    while piece := "".join(islice(words, _WORDS)):
        # File names that aren't UTF-8 hold lone surrogates, which in JSON are written just as Python escapes them.
        yield piece.encode("utf-8", "backslashreplace")


def remove_leftovers(root: Place) -> None:
    """Delete what killed runs left half written below `root`; behind a URL nothing ever is."""
    if not isinstance(root, Path):
        return
    for folder in [root, root / "manifest", root / "rejects", root / "data", root / "runs", root / "runs" / "known"]:
        if not folder.is_dir():
            continue
        with os.scandir(folder) as entries:  # a glob would hold all of them
            left = [folder / entry.name for entry in entries if PRIVATE in entry.name]
        for path in left:
            path.unlink(missing_ok=True)
