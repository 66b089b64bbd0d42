"""What lies in a folder, here or behind a URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pairloom.remote import Remote, is_url
from pairloom.remote.files import Status

Kind = Literal["file", "folder", "link", "other"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a folder: a file, a folder, a link to a folder, or what is none of these.

    `status` is what a store says of a file when it lists it; here it is asked of each file that it is wanted of.
    """

    name: str
    path: str
    kind: Kind
    status: Status | None = None


def entries(folder: str) -> Iterator[Entry]:
    """All in a folder but what is hidden, in no order. Raises `OSError` if it can't be listed."""
    if is_url(folder):
        for name, status in Remote(folder.rstrip("/")).children():
            if not name.startswith("."):
                yield Entry(name, os.path.join(folder, name), "file" if status else "folder", status)  # noqa: PTH118
        return
    with os.scandir(folder) as found:
        for each in found:
            if not each.name.startswith("."):
                yield Entry(each.name, each.path, _kind(each))


def _kind(entry: os.DirEntry[str]) -> Kind:
    try:
        if entry.is_dir():
            return "folder" if entry.is_dir(follow_symlinks=False) else "link"
        return "file" if entry.is_file() else "other"
    except OSError:  # a link in a loop with others leads nowhere
        return "other"
