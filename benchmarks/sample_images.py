"""Honest conversions of an image into other file forms, for ``examples/pairs``."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

from PIL import Image, ImageCms

_ORIENTATION = 0x0112
_SUFFIXES = {"webp": ".webp", "tiff": ".tif", "bmp": ".bmp", "animated-gif": ".gif"}


def flatten(image: Image.Image) -> Image.Image:
    """Put ``image`` on white, as one does before saving a JPEG."""
    colour = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colour.size, "white"), colour).convert("RGB")


def _tag(kind: bytes, payload: bytes) -> bytes:
    data = kind + bytes(4) + payload
    return data + bytes(-len(data) % 4)


def adobe_rgb_profile() -> bytes:
    """Build an ICC v2 display profile with the primaries and gamma of Adobe RGB (1998)."""

    def xyz(*values: float) -> bytes:
        return _tag(b"XYZ ", b"".join(struct.pack(">i", round(item * 65536)) for item in values))

    name = b"Compatible with Adobe RGB (1998)\0"
    description = struct.pack(">I", len(name)) + name + bytes(4 + 4 + 2 + 1 + 67)
    gamma = _tag(b"curv", struct.pack(">IH", 1, 0x0233))
    tags = {
        b"desc": _tag(b"desc", description),
        b"cprt": _tag(b"text", b"Public domain\0"),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        b"rTRC": gamma,
        b"gTRC": gamma,
        b"bTRC": gamma,
    }
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for signature, data in tags.items():
        table += signature + struct.pack(">II", offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", offset + len(body), bytes(4), 0x02400000,
                         b"mntr", b"RGB ", b"XYZ ")  # fmt: skip
    header += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + body


def convert(form: str, frames: Sequence[Image.Image]) -> tuple[bytes, str]:
    """Save ``frames`` (one image, or several for a GIF) in ``form``; return bytes and suffix."""
    image, output = frames[0], io.BytesIO()
    if form == "animated-gif":
        small = [flatten(frame).resize((200, 200), Image.Resampling.LANCZOS) for frame in frames]
        small[0].save(output, "GIF", save_all=True, append_images=small[1:], duration=300, loop=0)
    elif form == "palette-png":
        palette = image.convert("RGBA").quantize(64, method=Image.Quantize.FASTOCTREE)
        palette.save(output, "PNG", optimize=True)
    elif form == "grey16-png":
        wide = flatten(image).convert("L").convert("I").point(lambda value: value * 257)
        wide.convert("I;16").save(output, "PNG", optimize=True)
    elif form == "webp":
        image.convert("RGBA").save(output, "WEBP", quality=80, method=4)
    elif form == "tiff":
        image.convert("RGBA").save(output, "TIFF", compression="tiff_lzw")
    elif form == "bmp":
        flatten(image).save(output, "BMP")
    elif form == "cmyk-jpeg":
        flatten(image).convert("CMYK").save(output, "JPEG", quality=85)
    elif form == "rotated-jpeg":
        exif = Image.Exif()
        exif[_ORIENTATION] = 6  # stored lying on its side: turn it a quarter clockwise to show it
        turned = flatten(image).transpose(Image.Transpose.ROTATE_90)
        turned.save(output, "JPEG", quality=85, exif=exif)
    elif form == "adobe-rgb-jpeg":
        profile = adobe_rgb_profile()
        target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        source = ImageCms.createProfile("sRGB")
        wide_gamut = ImageCms.profileToProfile(flatten(image), source, target)
        if wide_gamut is None:
            raise ValueError("the colour conversion gave no image")
        wide_gamut.save(output, "JPEG", quality=90, icc_profile=profile)
    else:
        flatten(image).save(output, "JPEG", quality=85, progressive=form == "progressive-jpeg")
    suffix = ".png" if form.endswith("png") else _SUFFIXES.get(form, ".jpg")
    return output.getvalue(), suffix


def huge_header_png() -> bytes:
    """Return a tiny PNG file whose header claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 + 3 * 60000), 9)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
