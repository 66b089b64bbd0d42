"""Attention over segments for long texts, as the package has it, and the choice of its constants on validation data."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from encoder import Array, Encoder
from images import read

from pairloom.alignment.attention import Pooling, align_each
from pairloom.alignment.bank import Bank, BankVectors
from pairloom.models.bank import PROSE as UNRELATED

PROSE = 10
GAMMAS = (2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0)
VIEW_TAUS = (0.01, 0.03, 0.1, 0.3)


@dataclass
class LongText:
    """The sentences of one image's text, embedded, and the vector of its first 512 characters."""

    sentences: Array
    head: Array


def mix(own: Sequence[str], others: Sequence[str], seed: int) -> list[str]:
    """A text's own sentences among ten unrelated ones, shuffled."""
    draw = random.Random(seed)
    sentences = [*own, *draw.sample(list(others), PROSE)]
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


def embed_bank(encoder: Encoder, folder: Path) -> BankVectors:
    """The images of a folder, and the package's prose."""
    said = [line for path in sorted(UNRELATED.glob("*.txt")) for line in path.read_text("utf-8").splitlines()]
    return BankVectors(encoder.embed_images([read(path) for path in sorted(folder.glob("*.jpg"))]), encoder.embed_texts(said))


def score(texts: Sequence[LongText], images: Array, bank: BankVectors, constants: Pooling) -> Array:
    """Alignment of every text with every image (n, d), or with its views (n, v, d)."""
    views = images if images.ndim == 3 else images[:, None]
    rows, known = [], Bank.of(bank)
    for text in texts:
        cosines = np.einsum("sd,nvd->snv", text.sentences, views)
        rows.append(align_each(cosines, *known.statistics(text.sentences), constants))
    return np.stack(rows)


def policies(texts: Sequence[LongText], images: Array, bank: BankVectors, constants: Pooling) -> dict[str, Array]:
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
    sets: Sequence[tuple[Sequence[LongText], Array]], bank: BankVectors, grid: Sequence[Pooling]
) -> list[tuple[float, Pooling]]:
    """Mean accuracy over the validation sets under each choice of constants, the best first."""
    table = [(float(np.mean([accuracy(score(texts, images, bank, one)) for texts, images in sets])), one) for one in grid]
    return sorted(table, key=lambda row: -row[0])
