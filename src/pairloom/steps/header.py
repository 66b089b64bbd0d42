"""What the first bytes of an image file say, before anything is decoded."""

from __future__ import annotations

import io
import struct
import warnings

from PIL import Image

_WORKING = {"JPEG": 6, "MPO": 6, "WEBP": 16, "AVIF": 12, "JPEG2000": 24}  # bytes a pixel while decoding, measured
_OTHERS = 8  # while palettes, transparency or 16 bits become RGB
_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "AVIF": "avif"}

# What Pillow's parsers raise on files that are no image, or that are too large to be decoded at all.
_NO_IMAGE = (OSError, ValueError, SyntaxError, EOFError, LookupError, ArithmeticError, TypeError, AttributeError, struct.error)
_NO_IMAGE += (Image.DecompressionBombError, MemoryError, RecursionError, AssertionError, NotImplementedError)


def decoded_bytes(data: bytes) -> int:
    """About how much memory decoding takes; 0 for what isn't an image. Decides the size of batches, never a result."""
    image = _open(data)
    return 0 if image is None else image.width * image.height * _WORKING.get(str(image.format), _OTHERS)


def suffix_of(data: bytes) -> str:
    """The usual file name suffix of an image's format, `bin` for what isn't an image."""
    image = _open(data)
    return "bin" if image is None else _SUFFIXES.get(str(image.format), str(image.format).lower())


def _open(data: bytes) -> Image.Image | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Image.open(io.BytesIO(data))
        except _NO_IMAGE:
            return None
