"""A perceptual hash of each image, by which near duplicates are found."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from pairloom.batch import Batch, Pixels
from pairloom.step import Step, lift, step

_SIDE, _LOW = 32, 8


@step("image_hash")
class ImageHash(Step):
    """Add `phash`: 16 hex digits that stay nearly the same when an image is scaled, encoded again or slightly recoloured.

    The method is pHash's (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"): grey 32 x 32,
    DCT-II, of the 8 x 8 lowest frequencies one bit each, set where the coefficient is above their median. The mean (DC)
    stands outside: its bit is always 0. `distance` compares two hashes; up to about 6 of the 64 bits differ between copies.
    An image without any structure, such as one plain colour, has the hash 0000000000000000.

    Example: `image_hash`
    """

    reads_pixels: ClassVar[bool] = True
    adds: ClassVar[dict[str, pa.DataType]] = {"phash": pa.string()}

    def needs(self, width: int, height: int) -> tuple[int, int] | None:
        return min(width, _SIDE), min(height, _SIDE)

    def image(self, pixels: Pixels) -> str:
        """The hash of one image, RGB uint8 (h, w, 3), any size."""
        grey = Image.fromarray(pixels).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        basis = _dct_rows()
        # Rounded, so that what is zero on paper doesn't become a bit by the last digit of a sum.
        low = np.round(basis @ np.asarray(grey, np.float64) @ basis.T, 3)
        bits = low > np.median(low.ravel()[1:])
        bits[0, 0] = False
        return np.packbits(bits).tobytes().hex()

    def __call__(self, batch: Batch) -> Batch:
        assert batch.pixels is not None
        results, rejects = lift(self.image, batch.pixels)
        return batch.with_columns(self.adds, phash=results).with_rejects(rejects)


def distance(a: str, b: str) -> int:
    """In how many of their 64 bits two hashes differ, 0 to 64.

    Raises:
        ValueError: if one of them is not hexadecimal.
    """
    return (int(a, 16) ^ int(b, 16)).bit_count()


def _dct_rows() -> npt.NDArray[np.float64]:
    """The first 8 rows of the orthonormal 32-point DCT-II, float64 (8, 32)."""
    frequency, place = np.arange(_LOW)[:, None], np.arange(_SIDE)[None, :]
    rows = np.cos(np.pi * frequency * (2 * place + 1) / (2 * _SIDE)) * np.sqrt(2 / _SIDE)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows, np.float64)
