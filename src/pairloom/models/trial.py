"""Tries a model once when it is opened, so that files that don't fit together are found before any pair is scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pairloom.errors import UsageError
from pairloom.models.model import Model


def tried(model: Model, faults: tuple[type[Exception], ...]) -> Model:
    """The same model with its dimension, found by embedding one grey image and one letter.

    Raises:
        UsageError: if a tower raises one of `faults`, or the two don't give finite vectors of one dimension.
    """
    size = next(iter(model.transform.buckets), model.transform.size)
    grey = np.full((size[1], size[0], 3), 127, np.uint8)
    try:
        image = model.towers.images([model.transform.apply(grey)])
        text = model.towers.texts(*model.reader.pad(model.reader.read(["a"])))
    except faults as fault:
        said = str(fault).strip().partition("\n")[0]
        raise UsageError(f"{model.name}: its weights, tokenizer and image preprocessing don't fit together: {said}") from None
    dimension = model.dimension or int(image.shape[-1])
    if image.shape != (1, dimension) or text.shape != (1, dimension):
        said = f"one image gives {image.shape}, one text {text.shape}, where both should give (1, {dimension})"
        raise UsageError(f"{model.name}: its towers don't fit together: {said}")
    if not (np.isfinite(image).all() and np.isfinite(text).all()):
        raise UsageError(
            f"{model.name}: a grey image and the letter a give embeddings that are not finite; its weights are broken"
        )
    return replace(model, dimension=dimension)
