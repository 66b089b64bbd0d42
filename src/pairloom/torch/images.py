"""From the bytes of a stored image to the canvas a model sees, with the one geometry that says where everything went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from pairloom.batch import Pixels
from pairloom.drawing import draw, shown_box
from pairloom.errors import Reject
from pairloom.geometry import Box, Geometry
from pairloom.models.transform import ImageTransform, Size
from pairloom.step import Step
from pairloom.steps.decode import Decode
from pairloom.torch.augment import Augment
from pairloom.torch.plan import Counts


@dataclass(frozen=True, slots=True)
class Shown:
    """A canvas, RGB uint8 (h, w, 3), and the map from the stored image to it.

    Of a mirrored image the map's `crop` has its left side right of its right one, and maps points all the same.
    """

    pixels: Pixels
    geometry: Geometry


@dataclass(frozen=True)
class Images:
    """How images are shown: by `transform`, changed by `augment`, whole or as the recorded `tiles`."""

    transform: ImageTransform
    augment: Augment | None = None
    tiles: bool = False

    def show(self, data: bytes, box: Box, size: Size, tiles: Sequence[Box], rng: np.random.Generator) -> list[Shown]:
        """The canvases of one stored image: one, or one for each tile.

        `box` is the part of an image of `size` that is no padding; rng seeds the augmentation. Raises `Reject` as `decode` does.
        """
        decode = Decode().bind((_Needs(self, box, size),))
        decoded = decode.image(data)  # type: ignore[attr-defined]
        if (decoded.width, decoded.height) != size:
            raise Reject("unreadable", f"{decoded.width}x{decoded.height}, which should be {size[0]}x{size[1]}")
        return [self.drawn(decoded.pixels, part, size, rng) for part in (tiles if self.tiles else [box])]

    def show_file(self, data: bytes, rng: np.random.Generator) -> Shown:
        """The canvas of a whole file of any size, without recorded tiles. Raises `Reject` as `decode` does."""
        decoded = Decode().bind((_Needs(self),)).image(data)  # type: ignore[attr-defined]
        size = decoded.width, decoded.height
        return self.drawn(decoded.pixels, (0.0, 0.0, float(size[0]), float(size[1])), size, rng)

    def geometry(self, box: Box, size: Size) -> Geometry:
        """Where the part `box` of a stored image of `size` goes, before any augmentation."""
        width, height = max(1, round(box[2] - box[0])), max(1, round(box[3] - box[1]))
        if box == (0, 0, *size):
            return self.transform.geometry(width, height)
        part = Geometry(*size, box, width, height, (0.0, 0.0, float(width), float(height)))
        return part.then(self.transform.geometry(width, height))

    def drawn(self, pixels: Pixels, part: Box, size: Size, rng: np.random.Generator) -> Shown:
        """The canvas of one part of a decoded image, which may be a smaller one of an original of `size`."""
        geometry = self.geometry(part, size)
        if self.augment and not self.tiles:
            geometry = _inside(self.augment.geometry(_apart(geometry, part), rng), part, size)
        canvas = draw(pixels, geometry, self.transform.fill, self.transform.interpolation)
        return self._changed(canvas, geometry, rng) if self.augment else Shown(canvas, geometry)

    def _changed(self, canvas: Pixels, geometry: Geometry, rng: np.random.Generator) -> Shown:
        """Colours and mirroring of what is image; the padding stays as it is."""
        assert self.augment is not None
        left, top, right, bottom = shown_box(geometry)
        inside = self.augment.colours(np.ascontiguousarray(canvas[top:bottom, left:right]), rng)
        if self.augment.mirrors(rng) and not self.tiles:
            inside = inside[:, ::-1]
            x0, y0, x1, y1 = geometry.crop
            geometry = replace(geometry, crop=(x1, y0, x0, y1))
        canvas = np.array(canvas)
        canvas[top:bottom, left:right] = inside
        return Shown(canvas, geometry)


@dataclass(frozen=True)
class _Needs(Step):
    """Tells `decode` how many pixels of the image are wanted: of all of it, or of the part `box` of one of `size`."""

    images: Images
    box: Box | None = None
    size: Size | None = None
    changes_pixels: ClassVar[bool] = True

    def needs(self, width: int, height: int) -> Size:
        box, size = self.box or (0.0, 0.0, float(width), float(height)), self.size or (width, height)
        if self.images.tiles or (width, height) != size:
            return width, height
        zoom = 1 / math.sqrt(self.images.augment.min_area) if self.images.augment else 1.0
        x, y = (min(1.0, scale * zoom) for scale in self.images.geometry(box, size).scale)
        return math.ceil(width * x), math.ceil(height * y)


def _apart(geometry: Geometry, part: Box) -> Geometry:
    """The same map from the part alone, so that a crop never reaches into stored padding."""
    x, y = part[:2]
    left, top, right, bottom = geometry.crop
    crop = (left - x, top - y, right - x, bottom - y)
    return replace(geometry, source_width=round(part[2] - x), source_height=round(part[3] - y), crop=crop)


def _inside(geometry: Geometry, part: Box, size: Size) -> Geometry:
    """The map from the whole stored image that does what one from the part does."""
    left, top, right, bottom = geometry.crop
    crop = (left + part[0], top + part[1], min(right + part[0], float(size[0])), min(bottom + part[1], float(size[1])))
    return replace(geometry, source_width=size[0], source_height=size[1], crop=crop)


def image_lengths(transform: ImageTransform, content: npt.NDArray[np.int32], patch_multiple: int = 1) -> tuple[Counts, Counts]:
    """For images of (width, height), int32 (n, 2): the bucket each belongs to, int32 (n,), and the rows and columns of patches
    that it takes in a batch, int32 (n, 2); native patches are one column, padded to a multiple."""
    sizes, place = np.unique(content, axis=0, return_inverse=True)
    geometries = [transform.geometry(int(width), int(height)) for width, height in sizes]
    grids = -(-np.array([(one.height, one.width) for one in geometries], np.int64).reshape(-1, 2) // transform.patch)
    if transform.mode == "naflex":
        patches = grids.prod(1)
        buckets = -(-patches // max(1, transform.max_patches // 8))
        padded = np.minimum(-(-patches // patch_multiple) * patch_multiple, np.maximum(patches, transform.max_patches))
        grids = np.stack([padded, np.ones_like(padded)], 1)
    else:
        buckets = np.unique(grids, axis=0, return_inverse=True)[1].reshape(-1) if len(grids) else grids[:, 0]
    place = place.reshape(-1)
    return buckets[place].astype(np.int32), grids[place].astype(np.int32)
