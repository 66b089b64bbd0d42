"""One line of what `pairloom doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]
"""A note is something that only some need, or that costs time; a problem keeps Pairloom from doing its work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and, where that is not all well, the line to type."""

    what: str
    level: Level
    said: str
    fix: str = ""


def size(count: float) -> str:
    """A number of bytes for people."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"
