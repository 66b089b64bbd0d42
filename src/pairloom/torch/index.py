"""What a set holds, pair by pair, as far as planning and reading need it: a few numbers each, no text and no pixels."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairloom.cache import user_cache
from pairloom.errors import UsageError
from pairloom.writers.parts import write_whole

FORMAT = 3
SHARD, TABLE = "shard", "table"
"""Kinds of files that are read here; the others are those of `pairloom.readers`."""


@dataclass(frozen=True, eq=False)
class Index:
    """One or several sets; arrays have a row for each pair.

    `files` are (name or URL, kind, what tells one version of it from another). A pair lies in `file`, from `start` on: bytes in
    a tar or a text table, a row group in Parquet; `length` is bytes, or the row in its group or table. `size` is (width, height)
    of the stored image, `box` the part of it that is no padding. `tokens` counts the text's tokens without marks, -1 where
    nobody counted them; `characters` is bytes of UTF-8. `views` is the number of recorded tiles, 0 for none. `alignment` is NaN
    where it was not measured.
    """

    files: tuple[tuple[str, str, str], ...]
    file: npt.NDArray[np.int32]
    start: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    size: npt.NDArray[np.int32]
    box: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int32]
    characters: npt.NDArray[np.int32]
    views: npt.NDArray[np.int32]
    alignment: npt.NDArray[np.float32]
    digest: str
    recipe: dict[str, Any] | None = None
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.file)

    @property
    def content(self) -> npt.NDArray[np.int32]:
        """(width, height) of each image without padding, int32 (n, 2)."""
        sides: npt.NDArray[np.int32] = np.maximum(np.rint(self.box[:, 2:] - self.box[:, :2]), 1).astype(np.int32)
        return sides


_ARRAYS = tuple(field.name for field in dataclasses.fields(Index) if "NDArray" in str(field.type))


def joined(indexes: Sequence[Index]) -> Index:
    """Several sets as one, their rows one after the other."""
    if len(indexes) == 1:
        return indexes[0]
    arrays = {name: np.concatenate([getattr(index, name) for index in indexes]) for name in _ARRAYS}
    before = np.cumsum([0, *(len(index.files) for index in indexes)])
    arrays["file"] = np.concatenate([index.file + first for index, first in zip(indexes, before, strict=False)]).astype(np.int32)
    files = tuple(file for index in indexes for file in index.files)
    digest = " ".join(index.digest for index in indexes)
    return Index(files, **arrays, digest=digest, recipe=indexes[0].recipe, skipped=sum(index.skipped for index in indexes))


def columns(count: int) -> dict[str, Any]:
    """Arrays for `count` pairs of which nothing is known yet."""
    return {
        "file": np.zeros(count, np.int32), "start": np.zeros(count, np.int64), "length": np.zeros(count, np.int64),
        "size": np.ones((count, 2), np.int32), "box": np.ones((count, 4), np.float32), "tokens": np.full(count, -1, np.int32),
        "characters": np.zeros(count, np.int32), "views": np.zeros(count, np.int32),
        "alignment": np.full(count, np.nan, np.float32),
    }  # fmt: skip


def remembered(place: str, digest: str) -> Index | None:
    """The index of a set that was opened before, at that place and with that digest; None if it isn't in the user's cache."""
    try:
        with np.load(_path(place, digest), allow_pickle=False) as held:
            about = json.loads(str(held["about"]))
            arrays = {name: held[f"{name}_"] for name in _ARRAYS}
    except (OSError, ValueError, KeyError, EOFError):  # not there, or of another version
        return None
    files = tuple((name, kind, known) for name, kind, known in about["files"])
    return Index(files, **arrays, digest=digest, recipe=about["recipe"], skipped=about["skipped"])


def remember(place: str, index: Index) -> Index:
    """Keep an index in the user's cache, if it can be written to; `place` is where the set lies, as it was named."""
    buffer = io.BytesIO()
    about = json.dumps({"files": index.files, "recipe": index.recipe, "skipped": index.skipped})
    np.savez(buffer, about=np.array(about), **{f"{name}_": getattr(index, name) for name in _ARRAYS})
    with suppress(OSError, UsageError):
        write_whole(_path(place, index.digest), buffer.getvalue())
    return index


def _path(place: str, digest: str) -> Path:
    name = hashlib.sha256(f"{place}\n{digest}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return user_cache() / "index" / f"{name}-{FORMAT}.npz"
