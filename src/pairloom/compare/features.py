"""What a policy makes of each pair, as a model sees it: its final image and the text it keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pairloom import readers
from pairloom.alignment.bank import BankVectors
from pairloom.batch import Batch, Pixels
from pairloom.choices import Kind
from pairloom.geometry import Box
from pairloom.models import Model, embed_bank
from pairloom.readers.model import Plan, ReadOptions
from pairloom.recipe import Recipe
from pairloom.run import read_batches, run_steps
from pairloom.select import drop
from pairloom.stats import StepCount
from pairloom.step import Selection, Step
from pairloom.steps.align import Align, cut_view, embed_in_parts
from pairloom.steps.decode import Decode
from pairloom.steps.image import TokenRatio
from pairloom.steps.truncate import Truncate
from pairloom.tokenizer import count
from pairloom.writers.webdataset import final_texts

Vectors = npt.NDArray[np.float32]
Change = Callable[[Pixels], Pixels]
_SEGMENTS = 512  # of one text, as in `align`


@dataclass(frozen=True, slots=True)
class Policy:
    """A recipe under comparison. With `learns` it prepares only what heads are fitted on: what it writes, selected as it says."""

    name: str
    recipe: Recipe
    learns: bool = False

    @property
    def align(self) -> Align | None:
        """The step that says how texts are pooled; without one a policy reads its text as one piece."""
        return next((step for step in self.recipe.steps if isinstance(step, Align)), None)

    @property
    def kind(self) -> Kind:
        """How the policy pools. To learn from is the caption that it writes, if it writes one."""
        writes = self.learns and any(isinstance(step, Truncate) for step in self.recipe.steps)
        return self.align.pooling if self.align and not writes else "whole"

    @property
    def select(self) -> tuple[Selection, ...]:
        """What is selected among all pairs of a run: never those that are measured on."""
        return self.recipe.select if self.learns else ()

    @property
    def said(self) -> list[object]:
        """All that its features depend on, beside the pairs and the model, as plain values."""
        literal = self.recipe.to_literal()
        return [literal["steps"], self.recipe.versions(), *([literal.get("select")] if self.learns else [])]

    def bank(self, model: Model) -> BankVectors:
        """The embedded images by which it tells what is informative."""
        return embed_bank(model, self.align.bank if self.align else None)


@dataclass(frozen=True, slots=True)
class Features:
    """The pairs that a policy kept: `keys`, and for each the embedded views of its final image, float32 (v, d), the embedded
    pieces of its text, float32 (s, d), the share of the text's tokens and of the image's area that is gone; and the seconds
    that its steps took for all of them, without the embedding."""

    keys: tuple[str, ...]
    images: tuple[Vectors, ...]
    texts: tuple[Vectors, ...]
    text_lost: npt.NDArray[np.float64]
    area_lost: npt.NDArray[np.float64]
    seconds: float

    def without(self, dropped: Container[str]) -> Features:
        """The same with those pairs gone."""
        rows = [row for row, key in enumerate(self.keys) if key not in dropped]
        images, texts = (tuple(part[row] for row in rows) for part in (self.images, self.texts))
        keys = tuple(self.keys[row] for row in rows)
        return Features(keys, images, texts, self.text_lost[rows], self.area_lost[rows], self.seconds)


@dataclass(frozen=True, slots=True)
class Known:
    """A model and all that it has embedded so far: what two policies have in common is embedded once."""

    model: Model
    _vectors: dict[bytes, Vectors] = field(default_factory=dict)

    def texts(self, texts: Sequence[str]) -> list[Vectors]:
        """The vector of each text, float32 (d,)."""
        return self._embedded(self.model.embed_texts, texts, [_mark(text.encode("utf-8", "surrogatepass")) for text in texts], 64)

    def images(self, images: Sequence[Pixels]) -> list[Vectors]:
        """The vector of each image, float32 (d,)."""
        marks = [_mark(repr(image.shape).encode(), np.ascontiguousarray(image).data) for image in images]
        return self._embedded(self.model.embed_images, images, marks, 16)

    def _embedded(
        self, embed: Callable[[Any], Vectors], values: Sequence[Any], marks: Sequence[bytes], size: int
    ) -> list[Vectors]:
        new = {mark: value for mark, value in zip(marks, values, strict=True) if mark not in self._vectors}
        self._vectors.update(zip(new, embed_in_parts(embed, list(new.values()), size), strict=True))
        return [self._vectors[mark] for mark in marks]


def _mark(*parts: Any) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.digest()


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
    policy: Policy, widest: Widest, plan: Plan, reading: ReadOptions, known: Known, change: Change = lambda pixels: pixels
) -> Features:
    """Run the steps of a policy over the plan and embed what comes out.

    `change` is done to every final image, for the controls.
    """
    steps = [step.bind((widest,)) if isinstance(step, Decode) else step for step in _line(policy)]
    counts = [StepCount(step.name) for step in steps]
    columns = ["key", *sorted({column for one in policy.select for column in one.reads})]
    parts, ledgers = [], []
    for shard in plan.shards:
        for batch in read_batches(readers.read(shard, reading), shard.index, 10_000):
            kept = run_steps(steps, batch, counts, lambda bad, step: None)
            if len(kept):
                parts.append(tuple(_embedded(policy, kept, known, change)))
                ledgers.append(kept.table.select(columns))
    found = list(zip(*parts, strict=True)) if parts else [()] * 5
    keys, images, texts, text_lost, area_lost = ([one for part in column for one in part] for column in found)
    seconds = sum(count.seconds for count in counts)
    features = Features(tuple(keys), tuple(images), tuple(texts), np.array(text_lost), np.array(area_lost), seconds)
    return (
        features.without(drop(pa.concat_tables(ledgers).combine_chunks(), policy.select)) if policy.select and keys else features
    )


def _line(policy: Policy) -> list[Step]:
    """The steps of a policy without those whose scores nothing reads here: segments are scored against every image anyway."""
    line: list[Step] = []
    wanted = {column for one in policy.select for column in one.reads}
    for step in reversed(policy.recipe.bound()):
        scores = isinstance(step, Align | TokenRatio) or (isinstance(step, Truncate) and step.by == "alignment")
        if policy.kind != "whole" and scores and not wanted & set(step.adds):
            continue
        line.insert(0, step)
        wanted |= set(step.reads)
    return line


def embed_pictures(pictures: Sequence[Pixels], policy: Policy, known: Known) -> list[Vectors]:
    """The views of each image as the policy looks at it, float32 (v, d) each."""
    boxes = [_boxes(policy, pixels) for pixels in pictures]
    views = [
        cut_view(pixels, (pixels.shape[1], pixels.shape[0]), box)
        for pixels, each in zip(pictures, boxes, strict=True)
        for box in each
    ]
    vectors = iter(known.images(views))
    return [np.stack([next(vectors) for _ in each]) for each in boxes]


def _embedded(policy: Policy, kept: Batch, known: Known, change: Change) -> Iterator[Sequence[object]]:
    """Keys, views, pieces and losses of a batch."""
    decode = Decode()
    pictures = [change(decode.image(data).pixels) for data in kept["image"]]
    pieces = _pieces(policy, kept)
    vectors = iter(known.texts([piece for row in pieces for piece in row]))
    yield kept["key"]
    yield embed_pictures(pictures, policy, known)
    yield [np.stack([next(vectors) for _ in row]) for row in pieces]
    whole = policy.kind == "whole"
    yield list(map(_lost, kept["original_text"], final_texts(kept))) if whole else [0.0] * len(kept)
    yield [cell["lost"] for cell in kept["geometry"]] if "geometry" in kept.table.column_names else [0.0] * len(kept)


def _pieces(policy: Policy, kept: Batch) -> list[list[str]]:
    """What of each text is embedded. Where segments are pooled it is all of them: which ones a policy keeps for the true image
    must not help it to find that image. Of several captions it is the first, for the same reason."""
    if policy.kind == "whole":
        return [[text] for text in final_texts(kept)]
    made = []
    for texts, cells in zip(kept["texts"], kept["segments"], strict=True):
        text = texts[0] if texts else ""
        spans = [(cell["start"], cell["end"]) for cell in cells if cell["caption"] == 0]
        made.append([text[start:end] for start, end in spans[:_SEGMENTS]] or [text])
    return made


def _boxes(policy: Policy, pixels: Pixels) -> list[Box]:
    height, width = pixels.shape[:2]
    return policy.align.boxes(width, height) if policy.align else [(0.0, 0.0, float(width), float(height))]


def _lost(original: str, kept: str) -> float:
    """The share of a text's tokens that a policy cut off, counted by the tokenizer of CLIP."""
    whole = count("clip", original)
    return max(0.0, 1 - count("clip", kept) / whole) if whole else 0.0
