"""From picture files to the frozen image tower's features, under one of several geometries, computed once and kept."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnxruntime import InferenceSession
from PIL import Image
from towers import Array

from pairloom.geometry import Geometry
from pairloom.steps.image import CenterCrop, Letterbox, Stretch, draw

MEAN, STD, SIZE = 127.0, 128.0, 256
BUCKETS = ((256, 256), (288, 224), (224, 288), (352, 192), (192, 352), (448, 160), (160, 448))
Pixels = npt.NDArray[np.uint8]


def place(width: int, height: int, mode: str) -> Geometry:
    """Where an image of `width` x `height` goes under a geometry."""
    if mode == "buckets":
        ratio = np.log(width / height)
        return Geometry.resize((width, height), min(BUCKETS, key=lambda size: abs(np.log(size[0] / size[1]) - ratio)))
    step = {"squash": Stretch(size=SIZE), "shortest": CenterCrop(size=SIZE), "letterbox": Letterbox(size=SIZE)}[mode]
    return step.geometry(width, height)


def view(pixels: Pixels, mode: str, number: int, seed: int) -> Pixels:
    """View 0 is the whole image; others are crops of 60 % of the area or more, every second one mirrored."""
    if number:
        chance = random.Random(f"{seed}:{number}")
        height, width = pixels.shape[:2]
        share = chance.uniform(0.6, 1.0) ** 0.5
        h, w = max(1, round(height * share)), max(1, round(width * share))
        top, left = chance.randint(0, height - h), chance.randint(0, width - w)
        pixels = pixels[top : top + h, left : left + w]
        pixels = pixels[:, ::-1] if number % 2 else pixels
    return fit_pixels(np.ascontiguousarray(pixels), mode)


def fit_pixels(pixels: Pixels, mode: str) -> Pixels:
    """An image under a geometry; what is padded is grey, the tower's zero."""
    return draw(pixels, place(pixels.shape[1], pixels.shape[0], mode), (127, 127, 127))


def read(path: Path) -> Pixels:
    """The pixels of a prepared picture."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def normalise(images: Sequence[Pixels]) -> Array:
    """Pixels of one size to the tower's input, (n, 3, h, w)."""
    return np.ascontiguousarray(((np.stack(images).astype(np.float32) - MEAN) / STD).transpose(0, 3, 1, 2))


def features(tower: InferenceSession, images: Sequence[Pixels], batch: int = 32) -> Array:
    """What the networks saw, float16 (n, f); images of one size share a batch."""
    sizes: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, image in enumerate(images):
        sizes[image.shape].append(number)
    rows: dict[int, Array] = {}
    for numbers in sizes.values():
        for first in range(0, len(numbers), batch):
            part = numbers[first : first + batch]
            (found,) = tower.run(None, {"pixels": normalise([images[number] for number in part])})
            rows |= dict(zip(part, found, strict=True))
    return np.stack([rows[number] for number in range(len(images))]).astype(np.float16)


def cached_features(tower: InferenceSession, files: Sequence[Path], mode: str, number: int, target: Path) -> Array:
    """Features of one view of all files, kept in `target`."""
    if not target.exists():
        parts = []
        for first in range(0, len(files), 512):
            images = [view(read(path), mode, number, first + place) for place, path in enumerate(files[first : first + 512])]
            parts.append(features(tower, images))
        np.save(target, np.concatenate(parts))
    found: Array = np.load(target)
    return found
