"""Where pixels go: the geometry of each policy, and the encoder at the end."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
import simplejpeg
import xxhash
from PIL import Image, ImageEnhance
from pydantic import Field

from pairloom.batch import Batch, Pixels
from pairloom.geometry import Geometry
from pairloom.step import ImageStep, Step, lift, step
from pairloom.steps.decode import geometry_cell

Side = Annotated[int, Field(gt=0, le=65_500)]
Fill = Literal["mean", "black", "white", "edge"] | tuple[int, int, int]
_COLOURS = {"mean": (122, 116, 104), "black": (0, 0, 0), "white": (255, 255, 255)}  # mean: CLIP's normaliser


class GeometryStep(ImageStep):
    """A step whose author writes `geometry(width, height)`; drawing it and writing it to the ledger happens here."""

    reads = ("width", "height", "geometry", "original_width", "original_height")
    fill: Fill = "mean"

    def geometry(self, width: int, height: int, key: str = "") -> Geometry:
        """Where an image of `width` x `height` goes; `key` seeds what is random."""
        raise NotImplementedError

    def needs(self, width: int, height: int) -> tuple[int, int] | None:
        scale = self.geometry(width, height).scale
        return math.ceil(width * min(scale[0], 1)), math.ceil(height * min(scale[1], 1))

    def image(self, pixels: Pixels, key: str = "") -> Pixels:
        """One image, RGB uint8 (h, w, 3), moved as `geometry` says."""
        return draw(pixels, self.geometry(pixels.shape[1], pixels.shape[0], key), self.fill)

    def __call__(self, batch: Batch) -> Batch:
        assert batch.pixels is not None
        maps = [self.geometry(w, h, key) for w, h, key in zip(batch["width"], batch["height"], batch["key"], strict=True)]
        results, rejects = lift(lambda job: draw(job[0], job[1], self.fill), list(zip(batch.pixels, maps, strict=True)))
        cells = []
        columns = (batch["geometry"], batch["original_width"], batch["original_height"], batch["width"], batch["height"])
        for one, cell, *sizes in zip(maps, *columns, strict=True):
            before = Geometry(sizes[0], sizes[1], tuple(cell["crop"]), sizes[2], sizes[3], tuple(cell["box"]))
            cells.append(geometry_cell(before.then(one)))
        batch = batch.with_columns({}, width=[m.width for m in maps], height=[m.height for m in maps], geometry=cells)
        pixels = [old if new is None else new for old, new in zip(batch.pixels or (), results, strict=True)]
        return batch.with_pixels(pixels).with_rejects(rejects)


@step("contain")
class Contain(GeometryStep):
    """Scale so that the longer side is `longest`; the ratio is kept, nothing is padded, nothing enlarged unless `upscale`."""

    longest: Side = 512
    upscale: bool = False

    def geometry(self, width: int, height: int, key: str = "") -> Geometry:
        return Geometry.resize((width, height), _fit(width, height, self.longest, self.upscale))


@step("letterbox")
class Letterbox(GeometryStep):
    """Fit the whole image into a square of `size` and pad the rest with `fill`; `box` of the geometry says where the image is."""

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
    """Squash the image to a square of `size`: the naive baseline, which changes every aspect ratio to 1."""

    size: Side = 512

    def geometry(self, width: int, height: int, key: str = "") -> Geometry:
        return Geometry.resize((width, height), (self.size, self.size))


@step("center_crop")
class CenterCrop(GeometryStep):
    """Scale the shorter side to `size` and keep the square in the middle (what CLIP was evaluated with)."""

    size: Side = 224

    def geometry(self, width: int, height: int, key: str = "") -> Geometry:
        side = min(width, height)
        return _square(width, height, (width - side) / 2, (height - side) / 2, side, self.size)


@step("random_crop")
class RandomCrop(GeometryStep):
    """A square of `size` from a random place that keeps the ratio; of the largest square at least `min_area` is kept.

    The place depends on `seed` and the pair's key alone, never on the batch.
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
    """Scale to multiples of `patch` within a budget of `max_patches`, the ratio nearly kept (NaFlex, SigLIP 2)."""

    patch: Side = 16
    max_patches: Annotated[int, Field(gt=0)] = 256
    upscale: bool = False

    def geometry(self, width: int, height: int, key: str = "") -> Geometry:
        scale = math.sqrt(self.max_patches * self.patch**2 / (width * height))
        scale = scale if self.upscale else min(scale, 1.0)
        columns = max(1, min(self.max_patches, int(width * scale / self.patch + 1e-9)))
        rows = max(1, min(self.max_patches // columns, int(height * scale / self.patch + 1e-9)))
        columns = min(columns, self.max_patches // rows)
        return Geometry.resize((width, height), (columns * self.patch, rows * self.patch))


@step("brightness_contrast")
class BrightnessContrast(Step):
    """Change brightness and contrast by random factors of 1 ± the given shares, seeded by `seed` and the pair's key."""

    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.1
    seed: int = 0

    reads: ClassVar[tuple[str, ...]] = ("key",)
    reads_pixels: ClassVar[bool] = True

    def image(self, pixels: Pixels, key: str = "") -> Pixels:
        """One image, RGB uint8 (h, w, 3)."""
        bright, contrast = _random(key, self.seed, 2)
        image: Image.Image = Image.fromarray(pixels)
        image = ImageEnhance.Brightness(image).enhance(1 + self.brightness * (2 * bright - 1))
        return np.array(ImageEnhance.Contrast(image).enhance(1 + self.contrast * (2 * contrast - 1)))

    def __call__(self, batch: Batch) -> Batch:
        assert batch.pixels is not None
        return batch.with_pixels([self.image(p, key) for p, key in zip(batch.pixels, batch["key"], strict=True)])


@step("encode")
class Encode(Step):
    """Encode the pixels once, at the end: `image` holds the new bytes, without any of the original's metadata."""

    format: Literal["jpeg", "webp", "png"] = "jpeg"
    quality: Annotated[int, Field(ge=1, le=100)] = 95

    reads: ClassVar[tuple[str, ...]] = ("image",)
    reads_pixels: ClassVar[bool] = True

    @property
    def suffix(self) -> str:
        """The file name suffix that readers expect."""
        return "jpg" if self.format == "jpeg" else self.format

    def image(self, pixels: Pixels) -> bytes:
        """The encoded file of one image, RGB uint8 (h, w, 3)."""
        if self.format == "jpeg":
            data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), self.quality, "RGB", "420")
            return data
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, self.format, quality=self.quality)
        return buffer.getvalue()

    def __call__(self, batch: Batch) -> Batch:
        assert batch.pixels is not None
        results, rejects = lift(self.image, batch.pixels)
        return batch.with_columns({}, image=results).with_pixels(None).with_rejects(rejects)


