"""What a notebook shows of the plain values that know nothing of pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pairloom.report.page import framed, page
from pairloom.report.parts import cut
from pairloom.report.pictures import data_url, picture, small_jpeg

if TYPE_CHECKING:
    from pairloom.batch import Batch
    from pairloom.stats import Summary

_ROWS, _LETTERS, _SIDE = 8, 240, 224


def summary_frame(summary: Summary) -> str:
    """The flow of a run."""
    return framed(page("summary.html.j2", summary=summary), 8 + 2.3 * len(summary.steps))


def batch_frame(batch: Batch) -> str:
    """The first pairs of a batch, with their pixels while these are live."""
    first = batch.take(range(min(_ROWS, len(batch))))
    rows = first.table.drop_columns([name for name in ("image",) if name in first.table.column_names]).to_pylist()
    for number, row in enumerate(rows):
        data = first["image"][number] if first.pixels is None and "image" in first.table.column_names else None
        row["picture"] = picture(data, _SIDE) if data else ""
        if first.pixels is not None:
            row["picture"] = data_url(small_jpeg(first.pixels[number], _SIDE))
        row["text"] = cut(row.get("caption") or row.get("text") or "", _LETTERS)
    columns, live = batch.table.column_names, batch.pixels is not None
    return framed(page("batch.html.j2", total=len(batch), rows=rows, columns=columns, live=live), 24 if len(rows) < 5 else 40)
