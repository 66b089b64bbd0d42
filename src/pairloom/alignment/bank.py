"""What texts are held against: unrelated images, and prose that describes none. Arrays only; `models.bank` has the files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEAST = 1e-6
"""The least informativeness that is told from none, in units of cosine."""

PROSE = 0.1
"""How much of a natural logarithm a deviation of likeness to prose takes from informativeness."""

WIDTH = 0.01
"""The least deviation of likeness to prose, in units of cosine."""

EVENING = 0.3
"""What is added to the variance of each direction of a bank, in units of their mean."""


class BankVectors(NamedTuple):
    """L2-normalised embeddings of unrelated images (b, d), and of sentences of prose that describe none (p, d)."""

    images: npt.NDArray[Any]
    prose: npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """What texts are held against: the mean of the images, float64 (d,), what is left of them without it, `evened`, float64
    (b, d), and the direction of prose, float64 (d,), with what of it is `usual` in prose."""

    mean: Floats
    evened: Floats
    prose: Floats
    usual: float

    @classmethod
    def of(cls, vectors: BankVectors) -> Bank:
        """A bank of these embeddings.

        Evened are the directions in which the images differ, or the few that most of it is about would drown all others: each is
        divided by the root of its variance plus 0.3 of the mean variance, and all are scaled to the total that they had.

        Raises:
            ValueError: if there is no image or no prose, or if a number is not finite.
        """
        images, prose = (np.asarray(part, np.float64) for part in vectors)
        if not all(part.size and np.isfinite(part).all() for part in (images, prose)):
            raise ValueError("a bank needs images and prose, and finite embeddings of them")
        mean = images.mean(axis=0)
        away = images - mean
        gram = away @ away.T
        total = float(np.trace(gram))
        if total < len(away) * LEAST**2:
            evened = np.zeros_like(away)
        else:
            shrunk = gram + np.eye(len(away)) * EVENING * total / directions(*away.shape)
            evened = np.linalg.solve(np.linalg.cholesky(shrunk), away)
            evened *= math.sqrt(total / len(away) / float((evened**2).sum()))
        direction = prose.mean(axis=0)
        direction /= max(float(np.linalg.norm(direction)), LEAST)
        likeness = prose @ direction
        scale = PROSE / max(float(likeness.std()), WIDTH)
        return cls(mean, evened, direction * scale, float(likeness.mean()) * scale)

    def statistics(self, texts: npt.ArrayLike, plain: npt.ArrayLike | None = None) -> tuple[Floats, Floats]:
        """Of L2-normalised texts (s, d) the mean cosine with the images and the informativeness, both float64 (s,). `plain` are
        the same as the model embeds them, if a head has mapped them: for prose is no concern of heads.

        Informativeness is the deviation of the cosine over the evened images, times exp(-z / 10), where z says by how many
        deviations of prose a text is more like prose, in the mean, than prose is itself. By `mini` captions are about four below.
        """
        vectors = np.asarray(texts, np.float64)
        said = vectors if plain is None else np.asarray(plain, np.float64)
        deviation = np.linalg.norm(vectors @ self.evened.T, axis=1)
        return vectors @ self.mean, deviation * np.exp(self.usual - said @ self.prose)


def directions(images: int, dimension: int) -> int:
    """How many directions differ at most in a bank."""
    return max(1, min(images - 1, dimension))
