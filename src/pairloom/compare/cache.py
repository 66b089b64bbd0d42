"""Features and settings on disk, so that the same comparison, or one with another seed or regime, need not look again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pairloom.compare.features import Features
from pairloom.compare.setting import Setting
from pairloom.writers.arrays import flat, load_arrays, ragged, save_arrays


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
