"""An image as a JPEG holds it, so that its colours need not be turned into RGB and back on the way to another JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pairloom.batch import Pixels
from pairloom.resize import Plane, halve, resize, to_rgb


@dataclass(frozen=True, slots=True)
class Planes:
    """Lightness and two colours (YCbCr as in JFIF), uint8 (h, w) each. The colours may be of half the width, or half the size."""

    y: Plane
    cb: Plane
    cr: Plane

    @property
    def shape(self) -> tuple[int, int, int]:
        """That of the same image in RGB: (height, width, 3)."""
        return (*self.y.shape, 3)

    def rgb(self) -> Pixels:
        """The image in RGB, uint8 (h, w, 3): smaller colours enlarged by the bicubic filter, then the formulas of JFIF."""
        return to_rgb(self.y, self._enlarged(self.cb), self._enlarged(self.cr))

    def subsampled(self) -> Planes:
        """The same with colours of half the width and height, rounded up, as 4:2:0 has them: means of four neighbours."""
        half = (-(-self.y.shape[0] // 2), -(-self.y.shape[1] // 2))
        if self.cb.shape == self.cr.shape == half:
            return self
        return Planes(self.y, halve(self._enlarged(self.cb)), halve(self._enlarged(self.cr)))

    def _enlarged(self, colour: Plane) -> Plane:
        size = (self.y.shape[1], self.y.shape[0])
        if colour.shape == self.y.shape:
            return colour
        # at an odd edge the last of the smaller samples lies half beyond the image
        right, bottom = (whole / round(whole / part) for whole, part in zip(size, colour.shape[::-1], strict=True))
        return resize(colour, size, (0.0, 0.0, right, bottom))


def to_ycc(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """A colour, red, green and blue, in YCbCr as in JFIF."""
    red, green, blue = colour
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    return round(light), round(128 + (blue - light) / 1.772), round(128 + (red - light) / 1.402)


Picture = Pixels | Planes
"""What flows between `decode` and `encode`: RGB pixels, or planes where every step in between takes them."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """What the next step that looks at a picture makes of it, or the file, where that is encoded next: made right behind the
    decoding, while all is in the processor's cache. The steps take it when it is their turn."""

    made: Picture | bytes


def rgb(picture: Picture | Ahead) -> Pixels:
    """Any picture as RGB pixels, uint8 (h, w, 3)."""
    if isinstance(picture, Ahead):
        made = picture.made
        return np.array(Image.open(io.BytesIO(made)).convert("RGB")) if isinstance(made, bytes) else rgb(made)
    return picture if isinstance(picture, np.ndarray) else picture.rgb()
