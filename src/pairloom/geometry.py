"""Where the pixels of an image went: one object for preparing, scoring, loading and comparing.

A geometry says: cut `crop` out of an image of `source_width` x `source_height`, scale it onto `box`, a part of a canvas of
`width` x `height`, and leave the rest of the canvas as padding. Two of them in a row are again one, and each maps points
both ways, so that a box found in the prepared image can be drawn on the original.

Coordinates are pixels with the origin at the top left corner of the top left pixel; boxes are (left, top, right, bottom).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Geometry:
    """An axis-aligned map from a source image to a canvas; see the module's text for the meaning of the fields."""

    source_width: int
    source_height: int
    crop: Box
    width: int
    height: int
    box: Box

    @classmethod
    def identity(cls, width: int, height: int) -> Geometry:
        """The map that changes nothing."""
        whole = (0.0, 0.0, float(width), float(height))
        return cls(width, height, whole, width, height, whole)

    @classmethod
    def resize(cls, source: tuple[int, int], size: tuple[int, int]) -> Geometry:
        """Scale the whole image of `source` = (width, height) to `size`."""
        whole = (0.0, 0.0, float(source[0]), float(source[1]))
        return cls(*source, whole, *size, (0.0, 0.0, float(size[0]), float(size[1])))

    @property
    def scale(self) -> tuple[float, float]:
        """Canvas pixels per source pixel, horizontally and vertically."""
        crop, box = self.crop, self.box
        return (box[2] - box[0]) / (crop[2] - crop[0]), (box[3] - box[1]) / (crop[3] - crop[1])

    @property
    def distortion(self) -> float:
        """How much the aspect ratio changed: 1 is none, 2 means twice as wide or as tall as it was."""
        x, y = self.scale
        return max(x / y, y / x)

    @property
    def lost(self) -> float:
        """Share of the source's area that was cropped away, 0 to 1."""
        return max(0.0, 1.0 - _area(self.crop) / (self.source_width * self.source_height))

    @property
    def padded(self) -> float:
        """Share of the canvas that shows no image, 0 to 1."""
        return max(0.0, 1.0 - _area(self.box) / (self.width * self.height))

    def to_canvas(self, x: float, y: float) -> tuple[float, float]:
        """A point of the source in canvas coordinates (outside `box` if it was cropped away)."""
        sx, sy = self.scale
        return (x - self.crop[0]) * sx + self.box[0], (y - self.crop[1]) * sy + self.box[1]

    def to_source(self, x: float, y: float) -> tuple[float, float]:
        """A point of the canvas in source coordinates (outside `crop` if it lies in the padding)."""
        sx, sy = self.scale
        return (x - self.box[0]) / sx + self.crop[0], (y - self.box[1]) / sy + self.crop[1]

    def then(self, following: Geometry) -> Geometry:
        """The one map that does this and afterwards `following`, whose source is this canvas.

        Raises:
            ValueError: if `following` expects another size, or shows nothing of the image.
        """
        if (following.source_width, following.source_height) != (self.width, self.height):
            raise ValueError(f"a map from {following.source_width}x{following.source_height} can't follow one to "
                             f"{self.width}x{self.height}")  # fmt: skip
        left, top = max(self.box[0], following.crop[0]), max(self.box[1], following.crop[1])
        right, bottom = min(self.box[2], following.crop[2]), min(self.box[3], following.crop[3])
        if left >= right or top >= bottom:
            raise ValueError("nothing of the image is left")
        crop = (*self.to_source(left, top), *self.to_source(right, bottom))
        box = (*following.to_canvas(left, top), *following.to_canvas(right, bottom))
        return Geometry(self.source_width, self.source_height, crop, following.width, following.height, box)


def patch_grid(width: int, height: int, patch: int, max_patches: int) -> tuple[int, int]:
    """The most patches (columns, rows) of `patch` pixels that show an image of that size within a budget, its ratio nearly kept.

    Searches as SigLIP 2's processor does, so that both round alike.
    """
    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        scale = (low + high) / 2
        within = math.ceil(width * scale / patch) * math.ceil(height * scale / patch) <= max_patches
        low, high = (scale, high) if within else (low, scale)
    return max(1, math.ceil(width * low / patch)), max(1, math.ceil(height * low / patch))


def smart_size(width: int, height: int, factor: int, pixels: tuple[int, int]) -> tuple[int, int]:
    """Width and height in multiples of `factor`, of at least `pixels[0]` and at most `pixels[1]` pixels, the ratio nearly kept.

    Rounds as `smart_resize` of Qwen's processors does, so that they leave the result as it is.
    """
    wide, high = round(width / factor) * factor, round(height / factor) * factor
    if wide * high > pixels[1]:
        beta = math.sqrt((height * width) / pixels[1])
        wide, high = (max(factor, math.floor(side / beta / factor) * factor) for side in (width, height))
    elif wide * high < pixels[0]:
        beta = math.sqrt(pixels[0] / (height * width))
        wide, high = (math.ceil(side * beta / factor) * factor for side in (width, height))
    return wide, high


def best_canvas(width: int, height: int, canvases: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The one of `canvases` (width, height) on which most pixels of an image are kept when it is fitted in, and of those the
    one that wastes least; the first of equals.

    Rounds as `select_best_resolution` of LLaVA-NeXT's processor does.
    """

    def worth(canvas: tuple[int, int]) -> tuple[int, int]:
        scale = min(canvas[0] / width, canvas[1] / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - canvas[0] * canvas[1]

    return max(canvases, key=worth)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
