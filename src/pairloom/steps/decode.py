"""From the bytes of a file to upright sRGB pixels, by content and within limits."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image, ImageFile
from pydantic import Field

from pairloom.batch import Batch, Pixels
from pairloom.drawing import Level
from pairloom.errors import Reject
from pairloom.geometry import Geometry
from pairloom.planes import Ahead, Picture, rgb
from pairloom.step import Step, lift, step
from pairloom.steps.colour import is_srgb, to_pixels, to_srgb
from pairloom.steps.header import ENDS, FAULTS, lacks_end
from pairloom.steps.jpeg import count_scans, read_header, read_pixels, read_planes
from pairloom.steps.png import read_png

_BOX, _SHARE = pa.list_(pa.float64()), pa.float64()
GEOMETRY = pa.struct([("crop", _BOX), ("box", _BOX), ("lost", _SHARE), ("padded", _SHARE), ("distortion", _SHARE)])
"""A `Geometry` from the upright original to the stored image: its two boxes, and what it cost."""


# A scaled decode that lands just above the target costs quality (3 dB), and so does colour that was not smoothed where it is
# enlarged. From this many times the target on, either is at least as close to a full decode as INTER_AREA, measured by size.
_MARGIN = 1.5
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000", "MPO")
_JPEG = ("JPEG", "MPO")
_PARTIAL = (*_JPEG, "PNG", "GIF", "BMP", "PPM")  # of these a part can be shown when the rest is missing
_MEMORY = {"JPEG2000": 0.6}  # share of `max_pixels` where the codec alone takes 24 bytes a pixel
_SCANS = 500  # a progressive JPEG of a few bytes a scan can keep a decoder busy for hours; honest ones have about 10

_CUT = ("truncat", "premature", "end of file", "unexpected end", "not enough", "requires a buffer", "incomplete")
_OURS = (*ENDS, b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_FOREIGN = {b"8BPS": "Photoshop", b"%PDF": "PDF", b"%!PS": "PostScript", b"\0\0\1\0": "ICO", b"<svg": "SVG",
            b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL", b"II\xbc": "JPEG XR", b"qoif": "QOI"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture of at least the size asked for, and what the file said: upright width and height, EXIF orientation, format.

    Inside a line `picture` may be what is made of it ahead.
    """

    picture: Picture | Ahead
    width: int
    height: int
    orientation: int
    format: str

    @property
    def pixels(self) -> Pixels:
        """The picture in RGB, uint8 (h, w, 3)."""
        return rgb(self.picture)


