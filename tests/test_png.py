"""The common PNG takes a fast path, which gives what Pillow gives, in every value, and leaves to it what is not common."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import EXAMPLES, encoded, picture
from PIL import Image, ImageCms, PngImagePlugin

from pairloom.errors import Reject
from pairloom.resize import composite
from pairloom.steps import decode
from pairloom.steps.decode import Decode
from pairloom.steps.image import Contain
from pairloom.steps.png import read_png

PHOTO = picture(61, 47)
CLEAR = np.dstack([PHOTO, np.tile(np.arange(61, dtype=np.uint8) * 4 + 3, (47, 1))])
CLEAR[:9, :, 3], CLEAR[9:20, :, 3] = 0, 255


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def interlaced() -> bytes:
    """One pass of one pixel, as Adam7 has it."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0abc")) + chunk(b"IEND", b"")


def before_the_end(data: bytes, more: bytes) -> bytes:
    return data[:-12] + more + data[-12:]


def filtered(pixels: np.ndarray, name: int, level: int) -> bytes:
    """A file all of whose rows have one of the five filters."""
    height, width, channels = pixels.shape
    left, up, corner = np.zeros((3, *pixels.shape), int)
    left[:, 1:], up[1:], corner[1:, 1:] = pixels[:, :-1], pixels[:-1], pixels[:-1, :-1]
    distances = [abs(left + up - corner - each) for each in (left, up, corner)]
    nearest = np.where((distances[0] <= distances[1]) & (distances[0] <= distances[2]), left,
                       np.where(distances[1] <= distances[2], up, corner))  # fmt: skip
    guess = [np.zeros_like(left), left, up, (left + up) // 2, nearest][name]
    rows = (pixels - guess).astype(np.uint8).reshape(height, -1)
    raw = b"".join(bytes([name]) + row.tobytes() for row in rows)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, {3: 2, 4: 6}[channels], 0, 0, 0))
    data = zlib.compress(raw, level)
    parts = b"".join(chunk(b"IDAT", data[at : at + 1000]) for at in range(0, len(data), 1000))
    return b"\x89PNG\r\n\x1a\n" + head + parts + chunk(b"IEND", b"")


def pngs() -> Iterator[tuple[str, bytes, bool]]:
    """Files with a name, and whether they are common ones."""
    exif = Image.Exif()
    exif[0x0112] = 6
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Title", "语言", zip=True)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = bytearray(srgb)
    for one, other in ((b"rXYZ", b"gXYZ"),):
        red, green = swapped.index(one), swapped.index(other)
        swapped[red : red + 4], swapped[green : green + 4] = other, one
    for name, pixels in (("RGB", PHOTO), ("RGBA", CLEAR), ("one pixel", CLEAR[:1, 30:31])):
        yield name, encoded(pixels), True
        yield f"{name}, EXIF before the pixels", encoded(pixels, exif=exif), True
        yield f"{name}, text", encoded(pixels, pnginfo=info), True
        yield f"{name}, sRGB", encoded(pixels, icc_profile=srgb), True
        yield f"{name}, other colours", encoded(pixels, icc_profile=bytes(swapped)), True
        yield f"{name}, a profile that is none", encoded(pixels, icc_profile=b"none"), True
        yield f"{name}, EXIF behind the pixels", before_the_end(encoded(pixels), chunk(b"eXIf", exif.tobytes()[6:])), False
        yield f"{name}, more behind the end", encoded(pixels) + b"more", False
        yield f"{name}, no end", encoded(pixels)[:-12], False
        for number in range(5):
            yield f"{name}, filter {number}", filtered(pixels, number, 9 - number), True
    image = Image.fromarray(CLEAR)
    yield "RGB with a transparent colour", encoded(PHOTO, transparency=tuple(PHOTO[0, 0].tolist())), False
    yield "interlaced", interlaced(), False
    still = encoded(CLEAR)
    yield "animated, of one frame", still[:33] + chunk(b"acTL", struct.pack(">II", 1, 0)) + still[33:], False
    for mode in ("L", "LA", "1", "I;16"):
        yield mode, encoded(image.convert("L").convert(mode)), False
    yield "palette", encoded(image.quantize(16)), False
    yield "animated", encoded(image, save_all=True, append_images=[image.rotate(90)]), False
    yield from ((path.name, path.read_bytes(), False) for path in sorted(EXAMPLES.glob("*.png")))


