"""What a checkpoint does to an image before its tower sees it, as one geometry, one resize and one normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from pairloom.batch import Pixels
from pairloom.drawing import Interpolation, draw
from pairloom.geometry import Geometry, patch_grid, smart_size

Array = npt.NDArray[np.float32]
Mode = Literal["squash", "shortest", "letterbox", "buckets", "naflex", "smart"]
Size = tuple[int, int]
"""Width and height in pixels."""

_WHOLE = 1 << 22  # pixels that a scaled image may have before only the part on the canvas is drawn (a strip 80 times as long)


@dataclass(frozen=True)
class ImageTransform:
    """The preprocessing of one checkpoint; sizes are (width, height) in pixels.

    * `squash`: scale to `resize` whatever the ratio.
    * `shortest`: scale so that the shorter side is that of `resize`, the longer one rounded down; the ratio is kept.
    * `letterbox`: scale to fit into `resize`; the ratio is kept.
    * `buckets`: scale to the one of `buckets` whose ratio is nearest, changing the ratio by a factor of `distortion` at most;
      what then is missing is padded.
    * `naflex`: scale to multiples of `patch`, as many patches as `max_patches` allows, the ratio nearly kept (SigLIP 2);
      `size` is that of a square image.
    * `smart`: scale to multiples of `patch` with as many pixels in all as `pixels` allows, least and most, the ratio nearly
      kept (Qwen2-VL); `size` is that of a square image with the most.

    In the first three modes the middle of the result is then cut to `size`, or padded to it with `fill`. Where the margin is
    odd, the cut lies `down` (transformers) or at the nearest `even` pixel (torchvision, open_clip), and the wider padding
    lies before or after the image likewise.
    """

    mode: Mode
    size: Size
    resize: Size
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bicubic"
    fill: tuple[int, int, int] = (0, 0, 0)
    rounding: Literal["down", "even"] = "down"
    buckets: tuple[Size, ...] = ()
    patch: int = 16
    max_patches: int = 256
    distortion: float = field(default=math.inf, repr=False)  # what is usual must not change the fingerprints of models
    pixels: tuple[int, int] = field(default=(1, _WHOLE), repr=False)

    def geometry(self, width: int, height: int) -> Geometry:
        """Where an image of `width` x `height` goes on the model's canvas."""
        scaled = self._scaled(width, height)
        return Geometry.resize((width, height), scaled).then(self._on_canvas(scaled, self._canvas(width, height, scaled)))

    def rules(self) -> str:
        """All that decides what becomes of an image, for a fingerprint."""
        more = [] if math.isinf(self.distortion) else [self.distortion]
        return " ".join(map(str, [repr(self), *more, *(self.pixels if self.mode == "smart" else ())]))

    def needs(self, width: int, height: int) -> Size:
        """The smallest decoded size that serves an original of `width` x `height`: no more than that, no less than is drawn."""
        x, y = self.geometry(width, height).scale
        # a hair is taken off, since 224 pixels of 500 computed there and back are 224.00000000000003
        return math.ceil(width * min(x, 1) - 1e-9), math.ceil(height * min(y, 1) - 1e-9)

    def draw(self, pixels: Pixels) -> Pixels:
        """The canvas as the tower sees it, RGB uint8 (h, w, 3), before normalisation.

        Raises:
            Reject: too_many_pixels, where a canvas would be larger than 8192 x 8192.
        """
        source = pixels.shape[1], pixels.shape[0]
        scaled = self._scaled(*source)
        if math.prod(scaled) > _WHOLE:
            return draw(pixels, self.geometry(*source), self.fill, self.interpolation)
        # Scaled whole and then cut, as processors do, no value differs from theirs; in one go a few do, by 1 of 255.
        whole = draw(pixels, Geometry.resize(source, scaled), interpolation=self.interpolation)
        return draw(whole, self._on_canvas(scaled, self._canvas(*source, scaled)), self.fill)

    def apply(self, pixels: Pixels) -> Array:
        """RGB uint8 (h, w, 3) of any size as the model's input, float32 (3, height, width)."""
        return self.normalise(self.draw(pixels))

    def normalise(self, canvas: Pixels) -> Array:
        """A canvas that `draw` made, RGB uint8 (h, w, 3), as the model's input, float32 (3, h, w)."""
        values = canvas.transpose(2, 0, 1).astype(np.float32, "C")  # first: each plane has one mean
        mean, std = (np.array(three, np.float32)[:, None, None] for three in (self.mean, self.std))
        values *= np.float32(1 / 255)
        values -= mean
        values /= std
        return values

    def patches(
        self, inputs: Sequence[Array], length: int | None = None
    ) -> tuple[Array, npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """What `apply` made, n arrays of any shape, as NaFlex towers take it; `length` is `max_patches` unless given.

        Returns the patches, float32 (n, length, patch * patch * 3), a row of patches after the other, filled up with zeros;
        the mask of real ones, int32 (n, length); and how many there are, int64 (n, 2) as (rows, columns).
        """
        length = length or self.max_patches
        patches = np.zeros((len(inputs), length, 3 * self.patch**2), np.float32)
        mask = np.zeros((len(inputs), length), np.int32)
        shapes = np.zeros((len(inputs), 2), np.int64)
        for number, values in enumerate(inputs):
            rows, columns = shapes[number] = values.shape[1] // self.patch, values.shape[2] // self.patch
            cells = values.reshape(3, rows, self.patch, columns, self.patch).transpose(1, 3, 2, 4, 0)
            patches[number, : rows * columns] = cells.reshape(rows * columns, -1)
            mask[number, : rows * columns] = 1
        return patches, mask, shapes

    def _scaled(self, width: int, height: int) -> Size:
        """The size of the whole image after scaling, before anything is cut off or padded."""
        if self.mode == "shortest":
            return _shortest(width, height, self.resize)
        if self.mode == "letterbox":
            ratio = max(width / self.resize[0], height / self.resize[1])
            return max(1, round(width / ratio)), max(1, round(height / ratio))
        if self.mode == "buckets":
            return self._within(width, height, self._bucket(width, height))
        if self.mode == "naflex":
            columns, rows = patch_grid(width, height, self.patch, self.max_patches)
            return columns * self.patch, rows * self.patch
        if self.mode == "smart":
            return smart_size(width, height, self.patch, self.pixels)
        return self.resize

    def _bucket(self, width: int, height: int) -> Size:
        return min(self.buckets, key=lambda size: (abs(math.log(size[0] * height / (size[1] * width))), size))

    def _within(self, width: int, height: int, canvas: Size) -> Size:
        """The largest size inside the canvas whose ratio is at most `distortion` times that of the image, or that part of it."""
        wider = canvas[0] * height / (canvas[1] * width)  # how much wider than the image the canvas is
        excess = max(wider, 1 / wider) / self.distortion
        if excess <= 1:
            return canvas
        # rounded down, towards the image's own ratio; a hair is added, since 80 computed there and back may be 79.99999999999999
        width, height = (max(1, int(side / excess + 1e-9)) for side in canvas)
        return (width, canvas[1]) if wider > 1 else (canvas[0], height)

    def _canvas(self, width: int, height: int, scaled: Size) -> Size:
        if self.mode in ("naflex", "smart"):
            return scaled
        return self._bucket(width, height) if self.mode == "buckets" else self.size

    def _on_canvas(self, scaled: Size, canvas: Size) -> Geometry:
        """What is cut off or padded after scaling."""
        left, right, x0, x1 = self._middle(scaled[0], canvas[0])
        top, bottom, y0, y1 = self._middle(scaled[1], canvas[1])
        return Geometry(*scaled, (left, top, right, bottom), *canvas, (x0, y0, x1, y1))

    def _middle(self, scaled: int, canvas: int) -> tuple[float, float, float, float]:
        """Along one axis: the part of the scaled image that is kept, and where on the canvas it goes."""
        margin = scaled - canvas
        if margin >= 0:
            first = margin // 2 if self.rounding == "down" else round(margin / 2)
            return first, first + canvas, 0, canvas
        first = (1 - margin) // 2 if self.rounding == "down" else -margin // 2
        return 0, scaled, first, first + scaled


def _shortest(width: int, height: int, resize: Size) -> Size:
    if resize[0] != resize[1]:  # open_clip's rule for canvases that are no squares
        ratio = min(width / resize[0], height / resize[1])
        return round(width / ratio), round(height / ratio)
    short, long = min(width, height), max(width, height)
    longer = int(resize[0] * long / short)
    return (resize[0], longer) if width <= height else (longer, resize[0])
