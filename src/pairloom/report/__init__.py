"""A run as one HTML page that needs nothing else: counts by step, reasons, what was done to the pairs, and some of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from pairloom import __version__
from pairloom.recipe import Recipe
from pairloom.report.pictures import cut, extreme_pairs, some_pairs, spread
from pairloom.stats import Summary
from pairloom.writers.ledger import read_schema, read_tables
from pairloom.writers.parts import write_whole

_PAIRS, _EXTREMES, _REJECTS = 24, 8, 50
_MEASURES = {
    "geometry.lost": "share of the image cropped away",
    "geometry.padded": "share of the canvas that is padding",
    "geometry.distortion": "distortion (1 is none)",
    "tokens_kept": "text tokens kept",
    "tokens_lost": "text tokens lost",
    "cleaned_chars": "characters cleaned away",
    "token_ratio": "image tokens per text token",
    "alignment": "alignment",
    "similarity": "similarity",
}


def write_report(output: Path, summary: Summary, recipe: Recipe, format: str) -> Path:
    """Write `report.html` below `output` from what is committed there."""
    environment = jinja2.Environment(loader=jinja2.PackageLoader("pairloom", "report"), autoescape=True, trim_blocks=True)
    page = environment.get_template("report.html.j2").render(
        version=__version__,
        summary=summary,
        recipe=recipe.to_yaml(),
        measures=_measures(output, summary.shards),
        extremes=extreme_pairs(output, summary.shards, format, _EXTREMES),
        pairs=some_pairs(output, summary.shards, format, _PAIRS),
        rejects=_rejects(output, summary.shards),
    )
    path = output / "report.html"
    write_whole(path, page.encode())
    return path


def _measures(output: Path, shards: int) -> list[tuple[str, str, str, str]]:
    """Mean, median and 95th percentile of what the ledger says was done, over at most 20 shards."""
    columns: dict[str, list[Any]] = {}
    for index in spread(shards, 20):
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


def _rejects(output: Path, shards: int) -> list[dict[str, str]]:
    return list(islice(_each_reject(output, shards), _REJECTS))


def _each_reject(output: Path, shards: int) -> Iterator[dict[str, str]]:
    for index in range(shards):
        for table in read_tables(output / "rejects" / f"{index:05d}.parquet", rows=4):  # few at a time: texts may be large
            yield from ({**row, "original_text": cut(row["original_text"] or "", 160)} for row in table.to_pylist())