def outcome(data: bytes, shrink: bool = False) -> Any:
    step = Decode(background=(200, 100, 7))
    try:
        found = (step.bind([Contain(12)]) if shrink else step).image(data)  # type: ignore[attr-defined]
    except Reject as reject:
        return reject.code
    return found.pixels.shape, found.pixels.tobytes(), found.orientation, found.width, found.height


def by_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "read_png", lambda data: None)
    monkeypatch.setattr("pairloom.resize._resize", None)


@pytest.mark.filterwarnings("ignore")
def test_every_kind_of_file_gives_the_same_by_both_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    files = list(pngs())
    for name, data, common in files:
        assert (read_png(data) is not None) >= common, name
        if not common and not name.endswith(".png"):
            assert read_png(data) is None, name
    ours = [(outcome(data), outcome(data, shrink=True)) for _, data, _ in files]
    assert {name.partition(",")[0] for (name, _, _), (found, _) in zip(files, ours, strict=True) if found[2] == 6} == {
        "RGB", "RGBA", "one pixel"
    }  # fmt: skip
    by_pillow(monkeypatch)
    for (name, data, _), found in zip(files, ours, strict=True):
        assert found == (outcome(data), outcome(data, shrink=True)), name


@pytest.mark.filterwarnings("ignore")
def test_damage_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    small, files = encoded(CLEAR[::4, ::4]), []
    for at in range(len(small)):
        files += [small[:at], small[:at] + bytes([small[at] ^ 0x41]) + small[at + 1 :], small[:at] + small[at + 1 :]]
    ours = [outcome(data) for data in files]
    by_pillow(monkeypatch)
    assert ours == [outcome(data) for data in files]
    assert {one if isinstance(one, str) else "" for one in ours} >= {"", "truncated", "undecodable"}


def test_a_wrong_adler_checksum_alone_does_no_harm() -> None:
    """Pillow refuses the file, though the checksums of all chunks are right."""
    good = filtered(PHOTO, 1, 6)
    end = len(good) - 16 - 4  # the last four bytes of the compressed data
    at = good.rindex(b"IDAT")
    last = good[at + 4 : end - 1] + bytes([good[end - 1] ^ 1])
    bad = good[: at - 4] + chunk(b"IDAT", last) + good[-12:]
    assert outcome(bad) == outcome(good)


def test_mistakes_in_the_compressed_data_end_well(monkeypatch: pytest.MonkeyPatch) -> None:
    dice, files = random.Random(5), []
    for number in range(600):
        raw = bytearray(zlib.compress(filtered(CLEAR, number % 5, 0)[41:], number % 10))
        for _ in range(dice.randint(1, 3)):
            raw[dice.randrange(len(raw))] = dice.randrange(256)
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", 61, 47, 8, 6, 0, 0, 0))
        files.append(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", bytes(raw)) + chunk(b"IEND", b""))
    ours = [outcome(data) for data in files]
    by_pillow(monkeypatch)
    for found, data in zip(ours, files, strict=True):
        assert found == outcome(data) or not isinstance(found, str)  # where only Adler's checksum is wrong


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99), st.tuples(*[st.integers(0, 255)] * 3))
def test_transparency_is_laid_on_the_background_as_pillow_does_it(
    width: int, height: int, seed: int, background: tuple[int, int, int]
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height + 2, width, 4), np.uint8)
    pixels[..., 3] = np.where(pixels[..., 0] < 80, 0, np.where(pixels[..., 0] < 160, 255, pixels[..., 3]))
    strip = pixels[1 : height + 1]
    with pytest.MonkeyPatch.context() as patch:
        ours = composite(strip, background)
        patch.setattr("pairloom.resize._resize", None)
        assert np.array_equal(ours, composite(strip, background))
