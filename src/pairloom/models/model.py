"""A dual encoder as a scorer sees it: images and texts in, unit vectors of one space out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from tokenizers import Tokenizer

from pairloom.alignment.attention import Pooling
from pairloom.batch import Pixels
from pairloom.models.reader import Ids, Reader
from pairloom.models.transform import Array, ImageTransform

T = TypeVar("T")
_IMAGES, _TEXTS = 32, 64  # most in one call of a tower: more gains nothing and costs memory
_MIXED = 1.5  # times the shortest text of a call that the longest may have: a sentence beside a whole caption is padding mostly


class Towers(Protocol):
    """The two halves of a back end; what they return needs not be normalised."""

    def images(self, inputs: Sequence[Array]) -> Array:
        """Images as the transform made them, n arrays float32 (3, h, w), to features float32 (n, d)."""

    def texts(self, ids: Ids, mask: Ids) -> Array:
        """Token ids and their mask, int64 (n, length), to features float32 (n, d)."""


@dataclass(frozen=True, eq=False)
class Model:
    """One dual encoder, opened by `pairloom.models.load`.

    `languages` are codes such as `en`, `zh`; empty where the checkpoint does not say. `device` is cpu, cuda:N or mps.
    `precision` is what the towers compute in, `weights` the files that they were read from. `package` names the installed
    package that brought the model, with its version; empty for Pairloom's own back ends.
    """

    name: str
    dimension: int
    transform: ImageTransform
    reader: Reader
    towers: Towers
    device: str
    precision: str
    weights: tuple[Path, ...]
    languages: tuple[str, ...] = ()
    pooling: Pooling = field(default_factory=Pooling)
    package: str = ""

    @property
    def context_length(self) -> int:
        """The most tokens that the model reads of a text, begin and end marks included."""
        return self.reader.context_length

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The model's tokenizer, without truncation and padding; None where the back end has one of its own kind."""
        return self.reader.tokenizer

    def canonical(self, text: str) -> str:
        """The text as the model reads it: SigLIP drops case and punctuation, most leave it as it is."""
        return self.reader.canonical(text)

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has for this model, begin and end marks included, however long it is."""
        return self.reader.count(text)

    def is_empty(self, text: str) -> bool:
        """Whether nothing of a text reaches the model; its embedding would mean nothing."""
        return self.reader.is_empty(text)

    def embed_images(self, images: Sequence[Pixels]) -> Array:
        """Embed images, RGB uint8 (h, w, 3) of any sizes, each prepared by the model's own transform.

        Returns float32 (n, dimension), rows of length 1 in the order given, the same alone as among others to 1e-4 (in half
        precision on a GPU to 1e-2). A row that is not finite says that the model failed on that image; none is ever made zero.
        """
        shapes = [self._shape(image) for image in images]
        order = sorted(range(len(images)), key=shapes.__getitem__)
        same = [list(rows) for _, rows in groupby(order, shapes.__getitem__)]
        batches = [rows for shape in same for rows in _cut(shape, _IMAGES)]
        return self._embed(images, batches, lambda some: self.towers.images([self.transform.apply(image) for image in some]))

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Embed texts; what goes beyond `context_length` is cut off.

        Returns float32 (n, dimension) as `embed_images` does. A text that `is_empty` gives a row all the same: that of the
        marks alone, which says nothing.
        """
        rows = self.reader.read(texts)
        lengths = [self.reader.pad([row])[0].shape[1] for row in rows]  # some readers pad all to one length
        return self._embed(rows, _alike(lengths, _TEXTS), lambda some: self.towers.texts(*self.reader.pad(some)))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that embeddings depend on but the versions of libraries: weights, transform, text rules, device class,
        the package that brought the model.

        The same on every machine for the same files.
        """
        package = [self.package] if self.package else []
        whole = "\n".join((self._files, self.device.partition(":")[0], self.precision, *package))
        return hashlib.sha256(whole.encode()).hexdigest()

    @cached_property
    def identity(self) -> str:
        """SHA-256 of weights, transform and text rules: the same model on whatever device, to which a trained head belongs."""
        return hashlib.sha256(self._files.encode()).hexdigest()

    @cached_property
    def _files(self) -> str:
        return "\n".join((*(_digest(path) for path in self.weights), self.transform.rules(), self.reader.rules()))

    def _shape(self, image: Pixels) -> tuple[int, int]:
        """What images must share to go through the tower together. NaFlex pads its patches to one length."""
        if self.transform.mode == "naflex":
            return (0, 0)
        geometry = self.transform.geometry(image.shape[1], image.shape[0])
        return geometry.width, geometry.height

    def _embed(self, values: Sequence[T], batches: Sequence[list[int]], tower: Callable[[list[T]], Array]) -> Array:
        embedded = np.full((len(values), self.dimension), np.nan, np.float64)  # a norm in float32 could overflow to zeros
        for rows in batches:
            embedded[rows] = tower([values[row] for row in rows])
        with np.errstate(divide="ignore", invalid="ignore"):  # a zero vector becomes NaN, which is the truth
            unit: Array = (embedded / np.linalg.norm(embedded, axis=1, keepdims=True)).astype(np.float32)
        return unit


def _cut(rows: list[int], most: int) -> list[list[int]]:
    return [rows[start : start + most] for start in range(0, len(rows), most)]


def _alike(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Rows of like length together, at most `most`, so that padding never takes more than a third of a batch or so."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not batches or len(batches[-1]) == most or lengths[row] > _MIXED * lengths[batches[-1][0]]:
            batches.append([])
        batches[-1].append(row)
    return batches


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}"
