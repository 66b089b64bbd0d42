"""Where pixels go: the geometry of each policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
import xxhash
from PIL import Image, ImageEnhance
from pydantic import Field

from pairloom.batch import Batch, Pixels
from pairloom.drawing import Fill, Interpolation, draw
from pairloom.errors import Reject
from pairloom.geometry import Geometry, patch_grid
from pairloom.planes import Ahead, Picture
from pairloom.step import ImageStep, Step, lift, step
from pairloom.steps.decode import geometry_cell

Side = Annotated[int, Field(gt=0, le=65_500)]
_STALE = {"tiles": "tiles", "image_tokens": "token_ratio"}  # columns that speak of the size, and the steps that write them


class GeometryStep(ImageStep):
    """A step whose author writes `geometry(width, height)`; drawing it and writing it to the ledger happens here."""

    reads = ("width", "height", "geometry", "original_width", "original_height")
    takes_planes = True
    fill: Fill = "mean"
    interpolation: Interpolation = "bicubic"

    def geometry(self, width: int, height: int, key: str = "") -> Geometry:
        """Where an image of `width` x `height` goes; `key` seeds what is random."""
        raise NotImplementedError

    def needs(self, width: int, height: int) -> tuple[int, int] | None:
        scale = self.geometry(width, height).scale
        return math.ceil(width * min(scale[0], 1)), math.ceil(height * min(scale[1], 1))

    def ahead(self, picture: Picture | Ahead, width: int, height: int, key: str) -> Ahead | None:
        if isinstance(picture, Ahead) or type(self).__call__ is not GeometryStep.__call__:
            return None
        return Ahead(draw(picture, self.geometry(width, height, key), self.fill, self.interpolation))

    def problems(self, columns: set[str]) -> list[str]:
        """What is wrong with this step's place, given the columns there are."""
        return [f"changes the size that `{column}` speaks of: put `{maker}` after it"
                for column, maker in _STALE.items() if column in columns]  # fmt: skip

    def image(self, pixels: Pixels, key: str = "") -> Pixels:
        """One image, RGB uint8 (h, w, 3), moved as `geometry` says. Raises `Reject`: too_many_pixels."""
        return draw(pixels, self.geometry(pixels.shape[1], pixels.shape[0], key), self.fill, self.interpolation)

    def __call__(self, batch: Batch) -> Batch:
        assert batch.pictures is not None
        ledger = [batch[name] for name in ("key", "width", "height", "original_width", "original_height", "geometry")]
        results, rejects = lift(self._one, list(zip(batch.pictures, *ledger, strict=True)))
        now = zip(*(batch[name] for name in ("width", "height", "geometry")), batch.pictures, strict=True)
        done = [old if new is None else new for old, new in zip(now, results, strict=True)]
        width, height, geometry, pixels = ([one[place] for one in done] for place in range(4))
        return batch.with_columns({}, width=width, height=height, geometry=geometry).with_pixels(pixels).with_rejects(rejects)

    def _one(self, row: tuple[Any, ...]) -> tuple[int, int, dict[str, object], Picture | Ahead]:
        pixels, key, width, height, original_width, original_height, cell = row
        moved = self.geometry(width, height, key)
        before = Geometry(original_width, original_height, tuple(cell["crop"]), width, height, tuple(cell["box"]))
        try:
            whole = before.then(moved)
        except ValueError as fault:  # such as a crop from the padding of an earlier letterbox
            raise Reject("nothing_left", str(fault)) from None
        if isinstance(pixels, Ahead):
            drawn: Picture | Ahead = pixels if isinstance(pixels.made, bytes) else pixels.made
        else:
            drawn = draw(pixels, moved, self.fill, self.interpolation)
        return moved.width, moved.height, geometry_cell(whole), drawn


@step("contain")
class Contain(GeometryStep):
    """Scale so that the longer side is `longest`; the ratio is kept, nothing is padded, nothing enlarged unless `upscale`.

    Example: `contain: {longest: 384}`
    """

    longest: Side = 512
    upscale: bool = False

    def geometry(self, width: int, height: int, key: str = "") -> Geometry:
        return Geometry.resize((width, height), _fit(width, height, self.longest, self.upscale))


@step("letterbox")
class Letterbox(GeometryStep):
    """Fit the whole image into a square of `size` and pad the rest with `fill`; `box` of the geometry says where the image is.

    Example: `letterbox: {size: 384, fill: black}`
    """

    size: Side = 512
    fill: Fill = "mean"
    upscale: bool = True

    def geometry(self, width: int, height: int, key: str = "") -> Geometry:
        w, h = _fit(width, height, self.size, self.upscale)
        left, top = (self.size - w) // 2, (self.size - h) // 2
        box = (float(left), float(top), float(left + w), float(top + h))
        return Geometry(width, height, (0.0, 0.0, float(width), float(height)), self.size, self.size, box)


@step("stretch")
class Stretch(GeometryStep):
    """Squash the image to a square of `size`: the naive baseline, which changes every aspect ratio to 1.

    Example: `stretch: {size: 224}`
    """

    size: Side = 512

    def geometry(self, width: int, height: int, key: str = "") -> Geometry:
        return Geometry.resize((width, height), (self.size, self.size))


@step("center_crop")
class CenterCrop(GeometryStep):
    """Scale the shorter side to `size` and keep the square in the middle (what CLIP was evaluated with).

    Example: `center_crop: {size: 336}`
    """

    size: Side = 224

    def geometry(self, width: int, height: int, key: str = "") -> Geometry:
        side = min(width, height)
        return _square(width, height, (width - side) / 2, (height - side) / 2, side, self.size)


