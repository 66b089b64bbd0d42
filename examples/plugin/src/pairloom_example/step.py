"""A step: one class, registered under the name that the entry point has, too."""

from __future__ import annotations

import numpy as np

from pairloom import ImageStep, step


@step("greyscale")
class Greyscale(ImageStep):
    """Take the colour away; `strength` 1 leaves none. The three channels stay."""

    strength: float = 1.0

    def image(self, pixels: np.ndarray) -> np.ndarray:
        grey = pixels @ np.array([0.299, 0.587, 0.114])  # luma as in ITU-R BT.601
        return np.rint(pixels + self.strength * (grey[..., None] - pixels)).clip(0, 255).astype(np.uint8)
