"""Features and settings on disk, so that the same comparison, or one with another seed or regime, need not look again."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pairloom.compare.features import Features
from pairloom.compare.setting import Setting
from pairloom.writers.parts import write_whole


def digest(*said: Any) -> str:
    """A name for what was computed from plain values."""
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


def kept_features(path: Path, make: Callable[[], Features]) -> Features:
    """The features in that file, made and written if it isn't there or can't be read."""
    found = load_arrays(path)
    if found is not None:
        keys, seconds = tuple(found["keys"].tolist()), float(found["seconds"])
        images, texts = (ragged(found, name) for name in ("images", "texts"))
        return Features(keys, images, texts, found["text_lost"], found["area_lost"], seconds)
    features = make()
    arrays = {name: getattr(features, name) for name in ("text_lost", "area_lost")}
    arrays |= flat("images", features.images) | flat("texts", features.texts)
    save_arrays(path, keys=np.array(features.keys, str), seconds=np.array(features.seconds), **arrays)
    return features


def kept_setting(path: Path, make: Callable[[], Setting]) -> Setting:
    """The setting in that file, made and written if it isn't there or can't be read."""
    found = load_arrays(path)
    if found is not None:
        buckets = {name: tuple(values) for name, values in json.loads(str(found["buckets"])).items()}
        return Setting(tuple(found["keys"].tolist()), found["groups"], found["texts"], buckets)
    setting = make()
    said = dataclasses.asdict(setting) | {"keys": np.array(setting.keys, str), "buckets": np.array(json.dumps(setting.buckets))}
    save_arrays(path, **said)
    return setting


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
