"""Drawing an image as a geometry says: the one resize that steps, models and loaders share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, overload

import numpy as np
from PIL import Image
from pydantic import Field

from pairloom.batch import Pixels
from pairloom.errors import Reject
from pairloom.geometry import Box, Geometry
from pairloom.planes import Picture, Planes, to_ycc
from pairloom.resize import Plane, resize

Level = Annotated[int, Field(ge=0, le=255)]
Fill = Literal["mean", "black", "white", "edge"] | tuple[Level, Level, Level]
Interpolation = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]
"""Pillow's filters, each antialiased when it makes smaller. The place of a name is its number in checkpoints' files."""

_COLOURS = {"mean": (122, 116, 104), "black": (0, 0, 0), "white": (255, 255, 255)}  # mean: CLIP's normaliser
_LARGEST = 1 << 26  # pixels of a canvas (8192 x 8192): a few options too many must not eat the memory of a worker


@overload
def draw(pixels: Pixels, geometry: Geometry, fill: Fill = ..., interpolation: Interpolation = ...) -> Pixels: ...
@overload
def draw(pixels: Picture, geometry: Geometry, fill: Fill = ..., interpolation: Interpolation = ...) -> Picture: ...
def draw(pixels: Picture, geometry: Geometry, fill: Fill = "mean", interpolation: Interpolation = "bicubic") -> Picture:
    """Draw `pixels`, RGB uint8 (h, w, 3) or planes, as `geometry` says with one antialiased resize.

    `pixels` may show the source at another size (a scaled decode): the crop is scaled with it. Of planes each is drawn by
    itself, and all have the size of the canvas, unless nothing is to be changed.

    Raises:
        Reject: too_many_pixels, if the canvas is larger than 8192 x 8192.
    """
    if geometry.width * geometry.height > _LARGEST:
        raise Reject("too_many_pixels", f"{geometry.width}x{geometry.height} to be drawn, the limit is {_LARGEST} pixels")
    colour = _COLOURS.get(fill) if isinstance(fill, str) else fill
    if isinstance(pixels, Planes) and interpolation == "nearest":
        pixels = pixels.rgb()
    if isinstance(pixels, np.ndarray):
        return _drawn(pixels, geometry, colour, interpolation)
    if geometry == Geometry.identity(*pixels.shape[1::-1]):
        return pixels
    levels = to_ycc(colour) if colour else (None, None, None)
    planes = zip((pixels.y, pixels.cb, pixels.cr), levels, strict=True)
    return Planes(*(_drawn(plane, geometry, level, interpolation) for plane, level in planes))


def _drawn(
    pixels: Pixels | Plane, geometry: Geometry, fill: int | tuple[int, int, int] | None, interpolation: Interpolation
) -> Pixels | Plane:
    """Pixels or a plane on the canvas; without `fill` the edge goes on."""
    columns, x0, x1 = _span(pixels.shape[1], geometry.source_width, geometry.crop[::2], geometry.box[::2], geometry.width)
    rows, y0, y1 = _span(pixels.shape[0], geometry.source_height, geometry.crop[1::2], geometry.box[1::2], geometry.height)
    size, crop = (x1 - x0, y1 - y0), (columns[0], rows[0], columns[1], rows[1])
    same = crop == (0, 0, *size) and pixels.shape[:2] == size[::-1]
    whole = size == (geometry.width, geometry.height)
    if whole or fill is None:
        shown = pixels if same else _resized(pixels, size, crop, interpolation)
        pad = ((y0, geometry.height - y1), (x0, geometry.width - x1), (0, 0))
        return shown if whole else np.pad(shown, pad[: pixels.ndim], mode="edge")
    channels = pixels.shape[2:]
    canvas = np.empty((geometry.height, geometry.width, *channels), np.uint8)
    row = np.full((geometry.width, *channels), fill, np.uint8)  # row by row: pixel by pixel it takes 2 ms
    canvas[:y0], canvas[y1:] = row, row
    canvas[y0:y1, :x0], canvas[y0:y1, x1:] = row[:x0], row[x1:]
    if same:
        canvas[y0:y1, x0:x1] = pixels
    else:
        _resized(pixels, size, crop, interpolation, canvas[y0:y1, x0:x1])
    return canvas


def _resized(
    pixels: Pixels | Plane, size: tuple[int, int], crop: Box, interpolation: Interpolation, out: Pixels | Plane | None = None
) -> Pixels | Plane:
    if interpolation != "nearest":
        return resize(pixels, size, crop, interpolation, out)
    shown = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST, box=crop))
    if out is not None:
        out[:] = shown
    return shown


def shown_box(geometry: Geometry) -> tuple[int, int, int, int]:
    """The whole pixels of the canvas that `draw` fills with image, (left, top, right, bottom); the rest is padding."""
    left, right = _whole(geometry.box[::2], geometry.width)
    top, bottom = _whole(geometry.box[1::2], geometry.height)
    return left, top, right, bottom


def _whole(box: Sequence[float], canvas: int) -> tuple[int, int]:
    first = min(round(box[0]), canvas - 1)
    return first, max(round(box[1]), first + 1)


def _span(
    present: int, source: int, crop: Sequence[float], box: Sequence[float], canvas: int
) -> tuple[tuple[float, float], int, int]:
    """Along one axis: the crop in the present pixels, and the whole pixels of the canvas that it goes to, one at least."""
    # A scaled decode is 1/n with the last pixel perhaps beyond the edge: 1001 gives 501, of which 500.5 are image.
    n = max(1, round(source / present))
    scale = 1 / n if -(-source // n) == present else present / source
    return (crop[0] * scale, min(crop[1] * scale, present)), *_whole(box, canvas)
