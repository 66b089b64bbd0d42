"""A run as one HTML page that needs nothing else: counts by step, reasons, what was done to the pairs, and some of them."""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
from PIL import Image

from pairloom import __version__
from pairloom.recipe import Recipe
from pairloom.stats import Summary
from pairloom.steps.header import FAULTS
from pairloom.writers.ledger import read_schema, read_tables
from pairloom.writers.parts import write_whole
from pairloom.writers.shard import data_name

_PAIRS, _REJECTS, _SIDE = 24, 50, 256
_MEASURES = {
    "geometry.lost": "share of the image cropped away",
    "geometry.padded": "share of the canvas that is padding",
    "geometry.distortion": "distortion (1 is none)",
    "tokens_kept": "text tokens kept",
    "tokens_lost": "text tokens lost",
    "cleaned_chars": "characters cleaned away",
    "token_ratio": "image tokens per text token",
}


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One pair as the page shows it."""

    key: str
    source_key: str
    image: str
    size: str
    text: str


def write_report(output: Path, summary: Summary, recipe: Recipe, format: str) -> Path:
    """Write `report.html` below `output` from what is committed there."""
    environment = jinja2.Environment(loader=jinja2.PackageLoader("pairloom", "report"), autoescape=True, trim_blocks=True)
    page = environment.get_template("report.html.j2").render(
        version=__version__,
        summary=summary,
        recipe=recipe.to_yaml(),
        measures=_measures(output, summary.shards),
        pairs=_thumbnails(output, summary.shards, format),
        rejects=_rejects(output, summary.shards),
    )
    path = output / "report.html"
    write_whole(path, page.encode())
    return path


def _measures(output: Path, shards: int) -> list[tuple[str, str, str, str]]:
    """Mean, median and 95th percentile of what the ledger says was done, over at most 20 shards."""
    columns: dict[str, list[Any]] = {}
    for index in _spread(shards, 20):
        path = output / f"{index:05d}.parquet"
        roots = {name.partition(".")[0] for name in _MEASURES} & set(read_schema(path).names)
        for table in read_tables(path, sorted(roots)) if roots else ():
            for name, values in zip(table.flatten().column_names, table.flatten().columns, strict=True):
                if name in _MEASURES:
                    columns.setdefault(name, []).append(values.to_numpy())
    rows: list[tuple[str, str, str, str]] = []
    for name, title in _MEASURES.items():
        values = np.concatenate(columns[name]).astype(float) if name in columns else np.empty(0)
        if values.size:
            mean, median, high = map(_short, (values.mean(), np.median(values), np.percentile(values, 95)))
            rows.append((title, mean, median, high))
    return rows


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _thumbnails(output: Path, shards: int, format: str) -> list[Thumbnail]:
    chosen = _spread(shards, 6)
    each = max(1, _PAIRS // max(1, len(chosen)))
    return [pair for index in chosen for pair in _some(output, index, format, each)][:_PAIRS]


def _some(output: Path, index: int, format: str, count: int) -> list[Thumbnail]:
    ledger = output / f"{index:05d}.parquet"
    rows: list[dict[str, Any]] = next(
        (table.to_pylist() for table in read_tables(ledger, _shown(read_schema(ledger)), count)), []
    )
    images = _images(output / data_name(index, format), [row["key"] for row in rows])
    made = []
    for row in rows:
        text = row.get("caption") or row["text"]
        size = f"{row['width']}×{row['height']}" if "width" in row else ""
        if row["key"] in images:
            made.append(Thumbnail(row["key"], row["source_key"], _embedded(images[row["key"]]), size, _cut(text, 400)))
    return made


def _shown(schema: pa.Schema) -> list[str]:
    return [name for name in ("key", "source_key", "text", "caption", "width", "height") if name in schema.names]


def _images(path: Path, keys: list[str]) -> dict[str, bytes]:
    """The first pairs of a shard; they stand at its beginning."""
    if path.suffix == ".parquet":
        table = next(read_tables(path, ["key", "image"], max(1, len(keys))), None)
        return {} if table is None else {row["key"]: row["image"]["bytes"] for row in table.to_pylist()}
    found: dict[str, bytes] = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            file = tar.extractfile(member) if suffix not in ("json", "txt") else None
            if file:
                found[key] = file.read()
            if len(found) >= len(keys):
                break
    return found


def _embedded(data: bytes) -> str:
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except FAULTS:
        return ""
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _rejects(output: Path, shards: int) -> list[dict[str, str]]:
    return list(islice(_each_reject(output, shards), _REJECTS))


def _each_reject(output: Path, shards: int) -> Iterator[dict[str, str]]:
    for index in range(shards):
        for table in read_tables(output / "rejects" / f"{index:05d}.parquet", rows=4):  # few at a time: texts may be large
            yield from ({**row, "original_text": _cut(row["original_text"] or "", 160)} for row in table.to_pylist())


def _spread(total: int, count: int) -> list[int]:
    """At most `count` numbers below `total`, evenly spread."""
    return sorted({round(step * (total - 1) / max(1, count - 1)) for step in range(count)}) if total else []


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
