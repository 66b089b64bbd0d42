"""Files behind URLs: what stands for them, how they are read and written in spite of a network, and who may write."""

from __future__ import annotations

from pathlib import Path

from pairloom.remote.files import Remote
from pairloom.remote.names import is_url

__all__ = ["Place", "Remote", "is_url", "located"]

Place = Path | Remote
"""A file or folder, here or behind a URL."""


def located(name: str | Place) -> Place:
    """What a name stands for."""
    if isinstance(name, str) and name.startswith("file://"):
        return Path(name.removeprefix("file://"))
    return Remote(name.rstrip("/")) if isinstance(name, str) and is_url(name) else Path(name) if isinstance(name, str) else name
