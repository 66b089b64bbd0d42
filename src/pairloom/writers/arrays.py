"""Arrays on disk under a name that says what they were computed from, so that they need not be computed again."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pairloom.writers.parts import write_whole


def digest(*said: Any) -> str:
    """A name for what was computed from plain values."""
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


def flat(name: str, parts: Sequence[Any]) -> dict[str, Any]:
    """Arrays of rows (n, d) with different n as one array and their counts, by names that begin with `name`."""
    whole = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
    return {name: whole, f"{name}_count": np.array([len(part) for part in parts], np.int64)}


def ragged(arrays: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    """The arrays that `flat` put together."""
    counts = arrays[f"{name}_count"]
    return tuple(np.split(arrays[name], np.cumsum(counts)[:-1])) if len(counts) else ()


def load_arrays(path: Path) -> dict[str, Any] | None:
    """The arrays of an NPZ file, None if it isn't there or can't be read."""
    try:
        with np.load(path, allow_pickle=False) as found:
            return dict(found.items())
    except (OSError, ValueError, EOFError, KeyError):
        return None


def save_arrays(path: Path, **arrays: Any) -> None:
    """Write an NPZ file, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_whole(path, buffer.getvalue())
