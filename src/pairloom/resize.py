"""One antialiased resize, and what is done to pixels one by one: compiled where a compiler was there at installation, by
Pillow and numpy otherwise, the same bytes from both."""

from __future__ import annotations

from types import ModuleType
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from pairloom.batch import Pixels

_resize: ModuleType | None
try:
    from pairloom import _resize
except ImportError:  # installed without a compiler
    _resize = None

Interpolation = Literal["box", "bilinear", "hamming", "bicubic", "lanczos"]
Box = tuple[float, float, float, float]
Plane = npt.NDArray[np.uint8]
"""One channel of an image: shape (height, width), uint8."""

KERNEL: str = _resize.kernels()[0] if _resize else "pillow"
"""What `resize` runs on: a kernel of the compiled module (`vnni`, `avx2` or `portable`, as the processor can), or `pillow`."""


def resize(
    pixels: Pixels | Plane,
    size: tuple[int, int],
    box: Box | None = None,
    interpolation: Interpolation = "bicubic",
    out: Pixels | Plane | None = None,
) -> Pixels | Plane:
    """The part of `pixels` in `box` (left, top, right, bottom; fractions count) as an image of `size` (width, height).

    `pixels` is RGB uint8 (h, w, 3), or one plane (h, w). The result is what Pillow 13's `Image.resize` gives, byte for byte. It
    is written to `out` where that is given: uint8 with as many channels, which may be a part of a larger canvas.

    Raises:
        ValueError: if an array, the size or the box can't be used.
    """
    height, width = _checked(pixels, "pixels")
    box = (0.0, 0.0, float(width), float(height)) if box is None else box
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(f"the box {box} is empty or not inside {width}x{height} pixels")
    if min(size) < 1:
        raise ValueError(f"the size {size} has no pixels")
    if interpolation not in get_args(Interpolation):
        raise ValueError(f"the interpolation {interpolation!r} is none of {', '.join(get_args(Interpolation))}")
    channels = pixels.shape[2:]
    out = np.empty((size[1], size[0], *channels), np.uint8) if out is None else out
    if _checked(out, "out") != size[::-1] or out.shape[2:] != channels or not out.flags.writeable:
        raise ValueError(f"`out` must be writeable and of size {size} with the channels of `pixels`, not {out.shape}")
    if np.may_share_memory(pixels, out):
        pixels = pixels.copy()
    if not 0 < height - size[1] > 2 * (width - size[0]):
        _draw(pixels, out, box, interpolation)
        return out
    # Pillow 13 shortens a tall image before it narrows it, which rounds differently. So do we, with any Pillow.
    shorter = np.empty((size[1], width, *channels), np.uint8)
    _draw(pixels, shorter, (0, top, width, bottom), interpolation)
    _draw(shorter, out, (left, 0, right, size[1]), interpolation)
    return out


def composite(pixels: Pixels, background: tuple[int, int, int]) -> Pixels:
    """RGBA pixels, uint8 (h, w, 4), on an opaque colour, uint8 (h, w, 3): what Pillow's `Image.paste` with a mask gives."""
    if _resize is None:
        image = Image.fromarray(pixels)
        canvas = Image.new("RGB", image.size, background)
        canvas.paste(image.convert("RGB"), mask=image.getchannel("A"))
        return np.asarray(canvas)
    flat = np.empty((*pixels.shape[:2], 3), np.uint8)
    _resize.composite(pixels, flat, background)
    return flat


def to_rgb(y: Plane, cb: Plane, cr: Plane) -> Pixels:
    """Three planes of one size in YCbCr as RGB pixels, by JFIF's formulas with 16 bits behind the point, as libjpeg has them."""
    out = np.empty((*y.shape, 3), np.uint8)
    if _resize is None:
        light, blue, red = y.astype(np.int32), cb.astype(np.int32) - 128, cr.astype(np.int32) - 128
        more = (91881 * red + 32768, 32768 - 22554 * blue - 46802 * red, 116130 * blue + 32768)
        out[:] = np.stack([np.clip(light + (part >> 16), 0, 255) for part in more], 2)
    else:
        _resize.rgb(y, cb, cr, out)
    return out


def halve(plane: Plane) -> Plane:
    """A plane at half its width and height, rounded up: means of four neighbours, at an odd edge the last counts twice.

    What lies just between two levels is rounded up and down in turn, as libjpeg's encoder does it.
    """
    out = np.empty((-(-plane.shape[0] // 2), -(-plane.shape[1] // 2)), np.uint8)
    if _resize is None:
        even = np.pad(plane, [(0, side % 2) for side in plane.shape], "edge").astype(np.int32)
        sums = even[::2, ::2] + even[::2, 1::2] + even[1::2, ::2] + even[1::2, 1::2]
        out[:] = (sums + 1 + np.arange(out.shape[1]) % 2) >> 2
    else:
        _resize.halve(plane, out)
    return out


def _checked(array: Pixels | Plane, name: str) -> tuple[int, int]:
    """Height and width of an array that can be pixels or a plane."""
    if array.dtype != np.uint8 or array.shape[2:] not in ((), (3,)) or array.ndim < 2 or array.size == 0:
        said = f"not {array.dtype} {array.shape}"
        raise ValueError(f"`{name}` must be uint8 (height, width, 3) or (height, width) with at least one pixel, {said}")
    return array.shape[0], array.shape[1]


def _draw(pixels: Pixels | Plane, out: Pixels | Plane, box: Box, interpolation: Interpolation) -> None:
    """One resize, along the rows first."""
    if _resize is None:
        small = Image.fromarray(pixels).resize(out.shape[1::-1], Image.Resampling[interpolation.upper()], box)
        out[:] = np.asarray(small)
        return
    inner = (3, 1)[-(out.ndim - 1) :]  # the distance between pixels and between channels that the compiled module can take
    source = pixels if pixels.strides[1:] == inner else np.ascontiguousarray(pixels)
    target = out if out.strides[1:] == inner else np.empty(out.shape, np.uint8)
    _resize.resize(source, target, box, interpolation)
    if target is not out:
        out[:] = target
