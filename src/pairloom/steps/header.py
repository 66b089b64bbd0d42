"""What the first bytes of an image file say, before anything is decoded."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from contextlib import suppress

import simplejpeg
from PIL import Image, ImageCms

_WORKING = {"JPEG": 6, "MPO": 6, "WEBP": 16, "AVIF": 12, "JPEG2000": 24}  # bytes a pixel while decoding, measured
_OTHERS = 8  # while palettes, transparency or 16 bits become RGB
_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "AVIF": "avif"}

ENDS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n": b"IEND"}
"""How files begin that have an end marker, and that."""

# Decoders raise all of these on rotten bytes.
FAULTS = (
    ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, LookupError, OSError, RuntimeError, SyntaxError,
    TypeError, ValueError, struct.error, zlib.error, ImageCms.PyCMSError, Image.DecompressionBombError,
)  # fmt: skip


def decoded_bytes(data: bytes) -> int:
    """About how much memory decoding takes; 0 for what isn't an image. Decides the size of batches, never a result."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return int(width * height * _OTHERS)
    if data[:3] == b"\xff\xd8\xff":
        with suppress(ValueError, LookupError):
            height, width = simplejpeg.decode_jpeg_header(data)[:2]
            return int(width * height * _WORKING["JPEG"])
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
        except (MemoryError, *FAULTS):
            return None


def lacks_end(data: bytes) -> bool:
    """Whether a file of a kind that has an end marker has none."""
    return any(data.startswith(magic) and end not in data for magic, end in ENDS.items())
