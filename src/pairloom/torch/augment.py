"""Augmentation at load time: seeded by (seed, epoch, key), so that no batch, worker or rank changes what a pair looks like."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import xxhash
from PIL import Image, ImageEnhance, ImageFilter

from pairloom.batch import Pixels
from pairloom.errors import UsageError
from pairloom.geometry import Geometry


@dataclass(frozen=True)
class Augment:
    """What may change; without arguments, a ratio-keeping crop of at least 90 % of what would be shown.

    `min_area` is the smallest share of the shown area that a crop keeps. `brightness`, `contrast` and `saturation` change by
    factors of 1 ± the given shares; `greyscale`, `blur` (a Gaussian of 0.1 to 2 pixels) and `flip` are probabilities. `flip`
    is off because captions say left and right.
    """

    min_area: float = 0.9
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    greyscale: float = 0.0
    blur: float = 0.0
    flip: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.min_area <= 1:
            raise UsageError(f"min_area is {self.min_area}; it must be over 0 and at most 1")
        for name in ("brightness", "contrast", "saturation", "greyscale", "blur", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")

    def geometry(self, geometry: Geometry, rng: np.random.Generator) -> Geometry:
        """Show a window of the same shape, from anywhere in the image, on the same box: the ratio stays as it was."""
        share = math.sqrt(rng.uniform(self.min_area, 1.0))
        x, y = rng.random(2)
        width, height = ((geometry.crop[side + 2] - geometry.crop[side]) * share for side in (0, 1))
        left, top = x * max(0.0, geometry.source_width - width), y * max(0.0, geometry.source_height - height)
        crop = (left, top, min(left + width, float(geometry.source_width)), min(top + height, float(geometry.source_height)))
        return replace(geometry, crop=crop)

    def colours(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Change the colours of an image, RGB uint8 (h, w, 3)."""
        factors = 1 + np.array([self.brightness, self.contrast, self.saturation]) * rng.uniform(-1, 1, 3)
        grey, blurred = rng.random(2) < (self.greyscale, self.blur)
        radius = rng.uniform(0.1, 2.0)
        if not (grey or blurred or (factors != 1).any()):
            return pixels
        image: Image.Image = Image.fromarray(pixels)
        for enhance, factor in zip((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors, strict=True):
            image = enhance(image).enhance(float(factor)) if factor != 1 else image
        image = image.convert("L").convert("RGB") if grey else image
        return np.array(image.filter(ImageFilter.GaussianBlur(radius)) if blurred else image)

    def mirrors(self, rng: np.random.Generator) -> bool:
        """Whether this image is flipped."""
        return bool(rng.random() < self.flip)


def seeded(seed: int, epoch: int, key: str, what: str) -> np.random.Generator:
    """Numbers that depend on nothing else; `what` keeps those for the image apart from those for the text."""
    return np.random.default_rng(xxhash.xxh64_intdigest(f"{seed}:{epoch}:{what}:{key}".encode("utf-8", "surrogatepass")))
