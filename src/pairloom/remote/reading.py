"""A file behind a URL, read from any place in ranges, each of which is asked for until it is whole."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

BUFFER = 4 << 20


class Ranges(io.RawIOBase):
    """The bytes of a file of `size` bytes that `fetch(start, end)` gives."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size, self._fetch, self._place = size, fetch, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if place < 0:
            raise OSError(22, "a place before the start")
        self._place = place
        return place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        end = min(self._size, self._place + len(buffer))
        if end <= self._place:
            return 0
        data = self._fetch(self._place, end)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
