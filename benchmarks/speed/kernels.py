"""The resize alone: decoded photographs, RGB uint8, made to fit into 512 by 512 by a bicubic filter."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from speed import pictures
from speed.contender import Contender, Make, each

SIDE = 512


def load() -> list[np.ndarray]:
    """Photographs, decoded whole."""
    return [np.array(Image.open(io.BytesIO(data)).convert("RGB")) for data in pictures.load()]


def pairloom() -> Contender:
    """The compiled kernel that the processor chose."""
    from pairloom.resize import resize

    return Contender(each(lambda pixels: resize(pixels, _size(pixels))), lambda pixels: resize(pixels, _size(pixels)))


def pillow() -> Contender:
    """`Image.resize`; turning arrays into images isn't timed."""
    images: dict[int, Image.Image] = {}

    def work(pixels: np.ndarray) -> Image.Image:
        if id(pixels) not in images:
            images[id(pixels)] = Image.fromarray(pixels)
        return images[id(pixels)].resize(_size(pixels), Image.Resampling.BICUBIC)

    return Contender(each(work), lambda pixels: np.asarray(work(pixels)))


def opencv() -> Contender:
    """`INTER_AREA`, which is antialiased; another filter than bicubic."""
    import cv2

    cv2.setNumThreads(1)
    return Contender(each(lambda pixels: cv2.resize(pixels, _size(pixels), interpolation=cv2.INTER_AREA)))


CONTENDERS: dict[str, tuple[str, Make]] = {
    "Pairloom": ("pairloom", pairloom),
    "Pillow": ("pairloom", pillow),
    "OpenCV, INTER_AREA": ("images", opencv),
}


def _size(pixels: np.ndarray) -> pictures.Size:
    return pictures.fitted(pixels.shape[1], pixels.shape[0], SIDE)
