"""A model: a function that opens it by its name. This one sees how much of an image has which colour, and reads colour words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from pairloom.models import ImageTransform, Model, TextReader

COLOURS = {
    "black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128), "red": (220, 30, 30), "green": (40, 160, 60),
    "blue": (40, 70, 200), "yellow": (245, 220, 50), "orange": (240, 140, 30), "brown": (120, 75, 40), "pink": (245, 160, 190),
    "purple": (130, 50, 150),
}  # fmt: skip
_OTHER = "[UNK]"


class ColourTowers:
    """Both halves give one number for each colour: its share of the pixels, and how often it is named."""

    def images(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        palette = np.array(list(COLOURS.values())) / 255
        nearest = [np.abs(one[None] - palette[:, :, None, None]).sum(1).argmin(0) for one in inputs]
        return np.array([np.bincount(one.ravel(), minlength=len(COLOURS)) / one.size for one in nearest], np.float32)

    def texts(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        counts = np.stack([((ids == number) & (mask == 1)).sum(1) for number in range(len(COLOURS))], 1)
        return (counts + 0.1).astype(np.float32)  # a text without colours fits all images alike


def open_colours(name: str, rest: str, device: str, threads: int) -> Model:
    """eleven colours by their names, without weights: an example"""
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate([*COLOURS, _OTHER])}, unk_token=_OTHER))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    size, plain = (32, 32), ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Model(
        name, len(COLOURS), ImageTransform("squash", size, size, *plain), TextReader(tokenizer, 64, pad_id=len(COLOURS)),
        ColourTowers(), "cpu", "float32", weights=(), languages=("en",),
    )  # fmt: skip
