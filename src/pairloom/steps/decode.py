"""From the bytes of a file to upright sRGB pixels, by content and within limits."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import pyarrow as pa
import simplejpeg
from PIL import Image, ImageCms, ImageOps
from pydantic import Field

from pairloom.batch import Batch, Pixels
from pairloom.errors import Reject
from pairloom.geometry import Geometry
from pairloom.step import Step, lift, step

GEOMETRY = pa.struct(
    [
        ("crop", pa.list_(pa.float64())),
        ("box", pa.list_(pa.float64())),
        ("lost", pa.float64()),
        ("padded", pa.float64()),
        ("distortion", pa.float64()),
    ]
)
"""A `Geometry` from the upright original to the stored image: its two boxes, and what it cost."""

_MARGIN = 1.5  # a scaled decode that lands just above the target costs quality (measured: 3 dB); with this it doesn't
_TRANSPOSED = {5, 6, 7, 8}
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000", "MPO")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels of at least the size asked for, and what the file said: upright width and height, EXIF orientation, format."""

    pixels: Pixels
    width: int
    height: int
    orientation: int
    format: str


@step("decode")
class Decode(Step):
    """Decode each image by its content: EXIF orientation applied, ICC profile to sRGB, transparency composited on `background`.

    CMYK, palette, grey, 16-bit and alpha become RGB; of an animation the first frame is taken. The header is held against
    `max_pixels` and `max_bytes` before anything is decoded. A truncated file is rejected unless `allow_truncated`.
    JPEGs are decoded at a power-of-two fraction where the later steps need no more.
    """

    background: tuple[int, int, int] = (255, 255, 255)
    max_pixels: Annotated[int, Field(gt=0)] = 50_000_000
    max_bytes: Annotated[int, Field(gt=0)] = 67_108_864
    allow_truncated: bool = False

    reads: ClassVar[tuple[str, ...]] = ("image",)
    changes_pixels: ClassVar[bool] = True
    adds: ClassVar[dict[str, pa.DataType]] = {
        "sha256": pa.string(),
        "format": pa.string(),
        "orientation": pa.int32(),
        "original_width": pa.int32(),
        "original_height": pa.int32(),
        "width": pa.int32(),
        "height": pa.int32(),
        "geometry": GEOMETRY,
    }
    following: ClassVar[tuple[Step, ...]] = ()

    def bind(self, following: Sequence[Step]) -> Step:
        bound = replace(self)
        object.__setattr__(bound, "following", tuple(following))
        return bound

    def image(self, data: bytes) -> Decoded:
        """Decode one file. Raises `Reject`: empty_image, too_many_bytes, too_many_pixels, not_an_image, truncated."""
        if not data:
            raise Reject("empty_image", "the file has no bytes")
        if len(data) > self.max_bytes:
            raise Reject("too_many_bytes", f"{len(data)} bytes, the limit is {self.max_bytes}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = self._open(data)
            try:
                return self._decode(image, data)
            except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, MemoryError) as fault:
                code = "truncated" if "truncat" in str(fault).lower() else "undecodable"
                raise Reject(code, f"{image.format}: {fault}") from None

    def __call__(self, batch: Batch) -> Batch:
        images = batch["image"]
        results, rejects = lift(self.image, images)
        nothing = Decoded(np.zeros((1, 1, 3), np.uint8), 1, 1, 1, "")
        done = [result or nothing for result in results]
        batch = batch.with_columns(
            self.adds,
            sha256=[hashlib.sha256(image or b"").hexdigest() for image in images],
            format=[one.format for one in done],
            orientation=[one.orientation for one in done],
            original_width=[one.width for one in done],
            original_height=[one.height for one in done],
            width=[one.width for one in done],
            height=[one.height for one in done],
            geometry=[geometry_cell(Geometry.identity(one.width, one.height)) for one in done],
        )
        return batch.with_pixels([one.pixels for one in done]).with_rejects(rejects)

    def _open(self, data: bytes) -> Image.Image:
        try:
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
        except Image.DecompressionBombError as fault:
            raise Reject("too_many_pixels", str(fault)) from None
        except (OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError):
            raise Reject("not_an_image", f"the file begins with {data[:16]!r}") from None
        if image.width * image.height > self.max_pixels:
            raise Reject("too_many_pixels", f"{image.width}x{image.height}, the limit is {self.max_pixels} pixels")
        return image

    def _decode(self, image: Image.Image, data: bytes) -> Decoded:
        orientation = int(image.getexif().get(0x0112, 1))
        orientation = orientation if 1 <= orientation <= 8 else 1
        width, height, kind = image.width, image.height, str(image.format)
        upright = (height, width) if orientation in _TRANSPOSED else (width, height)
        profile = image.info.get("icc_profile")
        if (
            kind in ("JPEG", "MPO")
            and image.mode in ("RGB", "L")
            and (profile is None or _is_srgb(profile))
            and not self.allow_truncated
        ):
            image = Image.fromarray(self._jpeg(data, width, height, orientation in _TRANSPOSED))
        else:
            image = self._slow(image, profile)
        if orientation != 1:
            image.getexif()[0x0112] = orientation
            image = ImageOps.exif_transpose(image)
        return Decoded(np.array(image), *upright, orientation, kind.lower())

    def _jpeg(self, data: bytes, width: int, height: int, transposed: bool) -> Pixels:
        shrink = self._shrink(*((height, width) if transposed else (width, height)))
        size = {"min_width": -(-width // shrink), "min_height": -(-height // shrink)} if shrink > 1 else {}
        try:
            pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", **size)
        except ValueError as fault:
            code = "truncated" if "premature" in str(fault).lower() else "undecodable"
            raise Reject(code, f"JPEG: {fault}") from None
        return pixels

    def _shrink(self, width: int, height: int) -> int:
        """The largest of 1, 2, 4, 8 that leaves every later step `_MARGIN` times the pixels it needs."""
        wanted = (0.0, 0.0)
        for later in self.following:
            need = later.needs(width, height)
            if need:
                wanted = (max(wanted[0], need[0] * _MARGIN), max(wanted[1], need[1] * _MARGIN))
            if need and later.changes_pixels:
                break
        else:
            return 1
        return max(n for n in (1, 2, 4, 8) if n == 1 or (width / n >= wanted[0] and height / n >= wanted[1]))

    def _slow(self, image: Image.Image, profile: bytes | None) -> Image.Image:
        image.seek(0)
        image.load()
        if image.mode.startswith(("I", "F")):  # 16-bit grey: keep the upper 8 bits instead of Pillow's clipping
            values = np.asarray(image).astype(np.float64)
            image = Image.fromarray((values / 257.0 if image.mode.startswith("I") else values).clip(0, 255).astype(np.uint8))
        has_alpha = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
        if has_alpha:
            image = image.convert("RGBA")
        if profile and not _is_srgb(profile):
            image = _to_srgb(image, profile)
        if has_alpha:
            canvas = Image.new("RGBA", image.size, (*self.background, 255))
            image = Image.alpha_composite(canvas, image.convert("RGBA"))
        return image.convert("RGB")


def geometry_cell(geometry: Geometry) -> dict[str, object]:
    """A geometry as the ledger holds it."""
    return {
        "crop": [round(value, 4) for value in geometry.crop],
        "box": [round(value, 4) for value in geometry.box],
        "lost": round(geometry.lost, 6),
        "padded": round(geometry.padded, 6),
        "distortion": round(geometry.distortion, 6),
    }


def _is_srgb(profile: bytes) -> bool:
    return b"sRGB" in profile[:4096] or b"s\0R\0G\0B" in profile[:4096]


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        done = ImageCms.profileToProfile(image, source, target, outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a broken or mismatched profile says nothing: the plain values are the best guess
    return done or image
