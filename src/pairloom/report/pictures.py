"""Pairs as a page shows them: a small picture, the text, and what the scores say."""

from __future__ import annotations

import base64
import warnings
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairloom.batch import Pixels
from pairloom.errors import Reject
from pairloom.finished import Finished
from pairloom.report.parts import Part, cut, shortened, weighted_parts
from pairloom.steps.decode import Decode, Decoded
from pairloom.steps.encode import Encode
from pairloom.steps.image import Contain
from pairloom.writers.ledger import read_schema, read_tables

_SIDE, _LETTERS = 256, 360
_MOST_BYTES = 12_000  # of one picture: a page of a hundred must stay small, whatever they show
_SCORED = ("segments", "segment_scores", "segment_weights", "best_segment", "best_caption")
_COLUMNS = ("key", "source_key", "text", "caption", "width", "height", "original_width", "original_height", "alignment")


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One pair; `parts` are its text, with the weight of each segment where the pair was scored."""

    key: str
    source_key: str
    image: str
    size: str
    parts: tuple[Part, ...]
    alignment: float | None = None

    @property
    def text(self) -> str:
        """The text in one piece."""
        return "".join(part.text for part in self.parts)


def some_pairs(run: Finished, most: int) -> list[Thumbnail]:
    """The first pairs of some shards, spread over the run."""
    chosen = [run.shards[place] for place in spread(len(run.shards), 6)]
    each = -(-most // max(1, len(chosen)))
    return [pair for index in chosen for pair in shown(run, index, _first(run, index, each)).values()][:most]


def extreme_pairs(run: Finished, most: int) -> tuple[list[Thumbnail], list[Thumbnail]]:
    """Those of least and of most `alignment` over at most 200 shards, the extremes first; nothing where none was scored."""
    chosen = [run.shards[place] for place in spread(len(run.shards), 200)]
    scores = [_scores(run, index) for index in chosen]
    ends = np.cumsum([len(each) for each in scores])
    every = np.concatenate(scores) if scores else np.empty(0)
    order = np.argsort(every, kind="stable")[: int(np.isfinite(every).sum())].tolist()
    low, high = order[:most], order[most:][::-1][:most]
    rows: dict[int, list[int]] = defaultdict(list)
    for place in (*low, *high):
        file = int(np.searchsorted(ends, place, "right"))
        rows[file].append(place)
    found: dict[int, Thumbnail] = {}
    for file, places in rows.items():
        before = int(ends[file]) - len(scores[file])
        keys = _keys(run, chosen[file], [place - before for place in places])
        pairs = shown(run, chosen[file], keys)
        found |= {place: pairs[key] for place, key in zip(places, keys, strict=True) if key in pairs}
    return [found[place] for place in low if place in found], [found[place] for place in high if place in found]


def shown(run: Finished, index: int, keys: Collection[str]) -> dict[str, Thumbnail]:
    """Some pairs of a shard by key, in the order of the shard."""
    path, wanted = run.ledger(index), set(keys)
    there = set(read_schema(path).names)
    names = [name for name in _COLUMNS if name in there] + (list(_SCORED) if there >= set(_SCORED) else [])
    rows: list[dict[str, Any]] = []
    for table in read_tables(path, names, 256):
        rows += table.filter(pc.is_in(table["key"], pa.array(sorted(wanted), pa.string()))).to_pylist()
        if len(rows) == len(wanted):
            break
    images = dict(run.images(index, wanted))
    return {row["key"]: thumbnail(row, images[row["key"]]) for row in rows if row["key"] in images}


def thumbnail(row: dict[str, Any], image: bytes) -> Thumbnail:
    """A pair from its row of the ledger."""
    size = f"{row['width']}×{row['height']}" if row.get("width") else ""
    if row.get("original_width") and (row["original_width"], row["original_height"]) != (row["width"], row["height"]):
        size = f"{row['original_width']}×{row['original_height']} → {size}"
    scored = row.get("best_segment") is not None and row.get("segment_weights")
    parts = (
        shortened(list(weighted_parts(row)), _LETTERS) if scored else (Part(cut(row.get("caption") or row["text"], _LETTERS)),)
    )
    return Thumbnail(row["key"], row["source_key"], picture(image), size, parts, row.get("alignment"))


def spread(total: int, count: int) -> list[int]:
    """At most `count` numbers below `total`, evenly spread."""
    return sorted({round(step * (total - 1) / max(1, count - 1)) for step in range(count)}) if total else []


def picture(data: bytes, side: int = _SIDE) -> str:
    """A small JPEG of an encoded image as a data URL, nothing if it can't be decoded."""
    found = decoded(data, side)
    return data_url(small_jpeg(found.pixels, side)) if found else ""


def decoded(data: bytes, side: int) -> Decoded | None:
    """An image decoded to about `side` pixels, as much of it as there is; None if there is nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            decode = Decode(allow_truncated=True).bind([Contain(side)])
            assert isinstance(decode, Decode)
            return decode.image(data)
        except Reject:
            return None


def small_jpeg(pixels: Pixels, side: int, most: int = _MOST_BYTES) -> bytes:
    """A JPEG of at most `side` pixels and about `most` bytes: what doesn't fit is shown worse, then smaller."""
    data = b""
    for quality, part in ((82, 1), (65, 1), (45, 1), (45, 2), (45, 4)):
        data = Encode(quality=quality).image(Contain(max(1, side // part)).image(pixels))
        if len(data) <= most:
            break
    return data


def data_url(jpeg: bytes) -> str:
    """A JPEG as a page embeds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _first(run: Finished, index: int, count: int) -> list[str]:
    table = next(read_tables(run.ledger(index), ["key"], count), None)
    return [] if table is None else table["key"].to_pylist()


def _keys(run: Finished, index: int, rows: Sequence[int]) -> list[str]:
    keys = [key for table in read_tables(run.ledger(index), ["key"]) for key in table["key"].to_pylist()]
    return [keys[row] for row in rows]


def _scores(run: Finished, index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    path = run.ledger(index)
    if "alignment" not in read_schema(path).names:
        return np.empty(0, np.float32)
    tables = [table["alignment"].to_numpy().astype(np.float32) for table in read_tables(path, ["alignment"])]
    return np.concatenate(tables) if tables else np.empty(0, np.float32)
