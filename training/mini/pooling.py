"""Attention over segments for long texts, as the design has it, and the choice of its three constants on validation data."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from encoder import Array, Encoder

Constants = tuple[float, float, float]  # gamma, tau, tau_view
GAMMAS = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 14.0)
TAUS = (0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
VIEW_TAUS = (0.01, 0.03, 0.1, 0.3)


@dataclass
class LongText:
    """The sentences of one image's text, embedded, and the vector of its first 512 characters."""

    sentences: Array
    head: Array


def mix(own: Sequence[str], others: Sequence[str], seed: int) -> list[str]:
    """A text's own sentences among twice as many unrelated ones, shuffled."""
    draw = random.Random(seed)
    sentences = [*own, *draw.sample(list(others), 2 * len(own))]
    draw.shuffle(sentences)
    return [sentence if re.search(r"[.!?。！？]$", sentence) else sentence + "." for sentence in sentences]


def embed_long(encoder: Encoder, texts: Sequence[Sequence[str]]) -> list[LongText]:
    """Embed each sentence of each text, and the beginning of the joined text."""
    flat = encoder.embed_texts([sentence for text in texts for sentence in text])
    heads = encoder.embed_texts([" ".join(text)[:512] for text in texts])
    found, place = [], 0
    for text, head in zip(texts, heads, strict=True):
        found.append(LongText(flat[place : place + len(text)], head))
        place += len(text)
    return found


def joined(sentences: Array, views: Array, tau_view: float) -> Array:
    """Similarity of sentences (k, d) with images (n, v, d): a soft maximum over the views, (k, n)."""
    match = np.einsum("kd,nvd->knv", sentences, views)
    return np.asarray(tau_view * np.log(np.exp(match / tau_view).mean(-1)), np.float32)


def score(texts: Sequence[LongText], images: Array, bank: Array, constants: Constants) -> Array:
    """Alignment of every text with every image: informativeness times relevance, bank mean subtracted."""
    gamma, tau, tau_view = constants
    rows = []
    for text in texts:
        against = text.sentences @ bank.T
        mean, spread = against.mean(1), against.std(1)
        match = joined(text.sentences, images, tau_view) if images.ndim == 3 else text.sentences @ images.T
        weight = (spread / spread.max())[:, None] ** gamma * np.exp((match - match.max(0)) / tau)
        rows.append((weight / weight.sum(0) * (match - mean[:, None])).sum(0))
    return np.stack(rows)


def policies(texts: Sequence[LongText], images: Array, bank: Array, constants: Constants) -> dict[str, Array]:
    """The same under simpler rules, for comparison."""
    return {
        "first 512 characters": np.stack([text.head for text in texts]) @ images.T,
        "mean of the sentences": np.stack([(text.sentences @ images.T).mean(0) for text in texts]),
        "best sentence": np.stack([(text.sentences @ images.T).max(0) for text in texts]),
        "attention": score(texts, images, bank, constants),
    }


def accuracy(scores: npt.NDArray[np.float32]) -> float:
    """10-way accuracy in per cent, texts to images."""
    from metrics import ranks, ten_way

    return 100 * float(ten_way(ranks(scores), len(scores)).mean())


def choose(
    sets: Sequence[tuple[Sequence[LongText], Array]], bank: Array, grid: Sequence[Constants]
) -> list[tuple[float, Constants]]:
    """Mean accuracy over the validation sets under each choice of constants, the best first."""
    table = [(float(np.mean([accuracy(score(texts, images, bank, one)) for texts, images in sets])), one) for one in grid]
    return sorted(table, reverse=True)
