"""What a policy makes of each pair, as a model sees it: its final image and the text it keeps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairloom import readers
from pairloom.batch import Batch, Pixels
from pairloom.choices import Kind
from pairloom.geometry import Box
from pairloom.models import Model
from pairloom.readers.model import Plan, ReadOptions
from pairloom.recipe import Recipe
from pairloom.run import read_batches, run_steps
from pairloom.stats import StepCount
from pairloom.step import Step
from pairloom.steps.align import Align, cut_view, embed_in_parts
from pairloom.steps.decode import Decode
from pairloom.steps.segment import sentences
from pairloom.tokenizer import count
from pairloom.writers.webdataset import final_texts

Vectors = npt.NDArray[np.float32]
Change = Callable[[Pixels], Pixels]
_SEGMENTS = 512  # of one text, as in `align`


@dataclass(frozen=True, slots=True)
class Policy:
    """A recipe under comparison."""

    name: str
    recipe: Recipe

    @property
    def align(self) -> Align | None:
        """The step that says how texts are pooled; without one a policy reads its text as one piece."""
        return next((step for step in self.recipe.steps if isinstance(step, Align)), None)

    @property
    def kind(self) -> Kind:
        """How the policy pools."""
        return self.align.pooling if self.align else "whole"


@dataclass(frozen=True, slots=True)
class Features:
    """The pairs that a policy kept: `keys`, and for each the embedded views of its final image, float32 (v, d), the embedded
    pieces of its text, float32 (s, d), the share of the text's tokens and of the image's area that is gone."""

    keys: tuple[str, ...]
    images: tuple[Vectors, ...]
    texts: tuple[Vectors, ...]
    text_lost: npt.NDArray[np.float64]
    area_lost: npt.NDArray[np.float64]
    seconds: float


class Widest(Step):
    """Stands behind `decode` for all policies at once, so that none is better for having decoded larger."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._lines = [policy.recipe.steps for policy in policies]

    def needs(self, width: int, height: int) -> tuple[int, int] | None:
        found = [need for line in self._lines for need in _needed(line, width, height)]
        return (max(w for w, _ in found), max(h for _, h in found)) if found else None


def _needed(steps: Sequence[Step], width: int, height: int) -> Iterator[tuple[int, int]]:
    for step in steps[1:]:
        need = step.needs(width, height)
        if need:
            yield need
            if step.changes_pixels:
                return


def compute(
    policy: Policy, widest: Widest, plan: Plan, reading: ReadOptions, model: Model, change: Change = lambda pixels: pixels
) -> Features:
    """Run the steps of a policy over the plan and embed what comes out; its `select:` is left out.

    `change` is done to every final image, for the controls.
    """
    start = time.perf_counter()
    steps = [step.bind((widest,)) if isinstance(step, Decode) else step for step in policy.recipe.bound()]
    counts = [StepCount(step.name) for step in steps]
    parts = []
    for shard in plan.shards:
        for batch in read_batches(readers.read(shard, reading), shard.index, 10_000):
            kept = run_steps(steps, batch, counts, lambda bad, step: None)
            if len(kept):
                parts.append(tuple(_embedded(policy, kept, model, change)))
    columns = list(zip(*parts, strict=True)) if parts else [()] * 5
    keys, images, texts, text_lost, area_lost = ([one for part in column for one in part] for column in columns)
    seconds = time.perf_counter() - start
    return Features(tuple(keys), tuple(images), tuple(texts), np.array(text_lost), np.array(area_lost), seconds)


def embed_pictures(pictures: Sequence[Pixels], policy: Policy, model: Model) -> list[Vectors]:
    """The views of each image as the policy looks at it, float32 (v, d) each."""
    boxes = [_boxes(policy, pixels) for pixels in pictures]
    views = [
        cut_view(pixels, (pixels.shape[1], pixels.shape[0]), box)
        for pixels, each in zip(pictures, boxes, strict=True)
        for box in each
    ]
    vectors = iter(embed_in_parts(model.embed_images, views, 16))
    return [np.stack([next(vectors) for _ in each]) for each in boxes]


def _embedded(policy: Policy, kept: Batch, model: Model, change: Change) -> Iterator[Sequence[object]]:
    """Keys, views, pieces and losses of a batch."""
    decode = Decode()
    pictures = [change(decode.image(data).pixels) for data in kept["image"]]
    pieces = _pieces(policy, kept)
    texts = list(dict.fromkeys(piece for row in pieces for piece in row))
    known = dict(zip(texts, embed_in_parts(model.embed_texts, texts, 64), strict=True))
    yield kept["key"]
    yield embed_pictures(pictures, policy, model)
    yield [np.stack([known[piece] for piece in row]) for row in pieces]
    yield [0.0 if policy.kind != "whole" else _lost(*pair) for pair in zip(kept["original_text"], final_texts(kept), strict=True)]
    yield [cell["lost"] for cell in kept["geometry"]] if "geometry" in kept.table.column_names else [0.0] * len(kept)


def _pieces(policy: Policy, kept: Batch) -> list[list[str]]:
    """What of each text is embedded. Where segments are pooled it is all of them: which ones a policy keeps for the true image
    must not help it to find that image."""
    if policy.kind == "whole":
        return [[text] for text in final_texts(kept)]
    return [[text[start:end] for start, end in sentences(text)[:_SEGMENTS]] or [text] for text in kept["text"]]


def _boxes(policy: Policy, pixels: Pixels) -> list[Box]:
    height, width = pixels.shape[:2]
    return policy.align.boxes(width, height) if policy.align else [(0.0, 0.0, float(width), float(height))]


def _lost(original: str, kept: str) -> float:
    """The share of a text's tokens that a policy cut off, counted by the tokenizer of CLIP."""
    whole = count("clip", original)
    return max(0.0, 1 - count("clip", kept) / whole) if whole else 0.0
