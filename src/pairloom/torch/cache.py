"""Copies of remote files on the local disk, no more of them than a limit allows."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pairloom.readers.inputs import open_container
from pairloom.remote import is_url
from pairloom.writers.parts import PRIVATE


@dataclass(frozen=True)
class Cache:
    """A folder of copies that all processes of a machine share; beyond `limit` bytes, those not used for longest are deleted."""

    folder: Path
    limit: int = 64 << 30

    def open(self, name: str, digest: str = "") -> BinaryIO:
        """A file, or the copy of a URL, which is fetched first where need be. Raises `OSError`, as opening does.

        `digest`, where it is known, keeps a copy from standing for a file that has changed since.
        """
        if not is_url(name):
            return Path(name).open("rb")
        path = self.folder / (hashlib.sha256(f"{name}\n{digest}".encode()).hexdigest()[:32] + Path(name).suffix)
        with self._locked():  # another process may be fetching the same, or making room
            if not path.exists():
                self._fetch(name, path)
            os.utime(path)
            return path.open("rb")

    def _fetch(self, name: str, path: Path) -> None:
        for left in self.folder.glob(f"*{PRIVATE}*"):  # by one who died or failed, since only one fetches at a time
            left.unlink(missing_ok=True)
        part = path.with_name(f"{path.name}{PRIVATE}{os.getpid()}")
        with open_container(name) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        self._make_room(part.stat().st_size)
        part.replace(path)

    def _make_room(self, size: int) -> None:
        files = [(one.stat(), one) for one in self.folder.iterdir() if PRIVATE not in one.name and one.name != ".lock"]
        for status, one in sorted(files, key=lambda file: file[0].st_mtime_ns):
            if size + sum(known.st_size for known, _ in files) <= self.limit:
                return
            one.unlink(missing_ok=True)  # whoever has it open can go on reading
            files.remove((status, one))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
