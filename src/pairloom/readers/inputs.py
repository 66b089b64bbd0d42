"""From what a user writes as input to the names of files and folders, and from such a name to an open file."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

from pairloom.errors import UsageError
from pairloom.readers.model import shown
from pairloom.remote import Remote, is_url, located

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"^(\d+)\.\.(\d+)$")
MAX_FILES = 100_000
"""A brace range may name no more than this: a slip of the keyboard shouldn't fill the memory."""


def open_container(name: str) -> IO[bytes]:
    """A container, a file or a URL, open for reading from any place."""
    return located(name).open("rb")


def identity(name: str) -> tuple[int, int]:
    """The size and the time of the last change of a container file, in nanoseconds; 0 where a file system has no times."""
    status = located(name).stat()
    return status.st_size, status.st_mtime_ns


def exists(name: str) -> bool:
    """Whether there is such a file or folder, as it is written."""
    if not name:
        return False
    if is_url(name):
        if "::" in name:  # a list of URLs, which fsspec would take for file systems inside each other
            return False
        try:
            return located(name).exists()
        except PermissionError:  # nobody may ask; reading it will tell
            return True
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
        names_missing = ", ".join(repr(shown(name)) for name in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        whole = "" if missing == [text] else f", named by {shown(text)!r}"
        what = "no file matches" if glob.has_magic(missing[0]) else "no such file or folder:"
        raise UsageError(f"{what} {names_missing}{more}{whole}")
    return names


def _glob(name: str) -> list[str]:
    """What matches a pattern, sorted by the bytes of the names; nothing if it is no pattern."""
    if not glob.has_magic(name) or "\0" in name:
        return []
    if is_url(name):
        return Remote(name).matches()
    return sorted(glob.glob(name, recursive=True), key=os.fsencode)  # noqa: PTH207 - pathlib would change the names


def _braces(part: str, text: str) -> list[str]:
    """All that `a{00..02}b{x,y}` stands for, the last braces turning fastest."""
    names = list(islice(_each_brace(part), MAX_FILES + 1))
    if len(names) > MAX_FILES:
        raise UsageError(f"{shown(text)!r} names more than {MAX_FILES} files")
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
