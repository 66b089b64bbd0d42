"""Files that appear whole or not at all: written under private names, published together by rename."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

PRIVATE = ".part-"
"""What every unfinished file has in its name; whoever finds one without its process may delete it."""


class Part:
    """One file being written; its size and SHA-256 are known when it is closed."""

    def __init__(self, final: Path) -> None:
        self.final = final
        self.private = _private(final)
        self.private.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = self.private.open("wb")
        self._sha256 = hashlib.sha256()
        self.size = 0
        self._abandoned = False

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
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def abandon(self) -> None:
        """Close without caring whether the last bytes arrive: the disk may be full."""
        self._abandoned = True
        with contextlib.suppress(OSError):
            self._file.close()
        self.private.unlink(missing_ok=True)

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written."""
        return self._file.closed and not self._abandoned

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

    def __init__(self, root: Path) -> None:
        self._root = root
        self._parts: dict[str, Part] = {}
        self._links: dict[str, tuple[Path, dict[str, Any]]] = {}

    def open(self, name: str) -> Part:
        """A new file of that name below the root."""
        part = self._parts[name] = Part(self._root / name)
        return part

    def link(self, name: str, source: Path, digest: dict[str, Any]) -> None:
        """A file that is already there under another name, taken over as it is: a hard link, or a copy where none is possible."""
        private = _private(self._root / name)
        private.parent.mkdir(parents=True, exist_ok=True)
        try:
            private.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, private)
        self._links[name] = (private, digest)

    def publish(self) -> dict[str, dict[str, Any]]:
        """Give every file its final name; gives sizes and digests by name."""
        for part in self._parts.values():
            part.close()
        for part in self._parts.values():
            part.private.replace(part.final)
        for name, (private, _) in self._links.items():
            final = self._root / name
            if not (final.exists() and final.samefile(private)):
                private.replace(final)
            private.unlink(missing_ok=True)  # renaming a link onto another link to the same file does nothing
        for folder in {(self._root / name).parent for name in (*self._parts, *self._links)}:
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
            private.unlink(missing_ok=True)


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


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file so that it is there whole or not at all."""
    with Parts(path.parent) as parts:
        parts.open(path.name).write(data)
        parts.publish()


def write_json(path: Path, value: Any) -> None:
    """Write a small JSON file, one key a line, so that it is there whole or not at all."""
    # File names that aren't UTF-8 hold lone surrogates, which in JSON are written just as Python escapes them.
    write_whole(path, (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "backslashreplace"))


def remove_leftovers(root: Path) -> None:
    """Delete what killed runs left half written below `root`."""
    for folder in [root, root / "manifest", root / "rejects", root / "data", root / "runs", root / "runs" / "known"]:
        for path in folder.glob(f"*{PRIVATE}*") if folder.is_dir() else []:
            path.unlink(missing_ok=True)
