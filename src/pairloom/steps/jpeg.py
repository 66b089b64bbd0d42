"""The common JPEG, as RGB pixels by simplejpeg, or as the planes that it holds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import ModuleType

import numpy as np
import simplejpeg
from PIL import _imaging

from pairloom.batch import Pixels
from pairloom.planes import Planes
from pairloom.steps.header import lacks_end

_jpeg: ModuleType | None
try:
    from pairloom import _jpeg
except ImportError:  # installed without a compiler
    _jpeg = None
if _jpeg and not _jpeg.load(str(_imaging.__file__)):  # this Pillow has no libjpeg-turbo that shows itself to others
    _jpeg = None

PLANES: str = "libjpeg" if _jpeg else "simplejpeg"
"""What `read_planes` runs on: Pillow's libjpeg-turbo, or simplejpeg, which gives the same planes and takes longer."""

_BENIGN = ("extraneous bytes", "Unknown Adobe color transform", "unknown JFIF revision", "Invalid SOS parameters", "bad ICC")
_SMALLER = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}  # how many times narrower and lower colours are
_AS_RGB = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"  # a marker that says: these are RGB already


def read_header(data: bytes) -> tuple[tuple[int, int], str] | None:
    """Width and height, and how YCbCr is sampled ("" for other colours); None where simplejpeg complains of the header."""
    try:
        height, width, colours, sampling = simplejpeg.decode_jpeg_header(data)
    except (ValueError, LookupError):
        return None
    return (width, height), sampling if colours == "YCbCr" else ""


def count_scans(data: bytes) -> int:
    """How many scans a JPEG may have. One whose first scan holds all colours, and isn't progressive, can't have another."""
    at, parts = 2, 0
    while len(data) > at + 9 and data[at] == 0xFF and 0xC0 <= (kind := data[at + 1]) < 0xFF and not 0xD0 <= kind <= 0xD9:
        if kind in (0xC0, 0xC1):
            parts = data[at + 9]
        if kind == 0xDA and parts == data[at + 4]:
            return 1
        if kind == 0xDA:
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return data.count(b"\xff\xda")  # a little slow: a tenth of a millisecond


def read_pixels(data: bytes, size: tuple[int, int], shrink: int, spare: bool, lenient: bool) -> Pixels:
    """The JPEG as RGB pixels, at 1/`shrink`, colours not smoothed where size is to `spare`.

    Raises `ValueError` when data are missing or damaged, unless `lenient`.
    """
    decode = _decoder(size, shrink, spare)
    try:
        return decode(data, strict=not lenient)
    except ValueError as fault:
        said = str(fault)
    if any(words in said for words in _BENIGN) and not lacks_end(data):
        return decode(data, strict=False)
    if "Premature end" in said and data.count(b"\xff\xda") == 1 and b"\xff\xc2" not in data:
        # Of a file with one scan only the end marker may be missing: with one put there, it is still refused if more is.
        with suppress(ValueError):
            return decode(data + b"\xff\xd9", strict=True)
    raise ValueError(said)


def read_planes(data: bytes, size: tuple[int, int], sampling: str, shrink: int) -> Planes | None:
    """The JPEG at 1/`shrink` as the planes that it holds: neither are colours enlarged nor anything turned into RGB.

    `size` and `sampling` are those of `read_header`. None where that isn't possible: other colours or samplings, and every file
    that libjpeg has to say something about.
    """
    if sampling not in _SMALLER or (shrink > 1 and max(size) < 16):  # of a few pixels, simplejpeg scales to another fraction
        return None
    smaller = _SMALLER[sampling] if sampling != "420" or shrink == 1 else (1, 1)  # a scaled decode evens that out by itself
    return _by_simplejpeg(data, size, shrink, smaller) if _jpeg is None else _by_libjpeg(data, size, shrink, smaller)


def _by_libjpeg(data: bytes, size: tuple[int, int], shrink: int, smaller: tuple[int, int]) -> Planes | None:
    assert _jpeg
    sizes = [(-(-size[1] // shrink), -(-size[0] // shrink))]
    sizes += [(-(-size[1] // (shrink * smaller[1])), -(-size[0] // (shrink * smaller[0])))] * 2
    # libjpeg writes whole blocks: up to 8 pixels across, and as many down as belong together
    full = [np.empty((-(-height // 16) * 16, -(-width // 8) * 8), np.uint8) for height, width in sizes]
    if not _jpeg.decode(data, shrink, *full):
        return None
    return Planes(*(plane[:height, :width] for plane, (height, width) in zip(full, sizes, strict=True)))


def _by_simplejpeg(data: bytes, size: tuple[int, int], shrink: int, smaller: tuple[int, int]) -> Planes | None:
    """By way of a file that says that it holds RGB: nothing is turned into it then, and what was enlarged by repeating it is
    thinned out again."""
    try:
        pixels = _decoder(size, shrink, True)(_as_rgb(data), strict=True)
    except ValueError:
        return None
    across, down = smaller
    colours = pixels[::down, ::across, 1:].transpose(2, 0, 1)
    return Planes(*map(np.ascontiguousarray, (pixels[..., 0], *colours)))


def _as_rgb(data: bytes) -> bytes:
    """The same file, saying that its three parts are red, green and blue."""
    made, at = bytearray(data), 2
    while at + 4 <= len(made) and made[at] == 0xFF and made[at + 1] != 0xDA:
        kind = made[at + 1]
        if kind == 0xFF or kind == 0x01 or 0xD0 <= kind <= 0xD7:  # a filler, or a marker without a length
            at += 1 if kind == 0xFF else 2
            continue
        if kind in (0xE0, 0xEE):  # JFIF, and Adobe, say otherwise: as another marker nobody asks them
            made[at + 1] = 0xEF
        at += 2 + int.from_bytes(made[at + 2 : at + 4])
    return bytes(made[:2]) + _AS_RGB + bytes(made[2:])


def _decoder(size: tuple[int, int], shrink: int, spare: bool) -> Callable[..., Pixels]:
    smaller = {"min_width": -(-size[0] // shrink), "min_height": -(-size[1] // shrink)} if shrink > 1 else {}
    return partial(simplejpeg.decode_jpeg, colorspace="RGB", fastupsample=spare, **smaller)
