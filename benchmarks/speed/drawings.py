"""A PNG, most of them with transparency, to a 512 letterbox on white, as JPEG of quality 95."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from speed.contender import Contender, Make, each
from speed.letterbox import QUALITY, SIDE, img2dataset, naive, pairloom
from speed.pictures import fitted, load

__all__ = ["CONTENDERS", "load"]


def pillow() -> Contender:
    """Composited on white, resized by the bicubic filter, pasted."""

    def stored(data: bytes) -> bytes:
        image = Image.open(io.BytesIO(data)).convert("RGBA")
        flat = Image.new("RGB", image.size, "white")
        flat.paste(image, mask=image.getchannel("A"))
        size, canvas = fitted(*flat.size, SIDE), Image.new("RGB", (SIDE, SIDE), "white")
        canvas.paste(flat.resize(size, Image.Resampling.BICUBIC), ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
        out = io.BytesIO()
        canvas.save(out, "JPEG", quality=QUALITY)
        return out.getvalue()

    return Contender(each(stored))


def pyvips() -> Contender:
    """`thumbnail_buffer`, then flattened."""
    import pyvips as vips

    vips.cache_set_max(0)

    def stored(data: bytes) -> Any:
        image = vips.Image.thumbnail_buffer(data, SIDE, height=SIDE).colourspace("srgb")
        flat = image.flatten(background=255) if image.hasalpha() else image
        left, top = (SIDE - flat.width) // 2, (SIDE - flat.height) // 2
        return flat.embed(left, top, SIDE, SIDE, extend="white").jpegsave_buffer(Q=QUALITY)

    return Contender(each(stored))


def limit() -> Contender:
    """What Pairloom's libraries need at the least: decode, compositing, the kernel and the encode, all else made beforehand."""
    import simplejpeg

    from pairloom.resize import composite, resize
    from pairloom.steps.png import read_png

    canvas = np.full((SIDE, SIDE, 3), 255, np.uint8)

    def stored(data: bytes) -> bytes:
        pixels = read_png(data)
        if pixels is None:
            pixels = np.array(Image.open(io.BytesIO(data)).convert("RGBA"))
        flat = pixels if pixels.shape[2] == 3 else composite(pixels, (255, 255, 255))
        size = fitted(flat.shape[1], flat.shape[0], SIDE)
        left, top = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
        resize(flat, size, out=canvas[top : top + size[1], left : left + size[0]])
        return bytes(simplejpeg.encode_jpeg(canvas, QUALITY, "RGB", "420"))

    return Contender(each(stored))


CONTENDERS: dict[str, tuple[str, Make]] = {
    "Pairloom": ("pairloom", pairloom),
    "limit": ("pairloom", limit),
    "img2dataset": ("images", img2dataset),
    "naive (OpenCV, aliased, transparency dropped)": ("images", naive),
    "Pillow": ("images", pillow),
    "pyvips": ("images", pyvips),
}
