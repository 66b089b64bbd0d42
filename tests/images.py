"""Pictures and real encoded files for the tests, made here so that each says what it tests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pairloom.batch import Batch, Pixels, Row

EXAMPLES = Path(__file__).parent.parent / "examples" / "pairs"


def picture(width: int = 160, height: int = 120, seed: int = 0) -> Pixels:
    """A smooth random colour picture with a bright corner top left, so that no two of the eight orientations look alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    pixels = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    pixels[: height // 4, : width // 3] = (250, 240, 10)
    return pixels


def encoded(image: Image.Image | Pixels, format: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file that Pillow wrote."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def example(name: str) -> bytes:
    """A file among the example pairs."""
    return (EXAMPLES / name).read_bytes()


def batch_of(*files: bytes) -> Batch:
    """A batch as a reader makes it, keys 0, 1, 2 …"""
    rows = [Row(source_key=str(number), source="test", image=data, texts=("a text",)) for number, data in enumerate(files)]
    return Batch.read([f"{number:08d}" for number in range(len(files))], rows)


def psnr(one: Pixels, other: Pixels) -> float:
    """Peak signal to noise ratio in dB."""
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
