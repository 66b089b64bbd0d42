"""Tiles: where to cut an image that is too large or too long for one view. The boxes are recorded, the loader cuts."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from pairloom.batch import Batch
from pairloom.geometry import Box
from pairloom.step import Step, step

SIDES = ("left", "top", "right", "bottom")
TILES = pa.list_(pa.struct([(side, pa.float64()) for side in SIDES]))
"""Boxes in pixels of the stored image."""


@step("tiles")
class Tiles(Step):
    """Add `tiles`: boxes that together cover the stored image, in its own pixels. Put it after the last geometry step.

    * `grid`: equal cells, at most `max_tiles`, in the columns and rows that keep most of the detail when each cell is shown
      at `size`, and of those the ones that waste least (LLaVA-NeXT's rule).
    * `squares`: squares of the shorter side in a row along the longer one, each sharing at least `overlap` of itself with
      the next. Where `max_tiles` squares don't reach from end to end, they become longer.

    `whole` puts the whole image first, without padding that an earlier step added; it does not count as a tile. An image that
    fits into `size` has one box only.

    Example: `tiles: {size: 336, max_tiles: 4}`
    """

    size: Annotated[int, Field(gt=0, le=65_500)] = 336
    max_tiles: Annotated[int, Field(gt=0, le=1024)] = 9
    layout: Literal["grid", "squares"] = "grid"
    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.25
    whole: bool = True

    reads: ClassVar[tuple[str, ...]] = ("width", "height", "geometry")
    adds: ClassVar[dict[str, pa.DataType]] = {"tiles": TILES}

    def needs(self, width: int, height: int) -> tuple[int, int] | None:
        return None  # it looks at the size alone, never at the pixels

    def boxes(self, width: int, height: int) -> list[Box]:
        """The boxes of one image of `width` x `height`: the whole first if wanted, then by rows."""
        everything = (0.0, 0.0, float(width), float(height))
        if max(width, height) <= self.size:
            return [everything]
        tiles = self._grid(width, height) if self.layout == "grid" else self._squares(width, height)
        return [everything, *tiles] if self.whole and len(tiles) > 1 else tiles

    def __call__(self, batch: Batch) -> Batch:
        boxes = [self.boxes(width, height) for width, height in zip(batch["width"], batch["height"], strict=True)]
        if self.whole:
            boxes = [[tuple(cell["box"]), *row[1:]] for cell, row in zip(batch["geometry"], boxes, strict=True)]
        return batch.with_columns(self.adds, tiles=[[dict(zip(SIDES, box, strict=True)) for box in row] for row in boxes])

    def _grid(self, width: int, height: int) -> list[Box]:
        most_columns, most_rows = math.ceil(width / self.size), math.ceil(height / self.size)
        shapes = [
            (columns, rows)
            for columns in range(1, min(most_columns, self.max_tiles) + 1)
            for rows in range(1, min(most_rows, self.max_tiles // columns) + 1)
        ]
        columns, rows = max(shapes, key=lambda shape: (self._detail(width, height, *shape), -shape[0] * shape[1]))
        across, down = _edges(width, columns), _edges(height, rows)
        return [(left, top, right, bottom) for top, bottom in pairwise(down) for left, right in pairwise(across)]

    def _detail(self, width: int, height: int, columns: int, rows: int) -> float:
        """Share of the image's pixels that are left when it is fitted into a canvas of that many tiles."""
        return round(min(columns * self.size / width, rows * self.size / height, 1.0), 9)

    def _squares(self, width: int, height: int) -> list[Box]:
        short, long = min(width, height), max(width, height)
        wanted = math.ceil((long - short * self.overlap) / (short * (1 - self.overlap)) - 1e-9)
        count = max(1, min(wanted, self.max_tiles))
        length = max(float(short), long / (count - (count - 1) * self.overlap))
        step = (long - length) / (count - 1) if count > 1 else 0.0
        starts = [min(number * step, long - length) for number in range(count)]
        ends = [start + length for start in starts[:-1]] + [float(long)]  # exactly, whatever the sums round to
        if width >= height:
            return [(start, 0.0, end, float(height)) for start, end in zip(starts, ends, strict=True)]
        return [(0.0, start, float(width), end) for start, end in zip(starts, ends, strict=True)]


def _edges(length: int, parts: int) -> list[float]:
    return [length * number / parts for number in range(parts + 1)]