@step("random_crop")
class RandomCrop(GeometryStep):
    """A square of `size` from a random place that keeps the ratio; of the largest square at least `min_area` is kept.

    The place depends on `seed` and the pair's key alone, never on the batch.

    Example: `random_crop: {size: 224, min_area: 0.8}`
    """

    size: Side = 224
    min_area: Annotated[float, Field(gt=0, le=1)] = 0.9
    seed: int = 0

    def geometry(self, width: int, height: int, key: str = "") -> Geometry:
        share, x, y = _random(key, self.seed, 3)
        side = min(width, height) * math.sqrt(self.min_area + share * (1 - self.min_area))
        return _square(width, height, x * (width - side), y * (height - side), side, self.size)

    def needs(self, width: int, height: int) -> tuple[int, int] | None:
        scale = min(1.0, self.size / (min(width, height) * math.sqrt(self.min_area)))
        return math.ceil(width * scale), math.ceil(height * scale)


@step("native_patches")
class NativePatches(GeometryStep):
    """Scale to multiples of `patch` within a budget of `max_patches`, the ratio nearly kept (NaFlex).

    With `upscale` the sizes are those of SigLIP 2's processor, which fills the budget. Without it no side grows, save that
    one shorter than a patch becomes one patch; larger images get the processor's sizes, so that it leaves them as they are.
    That processor's `interpolation` is bilinear.

    Example: `native_patches: {patch: 16, max_patches: 576}`
    """

    patch: Side = 16
    max_patches: Annotated[int, Field(gt=0)] = 256
    upscale: bool = False
    interpolation: Interpolation = "bicubic"

    def geometry(self, width: int, height: int, key: str = "") -> Geometry:
        columns, rows = self._grid(width, height)
        return Geometry.resize((width, height), (columns * self.patch, rows * self.patch))

    def _grid(self, width: int, height: int) -> tuple[int, int]:
        columns, rows = patch_grid(width, height, self.patch, self.max_patches)
        if self.upscale:
            return columns, rows
        return min(columns, max(1, width // self.patch)), min(rows, max(1, height // self.patch))


@step("brightness_contrast")
class BrightnessContrast(Step):
    """Change brightness and contrast by random factors of 1 ± the given shares, seeded by `seed` and the pair's key.

    Example: `brightness_contrast: {brightness: 0.2, contrast: 0.1}`
    """

    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.1
    seed: int = 0

    reads: ClassVar[tuple[str, ...]] = ("key",)
    reads_pixels: ClassVar[bool] = True
    changes_pixels: ClassVar[bool] = True

    def needs(self, width: int, height: int) -> tuple[int, int] | None:
        return None  # it works on any size alike, so what comes after it decides

    def image(self, pixels: Pixels, key: str = "") -> Pixels:
        """One image, RGB uint8 (h, w, 3)."""
        bright, contrast = _random(key, self.seed, 2)
        image: Image.Image = Image.fromarray(pixels)
        image = ImageEnhance.Brightness(image).enhance(1 + self.brightness * (2 * bright - 1))
        return np.array(ImageEnhance.Contrast(image).enhance(1 + self.contrast * (2 * contrast - 1)))

    def __call__(self, batch: Batch) -> Batch:
        assert batch.pixels is not None
        before = batch.pixels
        results, rejects = lift(lambda job: self.image(*job), list(zip(before, batch["key"], strict=True)))
        pixels = [old if new is None else new for old, new in zip(before, results, strict=True)]
        return batch.with_pixels(pixels).with_rejects(rejects)


@step("token_ratio")
class TokenRatio(Step):
    """Add `image_tokens`, patches of the stored image, and `token_ratio`, those for each text token with begin and end mark.

    The further apart the two are, the more of a batch is padding. Put it after the last geometry step.

    Example: `token_ratio: {patch: 14}`
    """

    patch: Side = 16

    reads: ClassVar[tuple[str, ...]] = ("width", "height", "tokens_kept")
    adds: ClassVar[dict[str, pa.DataType]] = {"image_tokens": pa.int32(), "token_ratio": pa.float32()}

    def tokens(self, width: int, height: int) -> int:
        """Patches that cover an image of `width` x `height`."""
        return -(-width // self.patch) * -(-height // self.patch)

    def __call__(self, batch: Batch) -> Batch:
        image = [self.tokens(width, height) for width, height in zip(batch["width"], batch["height"], strict=True)]
        text = [max(1, (kept or 0) + 2) for kept in batch["tokens_kept"]]
        ratio = [ours / theirs for ours, theirs in zip(image, text, strict=True)]
        return batch.with_columns(self.adds, image_tokens=image, token_ratio=ratio)


def _fit(width: int, height: int, side: int, upscale: bool) -> tuple[int, int]:
    scale = side / max(width, height)
    scale = scale if upscale else min(scale, 1.0)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _square(width: int, height: int, left: float, top: float, side: float, size: int) -> Geometry:
    crop = (left, top, min(left + side, float(width)), min(top + side, float(height)))  # sums may round to beyond the edge
    return Geometry(width, height, crop, size, size, (0.0, 0.0, float(size), float(size)))


def _random(key: str, seed: int, count: int) -> Sequence[float]:
    """`count` numbers in [0, 1) that depend on nothing but the key and the seed."""
    return [xxhash.xxh64_intdigest(f"{seed}:{index}:{key}".encode()) / 2**64 for index in range(count)]
