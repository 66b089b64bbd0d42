"""The common PNG, decoded several times as fast as by Pillow, to the same pixels."""

from __future__ import annotations

from kornia_rs.io import decode_image_png_u8

from pairloom.batch import Pixels

_MODES = {2: "rgb", 6: "rgba"}  # colour types; with 8 bits a channel


def read_png(data: bytes) -> Pixels | None:
    """The pixels of a PNG in 8-bit RGB or RGBA, uint8 (h, w, 3 or 4), exactly as the file has them.

    None where Pillow has to look: other colours, interlaced or animated ones, a colour that stands for transparency, anything
    but the end behind the pixels (it may be EXIF), and every fault that the checksums of the chunks, or the pixels, show. Only
    a wrong checksum inside the compressed data, in a chunk whose own is right, is passed over; Pillow refuses that.
    """
    mode = _MODES.get(data[25]) if data[24:25] == b"\x08" and data[28:29] == b"\0" else None
    if mode is None or not _plain(data):
        return None
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    try:
        pixels: Pixels = decode_image_png_u8(data, (height, width), mode)
    except Exception:  # noqa: BLE001 - it raises no narrower one
        return None
    return pixels


def _plain(data: bytes) -> bool:
    """Whether the chunks are all there, the pixels last, and none is among them that changes how these are meant."""
    at, kind = 8, b""
    while kind != b"IEND":
        before, kind = kind, data[at + 4 : at + 8]
        if kind in (b"tRNS", b"acTL", b"") or (before == b"IDAT" and kind not in (b"IDAT", b"IEND")):
            return False
        at += 12 + int.from_bytes(data[at : at + 4])
    return at == len(data)
