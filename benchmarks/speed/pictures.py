"""Photographs to work on, and how close a result is to a full decode and a Lanczos resize in floating point."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

Size = tuple[int, int]
"""Width and height in pixels."""

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def load() -> list[bytes]:
    """The files of the current folder, by name."""
    return [path.read_bytes() for path in sorted(Path().iterdir()) if path.suffix.lower() in SUFFIXES]


def cuts(sources: list[Path], count: int) -> Iterator[bytes]:
    """Web-like JPEGs (quality 85, 4:2:0, mean about 0.9 MP): seeded cuts of photographs, Lanczos-reduced."""
    chance = random.Random(0)
    for number in range(count):
        source = Image.open(sources[number % len(sources)]).convert("RGB")
        ratio = chance.choice([4 / 3, 3 / 2, 16 / 9, 1.0, 3 / 4, 2 / 3])
        width = min(source.width, source.height * ratio) * chance.uniform(0.6, 1.0)
        left, top = chance.uniform(0, source.width - width), chance.uniform(0, source.height - width / ratio)
        area = min(4e6, max(2e5, chance.lognormvariate(13.6, 0.55)))
        side = min(width, (area * ratio) ** 0.5)
        size, box = (round(side), round(side / ratio)), (left, top, left + width, top + width / ratio)
        out = io.BytesIO()
        source.resize(size, Image.Resampling.LANCZOS, box=box).save(out, "JPEG", quality=85, subsampling="4:2:0")
        yield out.getvalue()


def fitted(width: int, height: int, side: int) -> Size:
    """The size of an image that just fits into a square."""
    scale = side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def covering(width: int, height: int, side: int) -> Size:
    """The size of an image that just covers a square, the longer side rounded down, as CLIP's preprocessing has it."""
    short = min(width, height)
    return int(side * width / short), int(side * height / short)


def lanczos(data: bytes, size: Size) -> np.ndarray:
    """A full decode on white and one Lanczos resize, float32 (h, w, 3) of 0 to 255, neither rounded nor cut in between."""
    image = Image.open(io.BytesIO(data))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    planes = np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1)
    drawn = [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS)) for plane in planes]
    return np.clip(np.stack(drawn, 2), 0, 255)


def scaled(width: int, height: int, shrink: int) -> dict[str, int]:
    """What tells `simplejpeg.decode_jpeg` to decode at 1/`shrink`."""
    return {"min_width": -(-width // shrink), "min_height": -(-height // shrink)} if shrink > 1 else {}


def pixels(path: Path) -> np.ndarray:
    """What a stored file shows."""
    return np.asarray(Image.open(path).convert("RGB"))


def psnr(pixels: np.ndarray, target: np.ndarray) -> float:
    """Decibels."""
    error = np.mean((pixels.astype(np.float64) - target) ** 2)
    return float(10 * np.log10(255**2 / max(error, 0.01)))


def ssim(pixels: np.ndarray, target: np.ndarray, side: int = 8) -> float:
    """Structural similarity of the lightness (Wang et al. 2004), mean over squares of equal weight that don't overlap."""
    luma = np.array([0.299, 0.587, 0.114])
    rows, columns = target.shape[0] // side, target.shape[1] // side

    def squares(image: np.ndarray) -> np.ndarray:
        light = image[: rows * side, : columns * side].astype(np.float64) @ luma
        return light.reshape(rows, side, columns, side).transpose(0, 2, 1, 3).reshape(rows * columns, side * side)

    one, two = squares(pixels), squares(target)
    m1, m2 = one.mean(1), two.mean(1)
    v1, v2, both = one.var(1), two.var(1), (one * two).mean(1) - m1 * m2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(np.mean((2 * m1 * m2 + c1) * (2 * both + c2) / ((m1 * m1 + m2 * m2 + c1) * (v1 + v2 + c2))))
