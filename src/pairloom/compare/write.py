"""A comparison as files: JSON for programs, HTML for people, Parquet with every query."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pairloom.compare.result import METRICS, Comparison
from pairloom.report.page import page as render
from pairloom.report.page import whole_bytes
from pairloom.writers.ledger import TableWriter
from pairloom.writers.parts import Parts

_QUERIES = pa.schema(
    [("policy", pa.string()), ("key", pa.string())]
    + [(name, pa.int64()) for name in ("group", "t2i_rank", "i2t_rank")]
    + [(name, pa.bool_()) for name in ("match10", "match10_hard")]
)


@dataclass(frozen=True, slots=True)
class Bar:
    """A value and its interval on an axis from 0 to 100."""

    name: str
    value: float
    low: float
    high: float


def write_comparison(folder: Path, comparison: Comparison, queries: Mapping[str, list[object]]) -> None:
    """Write `comparison.json`, `comparison.html` and `queries.parquet`, all or none."""
    with Parts(folder) as parts:
        said = json.dumps(comparison.to_json(), ensure_ascii=False, indent=1)
        parts.open("comparison.json").write((said + "\n").encode())
        parts.open("comparison.html").write(whole_bytes(page(comparison)))
        table = TableWriter(parts.open("queries.parquet"), _QUERIES)
        table.write(pa.table(dict(queries), schema=_QUERIES))
        table.close()
        parts.publish()


def page(comparison: Comparison) -> str:
    """The comparison as one page that needs nothing else."""
    bars = {
        title: [_bar(name, one.metrics[metric]) for name, one in {**comparison.policies, **comparison.controls}.items()]
        for metric, title in METRICS.items()
    }
    return render("comparison.html.j2", it=comparison, bars=bars, metrics=METRICS)


def _bar(name: str, one: object) -> Bar:
    value, low, high = (round(100 * getattr(one, part), 2) for part in ("value", "low", "high"))
    return Bar(name, value, low, high)
