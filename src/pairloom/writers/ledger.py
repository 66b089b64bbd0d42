"""Parquet files of one shard: the ledger of kept pairs, the rejects, and pairs as Hugging Face `Image` columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairloom.batch import Batch
from pairloom.remote import Place
from pairloom.steps.header import suffix_of
from pairloom.writers.parts import Part
from pairloom.writers.webdataset import final_texts

REJECTS = pa.schema(
    [(name, pa.string()) for name in ("key", "source_key", "source", "step", "reason", "message", "original_text")]
)
"""The columns of `rejects/NNNNN.parquet`."""

_GROUP_ROWS, _GROUP_BYTES = 1024, 32 << 20
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class TableWriter:
    """A Parquet file that never holds more than one row group in memory."""

    def __init__(self, file: Part, schema: pa.Schema, rows: int = _GROUP_ROWS) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(file, schema, compression="zstd", store_schema=True)
        self._rows = rows
        self._waiting: list[pa.Table] = []
        self._held = 0

    def write(self, table: pa.Table) -> None:
        """Append a table of the same columns."""
        if table.num_rows:
            table = table.select(self._schema.names)
            self._waiting.append(table)
            self._held += table.nbytes
        if sum(t.num_rows for t in self._waiting) >= self._rows or self._held >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what waits, and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.concat_tables(self._waiting).cast(self._schema).combine_chunks()
            self._waiting, self._held = [], 0
            self._writer.write_table(table, row_group_size=table.num_rows)


def read_tables(path: Place, columns: list[str] | None = None, rows: int | None = None) -> Iterator[pa.Table]:
    """A Parquet file piece by piece: its row groups, or at most `rows` rows at a time."""
    with path.open("rb") as file:  # not by name: Arrow takes no names that aren't UTF-8
        table = pq.ParquetFile(file, pre_buffer=False)
        for group in range(table.num_row_groups):
            for batch in table.iter_batches(rows or table.metadata.row_group(group).num_rows, [group], columns):
                yield pa.Table.from_batches([batch])


def read_schema(path: Place) -> pa.Schema:
    """The columns of a Parquet file."""
    with path.open("rb") as file:
        return pq.read_schema(file)


def ledger_schema(columns: dict[str, pa.DataType]) -> pa.Schema:
    """The columns of the ledger: all of a batch but the image, with img2dataset's `status` and `error_message`."""
    fields = [("key", pa.string()), ("status", pa.string()), ("error_message", pa.string())]
    return pa.schema(fields + [(name, kind) for name, kind in columns.items() if name not in ("key", "image", "reject")])


def ledger_rows(batch: Batch) -> pa.Table:
    """The ledger of kept pairs."""
    said = pa.array(["success"] * len(batch), pa.string()), pa.array([None] * len(batch), pa.string())
    return batch.table.append_column("status", said[0]).append_column("error_message", said[1])


def reject_rows(batch: Batch, step: str) -> pa.Table:
    """The rows of a batch that `step` rejected."""
    cells = batch["reject"]
    columns: dict[str, Any] = {name: batch[name] for name in ("key", "source_key", "source")}
    columns |= {"step": [step] * len(batch), "reason": [c["code"] for c in cells], "message": [c["message"] for c in cells]}
    columns["original_text"] = batch["original_text"]
    return pa.table({name: pa.array(columns[name], pa.string()) for name in REJECTS.names})


class ParquetWriter:
    """Pairs as Parquet that `datasets.load_dataset` shows with an `Image` column, without any code of theirs."""

    def __init__(self, file: Part, suffix: str | None, columns: dict[str, pa.DataType]) -> None:
        self._suffix = suffix
        rest = [(name, kind) for name, kind in columns.items() if name not in ("image", "text", "reject")]
        schema = pa.schema([("image", _IMAGE), ("text", pa.string()), ("full_text", pa.string()), *rest])
        features = {"image": {"_type": "Image"}, "text": {"dtype": "string", "_type": "Value"}}
        said = {"huggingface": json.dumps({"info": {"features": features}})}
        self._table = TableWriter(file, schema.with_metadata(said), rows=256)

    def write(self, batch: Batch) -> None:
        """Append the pairs of a batch; `image` must hold encoded bytes."""
        table = batch.table
        cells = [
            {"bytes": data, "path": f"{key}.{self._suffix or suffix_of(data)}"}
            for data, key in zip(batch["image"], batch["key"], strict=True)
        ]
        full = table.column("text")
        table = table.drop_columns(["image", "text"]).append_column("image", pa.array(cells, _IMAGE))
        table = table.append_column("text", pa.array(final_texts(batch), pa.string())).append_column("full_text", full)
        self._table.write(table)

    def close(self) -> None:
        """Write what waits, and the footer."""
        self._table.close()
