"""A batch: an Arrow table of what is stored, plus the live pixels that never leave the worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pairloom.errors import Reject

if TYPE_CHECKING:
    from pairloom.planes import Ahead, Picture

Pixels = npt.NDArray[np.uint8]
"""One decoded image: RGB, shape (height, width, 3), uint8."""

REJECT = pa.struct([("code", pa.string()), ("message", pa.string())])
SEGMENTS = pa.list_(pa.struct([("caption", pa.int32()), ("start", pa.int32()), ("end", pa.int32())]))

READ = {
    "key": pa.string(),
    "source_key": pa.string(),
    "source": pa.string(),
    "image": pa.large_binary(),
    "original_texts": pa.list_(pa.string()),
    "original_text": pa.string(),
    "texts": pa.list_(pa.string()),
    "text": pa.string(),
    "extra": pa.string(),
    "reject": REJECT,
}
"""The columns that every reader fills, in order. `texts` are all captions of a pair and `text` the first of them, as the
text steps have made them so far; `original_*` stay as read; `extra` holds the input's other columns as a JSON object."""


@dataclass(frozen=True, slots=True)
class Row:
    """One pair as a reader found it. `reject` is set when it can't be used; what could be read is kept all the same.

    `url` is where the image is still to be had from.
    """

    source_key: str
    source: str
    image: bytes | None = None
    texts: tuple[str, ...] = ()
    extra: str = "{}"
    reject: Reject | None = None
    url: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some pairs, one a row. Immutable: each `with_*` gives a new batch and leaves this one as it was.

    `pictures` is None before `decode` and after `encode`; between them it holds one a row, as pixels or as the planes of a
    JPEG. One may be smaller than the `width` x `height` columns say while no later step needs more detail, or already be what
    the next step that looks at it makes of it.
    """

    table: pa.Table
    pictures: tuple[Picture | Ahead, ...] | None = None

    @property
    def pixels(self) -> tuple[Pixels, ...] | None:
        """The pictures as RGB uint8 arrays of shape (h, w, 3), made when asked for."""
        if self.pictures is None:
            return None
        from pairloom.planes import rgb

        return tuple(map(rgb, self.pictures))

    @classmethod
    def read(cls, keys: Sequence[str], rows: Sequence[Row]) -> Batch:
        """Make a batch of what a reader gave."""
        texts = [list(row.texts) for row in rows]
        first = [row.texts[0] if row.texts else "" for row in rows]
        columns: dict[str, list[Any]] = {
            "key": list(keys),
            "source_key": [row.source_key for row in rows],
            "source": [row.source for row in rows],
            "image": [row.image for row in rows],
            "original_texts": texts,
            "original_text": first,
            "texts": texts,
            "text": first,
            "extra": [row.extra for row in rows],
            "reject": [_reject_cell(row.reject) for row in rows],
        }
        return cls(pa.table([_array(columns[name], type) for name, type in READ.items()], names=list(READ)))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, column: str) -> list[Any]:
        """A column as a list of Python values."""
        values: list[Any] = self.table.column(column).to_pylist()
        return values

    def with_columns(self, types: Mapping[str, pa.DataType], **values: Iterable[Any]) -> Batch:
        """Set or add columns; `types` must name the Arrow type of each that is new."""
        table = self.table
        for name, column in values.items():
            place = table.schema.get_field_index(name)
            if place >= 0:
                table = table.set_column(place, name, _array(list(column), table.schema.field(place).type))
            else:
                table = table.append_column(name, _array(list(column), types[name]))
        return Batch(table, self.pictures)

    def with_pixels(self, pixels: Sequence[Picture | Ahead] | None) -> Batch:
        """Set the live pictures, one array (or planes) a row, or drop them."""
        return Batch(self.table, None if pixels is None else tuple(pixels))

    def with_rejects(self, rejects: Mapping[int, Reject]) -> Batch:
        """Mark rows, by number, as not usable. A row that was marked already keeps its first reason."""
        if not rejects:
            return self
        cells = self["reject"]
        for row, reject in rejects.items():
            cells[row] = cells[row] or _reject_cell(reject)
        return self.with_columns({}, reject=cells)

    def split(self) -> tuple[Batch, Batch]:
        """The rows that are still good, and those marked as rejected (without image and pixels)."""
        cells = self.table.column("reject")
        if cells.null_count == len(self):
            return self, Batch(self.table.slice(0, 0))
        bad = cells.is_valid()
        good = [row for row, is_bad in enumerate(bad.to_pylist()) if not is_bad]
        return self.take(good), Batch(self.table.drop_columns(["image"]).filter(bad))

    def take(self, rows: Sequence[int]) -> Batch:
        """The named rows, in that order."""
        pictures = None if self.pictures is None else tuple(self.pictures[row] for row in rows)
        return Batch(self.table.take(pa.array(rows, pa.int64())), pictures)

    def _repr_html_(self) -> str:
        from pairloom.report.notebook import batch_frame

        return batch_frame(self)


def _array(values: list[Any], type: pa.DataType) -> pa.Array:
    """Values as an Arrow array. Files are copied once, where Arrow copies again each time that it needs more room."""
    if type != pa.large_binary():
        return pa.array(values, type)
    ends = np.cumsum([0, *(len(value or b"") for value in values)], dtype=np.int64)
    data = pa.allocate_buffer(int(ends[-1]))
    room = memoryview(data).cast("B")
    for start, value in zip(ends.tolist(), values, strict=False):
        if value:
            room[start : start + len(value)] = value
    there = pa.array([value is not None for value in values], pa.bool_()).buffers()[1]
    return pa.Array.from_buffers(type, len(values), [there, pa.py_buffer(ends), data])


def _reject_cell(reject: Reject | None) -> dict[str, str] | None:
    return None if reject is None else {"code": reject.code, "message": reject.message}
