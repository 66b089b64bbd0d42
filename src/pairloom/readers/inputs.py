"""From what a user writes as input to the names of files and folders, and from such a name to an open file."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import fsspec

from pairloom.errors import UsageError
from pairloom.readers.model import printable

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"^(\d+)\.\.(\d+)$")
MAX_FILES = 100_000
"""A brace range may name no more than this: a slip of the keyboard shouldn't fill the memory."""


def is_url(name: str) -> bool:
    """Whether a name is for fsspec."""
    return _URL.match(name) is not None


def open_container(name: str) -> IO[bytes]:
    """A container, a file or a URL, open for reading from any place."""
    if is_url(name):
        return cast(IO[bytes], fsspec.open(name, "rb").open())
    return Path(name).open("rb")


def _system(name: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there."""
    try:
        system, path = fsspec.core.url_to_fs(name)
    except (ImportError, ValueError) as error:  # a package to install, or a protocol that nobody knows
        raise UsageError(f"{printable(name)} can't be opened: {error}") from None
    return system, path


def identity(name: str) -> tuple[int, int]:
    """The size and the time of the last change of a container file, in nanoseconds; 0 where a file system has no times."""
    if not is_url(name):
        status = Path(name).stat()
        return status.st_size, status.st_mtime_ns
    system, path = _system(name)
    try:
        changed = system.modified(path).timestamp()
    except NotImplementedError:
        changed = 0
    return int(system.size(path) or 0), int(changed * 1e9)


def exists(name: str) -> bool:
    """Whether there is such a file or folder, as it is written."""
    if not name:
        return False
    if is_url(name):
        if "::" in name:  # a list of URLs, which fsspec would take for file systems inside each other
            return False
        system, path = _system(name)
        return bool(system.exists(path))
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # a name too long, or with a NUL character
        return False


def expand(inputs: str | Sequence[str]) -> list[str]:
    """All names in order. What exists as written is taken so; else `::` separates, braces and globs are expanded."""
    names: list[str] = []
    for each in [inputs] if isinstance(inputs, str) else inputs:
        names += [each] if exists(each) else _expand(each)
    if not names:
        raise UsageError("no input is given")
    return names


def _expand(text: str) -> list[str]:
    """One input that doesn't exist as written."""
    names: list[str] = []
    missing: list[str] = []
    for part in text.split("::"):
        for name in [part] if exists(part) else _braces(part, text):
            found = [name] if exists(name) else _glob(name)
            names += found
            missing += [] if found else [name]
    if missing:
        shown = ", ".join(repr(name) for name in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        whole = "" if missing == [text] else f", named by {text!r}"
        what = "no file matches" if glob.has_magic(missing[0]) else "no such file or folder:"
        raise UsageError(f"{what} {shown}{more}{whole}")
    return names


def _glob(name: str) -> list[str]:
    """What matches a pattern, sorted by the bytes of the names; nothing if it is no pattern."""
    if not glob.has_magic(name) or "\0" in name:
        return []
    if is_url(name):
        system, path = _system(name)
        return sorted(system.unstrip_protocol(each) for each in system.glob(path))
    return sorted(glob.glob(name, recursive=True), key=os.fsencode)  # noqa: PTH207 - pathlib would change the names


def _braces(part: str, text: str) -> list[str]:
    """All that `a{00..02}b{x,y}` stands for, the last braces turning fastest."""
    names = list(islice(_each_brace(part), MAX_FILES + 1))
    if len(names) > MAX_FILES:
        raise UsageError(f"{text!r} names more than {MAX_FILES} files")
    return names


def _each_brace(part: str) -> Iterator[str]:
    match = _BRACES.search(part)
    if match is None:
        yield part
        return
    for choice in _choices(match[1]):
        for rest in _each_brace(part[match.end() :]):
            yield part[: match.start()] + choice + rest


def _choices(inside: str) -> Iterator[str]:
    """The choices between two braces: a range of numbers (as wide as its longer end, if one starts with 0), or a list."""
    ends = _RANGE.match(inside)
    if ends is None:
        # Braces without a comma are letters like any other.
        yield from inside.split(",") if "," in inside else ["{" + inside + "}"]
        return
    padded = any(end.startswith("0") and len(end) > 1 for end in ends.groups())
    width = max(map(len, ends.groups())) if padded else 0
    first, last = int(ends[1]), int(ends[2])
    for number in range(first, last + 1) if first <= last else range(first, last - 1, -1):
        yield str(number).zfill(width)
