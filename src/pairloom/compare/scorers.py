"""What scores pairs in a comparison: a policy's own pooling, or a head fitted for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pairloom.alignment.attention import Pooling, align_each
from pairloom.alignment.bank import Bank, BankVectors
from pairloom.alignment.head import Head, fit_head
from pairloom.choices import Fitting, Heads, Kind, Regime
from pairloom.compare.features import Features, Policy
from pairloom.errors import UsageError
from pairloom.models import Model
from pairloom.train.features import Pairs
from pairloom.train.fit import fit_attention_head

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

SEEDS = 3
"""Trainings of a head for each policy: one alone says little of what chance did."""


class Scorer(Protocol):
    """Maps embeddings once, then holds one text against many images. `AttentionHead` is one."""

    def texts(self, texts: npt.ArrayLike) -> Floats:
        """Segments (s, d), mapped."""

    def images(self, images: npt.ArrayLike) -> Floats:
        """Views (..., d), mapped."""

    def bank(self, vectors: BankVectors) -> Bank:
        """A bank, mapped."""

    def align_cosines(self, plain: npt.ArrayLike, texts: Floats, cosines: Floats, bank: Bank) -> Floats:
        """One text, its segments as they are, `plain` (s, d), and mapped, with each of n images, whose v views have these
        `cosines` (s, n, v) with it: float64 (n,)."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """Training-free pooling, of texts that a closed-form head has mapped where there is one."""

    pooling: Pooling
    kind: Kind
    head: Head | None = None

    def texts(self, texts: npt.ArrayLike) -> Floats:
        return self.head(texts) if self.head else np.asarray(texts, np.float64)

    def images(self, images: npt.ArrayLike) -> Floats:
        return np.asarray(images, np.float64)

    def bank(self, vectors: BankVectors) -> Bank:
        return Bank.of(vectors)

    def align_cosines(self, plain: npt.ArrayLike, texts: Floats, cosines: Floats, bank: Bank) -> Floats:
        return align_each(cosines, *bank.statistics(texts, plain), self.pooling, self.kind)


@dataclass(frozen=True, slots=True)
class Entrant:
    """What is compared under one name: a policy and what it made of the pairs to learn from, a policy and what it made of those
    to measure on. They are the same unless all are measured on what one recipe makes."""

    learns: Policy
    learnt: Features
    shows: Policy
    shown: Features


@dataclass(frozen=True, slots=True)
class Trial:
    """The regime, what kind of head `refit` fits, and the first seed."""

    regime: Regime = "fixed"
    head: Heads = "closed"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.regime == "fixed" and self.head == "trained":
            raise UsageError("a head is trained for each policy only with --regime refit")

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of each training; a closed form needs but one."""
        return tuple(range(self.seed, self.seed + (SEEDS if self.head == "trained" else 1)))

    def scorers(self, one: Entrant, rows: Ints, groups: Ints, model: Model) -> Sequence[Scorer]:
        """Those of an entrant, one for each seed, fitted where it has to be on these rows, of those groups of duplicates."""
        if self.regime == "fixed":
            trained = one.shows.align.trained(model) if one.shows.align else None
            return [trained or Pooled(model.pooling, one.shows.kind)]
        features, bank = one.learnt, one.learns.bank(model)
        if self.head == "closed":
            images = np.stack([features.images[row][0] for row in rows]).astype(np.float64)
            pooled = pooled_texts(features, rows, bank, model.pooling.gamma)
            return [Pooled(model.pooling, one.shows.kind, fit_head(pooled, images, groups, self.seed)[0])]
        views, texts = (tuple(parts[row] for row in rows) for parts in (features.images, features.texts))
        pairs = Pairs(views, texts, np.arange(len(rows)), groups)
        return [fit_attention_head(pairs, bank, model.pooling, Fitting(seed=seed))[0] for seed in self.seeds]


def pooled_texts(features: Features, rows: Ints, bank: BankVectors, gamma: float) -> Floats:
    """One vector a text for fitting heads, float (n, d): its pieces weighted by how informative they are, no image in view."""
    made, known = [], Bank.of(bank)
    for row in rows:
        texts = features.texts[row].astype(np.float64)
        _, informativeness = known.statistics(texts)
        weights = (informativeness / max(informativeness.max(), 1e-12)) ** gamma
        vector = weights @ texts
        made.append(vector / np.linalg.norm(vector))
    return np.stack(made)
