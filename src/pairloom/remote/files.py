"""A file or folder behind a URL, with what is used of `pathlib.Path`, so that the same code reads both."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import IO, Any

from pairloom.errors import UsageError
from pairloom.remote.names import secretless
from pairloom.remote.reading import BUFFER, Ranges
from pairloom.remote.retry import patiently

SECONDS, SLOWEST = 30.0, 1 << 18
"""A request may take so long, and a second more for each so many bytes that it sends."""
_AT_ONCE = 128
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub", "http": "aiohttp", "https": "aiohttp"}


@dataclass(frozen=True, slots=True)
class Status:
    """Size in bytes and the time of the last change in nanoseconds, 0 where there is none."""

    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True, slots=True, order=True)
class Remote:
    """A file or folder by its URL. Credentials are found as fsspec finds them; none is ever part of it.

    All that asks a server raises `OSError`: `FileNotFoundError`, `PermissionError`, or `Unreachable` after many tries.
    """

    url: str

    def __str__(self) -> str:
        return secretless(self.url)

    def __truediv__(self, name: str) -> Remote:
        return Remote(f"{self.url}/{name.rstrip('/')}") if name else self

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The last suffix of the name, with its dot."""
        stem, dot, suffix = self.name.rpartition(".")
        return dot + suffix if stem else ""

    @property
    def parent(self) -> Remote:
        """What it lies in."""
        return Remote(self.url.rpartition("/")[0])

    def resolve(self) -> Remote:
        """Itself: a URL is never relative."""
        return self

    def relative_to(self, other: Remote) -> str:
        """The name below another place."""
        return self.url.removeprefix(f"{other.url}/")

    def matches(self) -> list[str]:
        """The URLs that it stands for as a pattern, sorted."""
        return sorted(_system(self.url)[0].unstrip_protocol(each) for each in self._ask("glob"))

    def stat(self) -> Status:
        """Size and time of a file."""
        about = self._ask("info")
        if about["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, f"{self} is a folder")
        if about.get("size") is None:
            raise OSError(errno.EIO, f"{self}: the server does not tell its size")
        return Status(int(about["size"]), _changed(about))

    def exists(self) -> bool:
        """Whether there is a file or folder."""
        try:
            self._ask("info")
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there are files below it."""
        try:
            return bool(self._ask("info")["type"] == "directory")
        except FileNotFoundError:
            return False

    def children(self) -> list[tuple[str, Status | None]]:
        """The names of what lies directly in it, with size and time of a file, None for a folder; in no order."""
        system, path = _system(self.url)
        found = patiently(lambda: system.ls(path, detail=True, **_within(system, 20 * SECONDS)), self.url)
        there = []
        for about in found:
            whole = about["name"].rstrip("/")
            if whole.strip("/") != path.strip("/"):  # some stores have an empty file that stands for the folder
                folder = about["type"] == "directory"
                there.append((whole.rpartition("/")[2], None if folder else Status(int(about["size"]), _changed(about))))
        return there

    def open(self, mode: str = "rb", size: int | None = None) -> IO[bytes]:
        """Open for reading, from any place. What is read comes whole and in order, or raises. `size` spares a request."""
        assert mode == "rb"
        return io.BufferedReader(Ranges(self.stat().st_size if size is None else size, self._range), BUFFER)

    def read_bytes(self) -> bytes:
        """All of it, for small files."""
        data: bytes = self._ask("cat_file")
        return data

    def read_text(self, encoding: str) -> str:
        """All of it as text."""
        return self.read_bytes().decode(encoding)

    def read_all(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """Small files below it, many at a time; None for one that isn't there."""
        for first in range(0, len(names), _AT_ONCE):
            some = [f"{self.url}/{name}" for name in names[first : first + _AT_ONCE]]
            system, paths = _system(some[0])[0], [_system(url)[1] for url in some]
            found = patiently(lambda: system.cat(paths, on_error="return"), self.url)  # noqa: B023 - called at once
            for path, url in zip(paths, some, strict=True):
                data = found.get(path)
                yield data if isinstance(data, bytes) else Remote(url)._read_if_there()

    def sizes(self) -> dict[str, int]:
        """The size of every file below it, by the name from here on, sorted."""
        base = _system(self.url)[1].rstrip("/") + "/"
        found = self._ask("find", detail=True)
        return {path.removeprefix(base): int(about["size"]) for path, about in sorted(found.items())}

    def upload(self, path: str, size: int) -> None:
        """Put a local file here: it is there whole when the last byte has arrived, and not before."""
        system, there = _system(self.url)

        def put() -> None:
            system.put_file(path, there, **_within(system, SECONDS + size / SLOWEST))
            if self._once("info")["size"] != size:
                raise OSError(errno.EIO, "the upload is not whole")

        patiently(put, self.url)

    def put_if_absent(self, data: bytes) -> bool:
        """Write a small file unless there is one; false if there is, with other content.

        The store decides, in one request, where it can: S3, Google Cloud Storage, and `memory:`.
        """
        try:
            self._ask("pipe_file", data, mode="create")
        except FileExistsError:  # perhaps by our own request whose answer was lost
            return self._read_if_there() == data
        return True

    def write_bytes(self, data: bytes) -> None:
        """Write a small file, or write it anew."""
        self._ask("pipe_file", data)

    def copy(self, target: Remote) -> None:
        """Copy a file within the store."""
        system, there = _system(target.url)
        patiently(lambda: system.cp_file(_system(self.url)[1], there, **_within(system, 20 * SECONDS)), self.url)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete a file."""
        try:
            self._ask("rm_file")
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove(self, names: Sequence[str]) -> None:
        """Delete files below it, many at a time."""
        for first in range(0, len(names), _AT_ONCE):
            urls = [f"{self.url}/{name}" for name in names[first : first + _AT_ONCE]]
            system, paths = _system(urls[0])[0], [_system(url)[1] for url in urls]
            patiently(lambda: system.rm(paths), self.url)  # noqa: B023 - called at once

    def _read_if_there(self) -> bytes | None:
        try:
            return self.read_bytes()
        except FileNotFoundError:
            return None

    def _range(self, start: int, end: int) -> bytes:
        def fetch() -> bytes:
            system, path = _system(self.url)
            if self.url.startswith(("http://", "https://")):
                from fsspec.asyn import sync

                data: bytes = sync(system.loop, _http_range, system, path, start, end, timeout=SECONDS)
            else:
                data = self._once("cat_file", start=start, end=end)
            if len(data) != end - start:
                raise OSError(errno.EIO, f"{len(data)} bytes came instead of {end - start}")
            return data

        return patiently(fetch, self.url)

    def _ask(self, method: str, *args: Any, **options: Any) -> Any:
        return patiently(lambda: self._once(method, *args, **options), self.url)

    def _once(self, method: str, *args: Any, **options: Any) -> Any:
        system, path = _system(self.url)
        return getattr(system, method)(path, *args, **options, **_within(system, SECONDS))


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there. It remembers no listings: others write, too."""
    import fsspec  # late, as most runs know no URLs

    try:
        system, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError:
        scheme = url.partition(":")[0]
        package = _PACKAGES.get(scheme)
        hint = f"pip install {package}" if package else "install the package of fsspec for it"
        raise UsageError(f"{scheme}:// needs a package that is not installed: {hint}") from None
    except ValueError as fault:  # a protocol that nobody knows
        raise UsageError(f"{secretless(url)} can't be opened: {secretless(str(fault))}") from None
    return system, path


def _within(system: Any, seconds: float) -> dict[str, float]:
    """The limit of a request, where the file system heeds one."""
    return {"timeout": seconds} if system.async_impl else {}


def _changed(about: dict[str, Any]) -> int:
    names = ("LastModified", "mtime", "last_modified", "created", "Last-Modified")
    changed: Any = next((about[name] for name in names if about.get(name)), 0.0)
    if isinstance(changed, str):
        try:
            changed = parsedate_to_datetime(changed)
        except ValueError:
            return 0
    return int((changed.timestamp() if isinstance(changed, datetime) else float(changed)) * 1e9)


async def _http_range(system: Any, url: str, start: int, end: int) -> bytes:
    """Some bytes of a file; fsspec's own `cat_file` would take a whole file for the range that was asked for."""
    session = await system.set_session()
    headers = {**system.kwargs.get("headers", {}), "Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
    async with session.get(system.encode_url(url), **{**system.kwargs, "headers": headers}) as answer:
        answer.raise_for_status()
        if answer.status != 206:
            raise OSError(errno.ENOSYS, "the server sends no parts of files (no range requests); download it first")
        data: bytes = await answer.read()
        return data