def draw(pixels: Pixels, geometry: Geometry, fill: Fill = "mean") -> Pixels:
    """Draw `pixels` as `geometry` says with one antialiased bicubic resize.

    `pixels` may show the source at another size (a scaled decode): the crop is scaled with it.
    """
    y_scale, x_scale = pixels.shape[0] / geometry.source_height, pixels.shape[1] / geometry.source_width
    left, top, right, bottom = geometry.crop
    crop = (left * x_scale, top * y_scale, min(right * x_scale, pixels.shape[1]), min(bottom * y_scale, pixels.shape[0]))
    x0, y0, x1, y1 = (round(value) for value in geometry.box)
    size = (x1 - x0, y1 - y0)
    if crop == (0, 0, *size) and pixels.shape[:2] == size[::-1]:
        shown = pixels
    else:
        shown = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, box=crop))
    if size == (geometry.width, geometry.height):
        return shown
    pad = ((y0, geometry.height - y1), (x0, geometry.width - x1), (0, 0))
    if fill == "edge":
        return np.pad(shown, pad, mode="edge")
    canvas = np.empty((geometry.height, geometry.width, 3), np.uint8)
    canvas[:] = _COLOURS[fill] if isinstance(fill, str) else fill
    canvas[y0:y1, x0:x1] = shown
    return canvas


def _fit(width: int, height: int, side: int, upscale: bool) -> tuple[int, int]:
    scale = side / max(width, height)
    scale = scale if upscale else min(scale, 1.0)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _square(width: int, height: int, left: float, top: float, side: float, size: int) -> Geometry:
    return Geometry(width, height, (left, top, left + side, top + side), size, size, (0.0, 0.0, float(size), float(size)))


def _random(key: str, seed: int, count: int) -> Sequence[float]:
    """`count` numbers in [0, 1) that depend on nothing but the key and the seed."""
    return [xxhash.xxh64_intdigest(f"{seed}:{index}:{key}".encode()) / 2**64 for index in range(count)]
