"""Pairs as a page shows them: a small picture, the text, and what the scores say."""

from __future__ import annotations

import base64
import io
import tarfile
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pairloom.steps.header import FAULTS
from pairloom.writers.ledger import read_schema, read_tables
from pairloom.writers.shard import data_name

_SIDE, _LETTERS = 256, 400
_COLUMNS = (
    *("key", "source_key", "text", "caption", "width", "height"),
    *("alignment", "similarity", "segments", "segment_weights", "best_segment"),
)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One pair. `why` is the segment that carried the match, with its weight, where the pair was scored."""

    key: str
    source_key: str
    image: str
    size: str
    text: str
    alignment: float | None = None
    why: str = ""


def some_pairs(output: Path, shards: int, format: str, most: int) -> list[Thumbnail]:
    """The first pairs of some shards, spread over the run."""
    chosen = spread(shards, 6)
    each = max(1, most // max(1, len(chosen)))
    return [pair for index in chosen for pair in _shown(output, index, format, _first(output, index, each))][:most]


def extreme_pairs(output: Path, shards: int, format: str, most: int) -> tuple[list[Thumbnail], list[Thumbnail]]:
    """Those of least and of most `alignment` over at most 200 shards, the extremes first; nothing where none was scored."""
    scored = [(value, index, key) for index in spread(shards, 200) for key, value in _scores(output, index)]
    order = np.argsort([value for value, _, _ in scored], kind="stable").tolist()
    low, high = order[:most], order[most:][::-1][:most]
    wanted: dict[int, set[str]] = defaultdict(set)
    for place in (*low, *high):
        wanted[scored[place][1]].add(scored[place][2])
    found = {pair.key: pair for index, keys in wanted.items() for pair in _shown(output, index, format, keys)}
    least, best = ([found[scored[place][2]] for place in places if scored[place][2] in found] for places in (low, high))
    return least, best


def spread(total: int, count: int) -> list[int]:
    """At most `count` numbers below `total`, evenly spread."""
    return sorted({round(step * (total - 1) / max(1, count - 1)) for step in range(count)}) if total else []


def cut(text: str, length: int) -> str:
    """A text of at most `length` characters, with a mark where more would follow."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _first(output: Path, index: int, count: int) -> list[str]:
    table = next(read_tables(output / f"{index:05d}.parquet", ["key"], count), None)
    return [] if table is None else table["key"].to_pylist()


def _scores(output: Path, index: int) -> Iterator[tuple[str, float]]:
    path = output / f"{index:05d}.parquet"
    for table in read_tables(path, ["key", "alignment"]) if "alignment" in read_schema(path).names else ():
        for row in table.to_pylist():
            if row["alignment"] is not None:
                yield row["key"], row["alignment"]


def _shown(output: Path, index: int, format: str, keys: Collection[str]) -> list[Thumbnail]:
    path, wanted = output / f"{index:05d}.parquet", set(keys)
    names = [name for name in _COLUMNS if name in read_schema(path).names]
    rows: list[dict[str, Any]] = []
    for table in read_tables(path, names, 256):
        rows += [row for row in table.to_pylist() if row["key"] in wanted]
        if len(rows) == len(wanted):
            break
    images = dict(_images(output / data_name(index, format), wanted))
    return [_thumbnail(row, images[row["key"]]) for row in rows if row["key"] in images]


def _thumbnail(row: dict[str, Any], image: bytes) -> Thumbnail:
    size = f"{row['width']}×{row['height']}" if "width" in row else ""
    text = cut(row.get("caption") or row["text"], _LETTERS)
    return Thumbnail(row["key"], row["source_key"], _embedded(image), size, text, row.get("alignment"), _why(row))


def _why(row: dict[str, Any]) -> str:
    place = row.get("best_segment")
    if place is None or not row.get("segments"):
        return ""
    cell, weight = row["segments"][place], row["segment_weights"][place]
    if weight > 0.995:  # the only one that counts
        return ""
    return f"{weight:.0%} of it by: {cut(row['text'][cell['start'] : cell['end']], 120)}"


def _images(path: Path, keys: Collection[str]) -> Iterator[tuple[str, bytes]]:
    left = set(keys)
    if path.suffix == ".parquet":
        for table in read_tables(path, ["key", "image"], 64):
            yield from ((row["key"], row["image"]["bytes"]) for row in table.to_pylist() if row["key"] in left)
            left -= set(table["key"].to_pylist())
            if not left:
                return
        return
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            file = tar.extractfile(member) if key in left and suffix not in ("json", "txt") else None
            if file:
                left.remove(key)
                yield key, file.read()
            if not left:
                return


def _embedded(data: bytes) -> str:
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except FAULTS:
        return ""
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