@step("decode")
class Decode(Step):
    """Decode each image by its content: EXIF orientation applied, ICC profile to sRGB, transparency composited on `background`.

    CMYK, palette, grey, 16-bit and alpha become RGB; of an animation the first frame is taken. The header is held against
    `max_pixels` and `max_bytes` before anything is decoded. A truncated file is rejected unless `allow_truncated`, which
    keeps what there is. Images are decoded or reduced to a half, quarter or eighth where the later steps need no more.

    Example: `decode: {background: [0, 0, 0], allow_truncated: true}`
    """

    background: tuple[Level, Level, Level] = (255, 255, 255)
    max_pixels: Annotated[int, Field(gt=0, le=178_956_970)] = 50_000_000  # Pillow itself refuses more than that
    max_bytes: Annotated[int, Field(gt=0)] = 67_108_864
    allow_truncated: bool = False

    reads: ClassVar[tuple[str, ...]] = ("image",)
    changes_pixels: ClassVar[bool] = True
    adds: ClassVar[dict[str, pa.DataType]] = {
        **dict.fromkeys(("sha256", "format"), pa.string()),
        **dict.fromkeys(("orientation", "original_width", "original_height", "width", "height"), pa.int32()),
        "geometry": GEOMETRY,
    }
    following: ClassVar[tuple[Step, ...]] = ()

    def bind(self, following: Sequence[Step]) -> Step:
        bound = replace(self)
        object.__setattr__(bound, "following", tuple(following))
        return bound

    def image(self, data: bytes) -> Decoded:
        """Decode one file.

        Raises:
            Reject: empty_image, too_many_bytes, too_many_pixels, not_an_image, unsupported_format, truncated, undecodable,
                out_of_memory; never another exception, whatever the bytes are.
        """
        if not data:
            raise Reject("empty_image", "the file has no bytes")
        if len(data) > self.max_bytes:
            raise Reject("too_many_bytes", f"{len(data)} bytes, the limit is {self.max_bytes}")
        image = self._open(data)
        try:
            return self._decode(image, data)
        except MemoryError:
            raise Reject("out_of_memory", f"{image.format} of {image.width}x{image.height}") from None
        except FAULTS as fault:
            cut = isinstance(fault, EOFError) or lacks_end(data) or any(word in str(fault).lower() for word in _CUT)
            raise Reject("truncated" if cut else "undecodable", f"{image.format}: {fault}") from None

    def __call__(self, batch: Batch) -> Batch:
        with warnings.catch_warnings():  # here and not in `image`: it isn't safe in threads
            warnings.simplefilter("ignore")
            results, rejects = lift(self._one, list(zip(batch.table.column("image"), batch["key"], strict=True)))
        nothing = Decoded(np.zeros((1, 1, 3), np.uint8), 1, 1, 1, "")
        done = [result[0] if result else nothing for result in results]
        batch = batch.with_columns(
            self.adds,
            sha256=[result[1] if result else "" for result in results],
            format=[one.format for one in done],
            orientation=[one.orientation for one in done],
            **{name: [one.width for one in done] for name in ("original_width", "width")},
            **{name: [one.height for one in done] for name in ("original_height", "height")},
            geometry=[geometry_cell(Geometry.identity(one.width, one.height)) for one in done],
        )
        return batch.with_pixels([one.picture for one in done]).with_rejects(rejects)

    def _one(self, row: tuple[pa.Scalar, str]) -> tuple[Decoded, str]:
        data = row[0].as_py() or b""  # here, so that one file at a time is there twice
        done = self.image(data)
        with suppress(Reject):  # the step whose it is gives it again
            for later in self._looking():
                made = later.ahead(done.picture, done.width, done.height, row[1])
                if made is None:
                    break
                done = replace(done, picture=made)
        return done, hashlib.sha256(data).hexdigest()

    def _open(self, data: bytes) -> ImageFile.ImageFile:
        try:
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
        except Image.DecompressionBombError:
            raise Reject("too_many_pixels", f"more than Pillow opens at all, the limit is {self.max_pixels} pixels") from None
        except (MemoryError, *FAULTS):
            raise _unopened(data) from None
        limit = int(self.max_pixels * _MEMORY.get(str(image.format), 1))
        if image.width * image.height > limit:
            raise Reject("too_many_pixels", f"{image.width}x{image.height}, the limit for {image.format} is {limit} pixels")
        return image

    def _decode(self, image: ImageFile.ImageFile, data: bytes) -> Decoded:
        kind, profile = str(image.format), image.info.get("icc_profile")
        ready = read_png(data) if kind == "PNG" else None
        if ready is None and kind not in (*_JPEG, "TIFF"):
            self._load(image)  # PNG may hold its EXIF after the pixels
        # of a PNG that isn't loaded Pillow would load the pixels first: behind those that are ready there is no EXIF
        orientation = _orientation(image.getexif if ready is None else partial(Image.Image.getexif, image))
        turn = 1 if kind == "TIFF" else orientation  # Pillow has turned TIFF by itself
        width, height = image.size[::-1] if turn > 4 else image.size
        shrink, spare = self._shrink(width, height)
        if kind in _JPEG and count_scans(data) > _SCANS:
            raise ValueError(f"more than {_SCANS} scans")
        plain = kind in _JPEG and (image.mode == "RGB" or (image.mode == "L" and not profile))
        if plain and (header := read_header(data)) and header[0] == image.size:
            wanted = next((later.takes_planes for later in self._looking()), False)
            if wanted and turn == 1 and is_srgb(profile):
                planes = read_planes(data, *header, shrink)
                if planes:
                    return Decoded(planes, width, height, orientation, kind.lower())
            pixels = read_pixels(data, image.size, shrink, spare, self.allow_truncated)
            to_srgb(pixels, profile)
        else:
            if kind in _JPEG:
                image.draft(image.mode, (image.width // shrink, image.height // shrink))
                shrink = 1
            if ready is None:
                self._load(image)
            pixels = to_pixels(image if ready is None else ready, profile, self.background, shrink)
        return Decoded(_turn(pixels, turn), width, height, orientation, kind.lower())

    def _load(self, image: ImageFile.ImageFile) -> None:
        try:
            image.load()
        except OSError:
            if not self.allow_truncated or image.format not in _PARTIAL:
                raise
            image.tile = []  # nothing more to decode: what came through is there, the rest is empty
            image.load()

    def _looking(self) -> Iterator[Step]:
        """The following steps that look at pixels."""
        return (later for later in self.following if later.reads_pixels or later.changes_pixels)

    def _shrink(self, width: int, height: int) -> tuple[int, bool]:
        """The largest of 1, 2, 4, 8 that leaves every later step `_MARGIN` times the pixels it needs; whether 1 does."""
        wanted = (0.0, 0.0)
        for later in self.following:
            need = later.needs(width, height)
            if need:
                wanted = (max(wanted[0], need[0] * _MARGIN), max(wanted[1], need[1] * _MARGIN))
            if need and later.changes_pixels:
                break
        if wanted == (0.0, 0.0):
            return 1, False
        fits = [n for n in (1, 2, 4, 8) if width / n >= wanted[0] and height / n >= wanted[1]]
        return max(fits, default=1), bool(fits)


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height of an image turned as EXIF says, by its header alone. Raises `Reject` as `decode` does."""
    image = Decode()._open(data)
    return (image.height, image.width) if _orientation(image.getexif) > 4 else (image.width, image.height)


def geometry_cell(geometry: Geometry) -> dict[str, object]:
    """A geometry as the ledger holds it."""
    boxes = {"crop": [round(side, 4) for side in geometry.crop], "box": [round(side, 4) for side in geometry.box]}
    return boxes | {name: round(getattr(geometry, name), 6) for name in ("lost", "padded", "distortion")}


def _unopened(data: bytes) -> Reject:
    """Why a file could not even be opened, as its first bytes tell."""
    start = data[:16]
    name = next((name for magic, name in _FOREIGN.items() if data.lstrip()[: len(magic)] == magic), None)
    if start[4:8] == b"ftyp" and start[8:12] not in (b"avif", b"avis"):
        name = f"ISO media {start[8:12]!r}, perhaps HEIC"
    if name:
        return Reject("unsupported_format", name)
    webp = start[:4] == b"RIFF" and start[8:12] in (b"WEBP", b"")
    if not (webp or start[4:8] == b"ftyp" or start.startswith(_OURS)):
        return Reject("not_an_image", f"the file begins with {start!r}")
    length = int.from_bytes(start[4:8], "big" if start[:2] == b"MM" else "little")  # WebP: of all; TIFF: where its index is
    cut = lacks_end(data) or ((webp or start[:2] in (b"II", b"MM")) and length >= len(data) - 8)
    return Reject("truncated" if cut else "undecodable", f"the header is damaged or cut off, the file begins with {start!r}")


def _orientation(exif: Callable[[], Image.Exif]) -> int:
    try:
        value = int(exif().get(0x0112, 1))
    except FAULTS:  # damaged EXIF says nothing
        return 1
    return value if 1 <= value <= 8 else 1


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    """Turn and mirror as EXIF's orientation 1 to 8 says; a view would keep later steps slow, so it is a copy."""
    if orientation > 4:
        pixels = pixels.transpose(1, 0, 2)
    down, right = -1 if orientation in (3, 4, 7, 8) else 1, -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::down, ::right])
