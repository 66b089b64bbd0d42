"""Tiles: their boxes cover the image, stay inside it, and are never more than asked for."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import batch_of, encoded, picture

from pairloom.geometry import Box
from pairloom.steps.decode import Decode
from pairloom.steps.processor import AnyRes
from pairloom.steps.tiles import TILES, Tiles

sides = st.integers(1, 20_000)
steps = st.builds(
    Tiles,
    size=st.integers(1, 2000),
    max_tiles=st.integers(1, 20),
    layout=st.sampled_from(["grid", "squares"]),
    overlap=st.floats(0, 0.9),
    whole=st.booleans(),
)


def uncovered(boxes: list[Box], width: int, height: int) -> bool:
    """Whether any place between the edges of the boxes lies in none of them, gaps of rounding apart."""
    xs, ys = (
        np.unique(np.round([side for box in boxes for side in box[axis::2]] + [0, end], 6))
        for axis, end in ((0, width), (1, height))
    )
    covered = np.zeros((len(ys) - 1, len(xs) - 1), bool)
    for left, top, right, bottom in boxes:
        inside_x = (xs[:-1] >= left - 1e-5) & (xs[1:] <= right + 1e-5)
        inside_y = (ys[:-1] >= top - 1e-5) & (ys[1:] <= bottom + 1e-5)
        covered |= inside_y[:, None] & inside_x[None, :]
    return not covered.all()


@given(step=steps, width=sides, height=sides)
def test_boxes_cover_the_image_and_stay_inside(step: Tiles, width: int, height: int) -> None:
    boxes = step.boxes(width, height)
    assert boxes == step.boxes(width, height) and len(set(boxes)) == len(boxes)
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
    whole = (0.0, 0.0, float(width), float(height))
    tiles = boxes[1:] if step.whole and len(boxes) > 1 else boxes
    assert (boxes[0] == whole) or not step.whole
    assert 1 <= len(tiles) <= step.max_tiles and not uncovered(tiles, width, height)
    if max(width, height) <= step.size:
        assert boxes == [whole]


@given(width=sides, height=sides, overlap=st.floats(0, 0.9))
def test_squares_are_square_and_share_what_was_asked(width: int, height: int, overlap: float) -> None:
    boxes = Tiles(size=1, max_tiles=1024, layout="squares", overlap=overlap, whole=False).boxes(width, height)
    side = min(width, height)
    axis = 0 if width >= height else 1
    if len(boxes) < 1024:
        assert all(box[2] - box[0] == pytest.approx(side) and box[3] - box[1] == pytest.approx(side) for box in boxes)
    for one, two in pairwise(boxes):
        assert one[axis + 2] - two[axis] >= overlap * (one[axis + 2] - one[axis]) - 1e-6 * max(width, height)


@pytest.mark.parametrize(
    ("size", "shape"),
    [((336, 336), (1, 1)), ((672, 672), (2, 2)), ((672, 336), (2, 1)), ((336, 1008), (1, 3)), ((1008, 1008), (3, 3)),
     ((4000, 3000), (3, 3)), ((4000, 500), (8, 1)), ((400, 300), (2, 1))],
)  # fmt: skip
def test_the_grid_keeps_the_detail(size: tuple[int, int], shape: tuple[int, int]) -> None:
    boxes = Tiles(whole=False).boxes(*size)
    assert (len({box[0] for box in boxes}), len({box[1] for box in boxes})) == shape


def test_the_column_holds_boxes_of_the_stored_image() -> None:
    batch = Tiles(layout="squares")(Decode()(batch_of(encoded(picture(700, 400)), encoded(picture(50, 50)))))
    assert batch.table.schema.field("tiles").type == TILES
    first, second = batch["tiles"]
    assert [tuple(box.values()) for box in first] == [(0, 0, 700, 400), (0, 0, 400, 400), (300, 0, 700, 400)]
    assert second == [{"left": 0, "top": 0, "right": 50, "bottom": 50}]
    assert Tiles().needs(700, 400) is None and not Tiles.reads_pixels


def test_the_whole_leaves_padding_out() -> None:
    batch = AnyRes()(Decode()(batch_of(encoded(picture(300, 200)), encoded(picture(2000, 500)))))
    first, second = Tiles()(batch)["tiles"]
    assert [tuple(box.values()) for box in first] == [(84, 0, 588, 336), (0, 0, 336, 336), (336, 0, 672, 336)]
    assert tuple(second[0].values()) == (0, 42, 1008, 294) and len(second) == 4
