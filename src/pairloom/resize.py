"""One antialiased resize, and transparency on a colour: compiled where a compiler was there at installation, by Pillow
otherwise, the same bytes from both."""

from __future__ import annotations

from types import ModuleType
from typing import Literal, get_args

import numpy as np
from PIL import Image

from pairloom.batch import Pixels

_resize: ModuleType | None
try:
    from pairloom import _resize
except ImportError:  # installed without a compiler
    _resize = None

Interpolation = Literal["box", "bilinear", "hamming", "bicubic", "lanczos"]
Box = tuple[float, float, float, float]

KERNEL: str = _resize.kernels()[0] if _resize else "pillow"
"""What `resize` runs on: a kernel of the compiled module (`vnni`, `avx2` or `portable`, as the processor can), or `pillow`."""


def resize(
    pixels: Pixels,
    size: tuple[int, int],
    box: Box | None = None,
    interpolation: Interpolation = "bicubic",
    out: Pixels | None = None,
) -> Pixels:
    """The part of `pixels` in `box` (left, top, right, bottom; fractions count) as an image of `size` (width, height).

    `pixels` is RGB uint8 (h, w, 3). The result is what Pillow 13's `Image.resize` gives, byte for byte. It is written to `out`
    where that is given: uint8 (height, width, 3), which may be a part of a larger canvas.

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
    out = np.empty((size[1], size[0], 3), np.uint8) if out is None else out
    if _checked(out, "out") != size[::-1] or not out.flags.writeable:
        raise ValueError(f"`out` must be writeable and of size {size}, not {out.shape}")
    if np.may_share_memory(pixels, out):
        pixels = pixels.copy()
    if not 0 < height - size[1] > 2 * (width - size[0]):
        _draw(pixels, out, box, interpolation)
        return out
    # Pillow 13 shortens a tall image before it narrows it, which rounds differently. So do we, with any Pillow.
    shorter = np.empty((size[1], width, 3), np.uint8)
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


def _checked(array: Pixels, name: str) -> tuple[int, int]:
    """Height and width of an array that can be pixels."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(f"`{name}` must be uint8 (height, width, 3) with at least one pixel, not {array.dtype} {array.shape}")
    return array.shape[0], array.shape[1]


def _draw(pixels: Pixels, out: Pixels, box: Box, interpolation: Interpolation) -> None:
    """One resize, along the rows first."""
    if _resize is None:
        small = Image.fromarray(pixels).resize(out.shape[1::-1], Image.Resampling[interpolation.upper()], box)
        out[:] = np.asarray(small)
        return
    inner = (3, 1)  # the distance between pixels and between channels that the compiled module can take
    source = pixels if pixels.strides[1:] == inner else np.ascontiguousarray(pixels)
    target = out if out.strides[1:] == inner else np.empty(out.shape, np.uint8)
    _resize.resize(source, target, box, interpolation)
    if target is not out:
        out[:] = target
