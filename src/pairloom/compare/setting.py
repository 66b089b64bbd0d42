"""What all policies share: which pairs there are, which of them are the same, and whom each has to be told from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairloom import readers
from pairloom.alignment.bank import Bank
from pairloom.compare.features import Known
from pairloom.errors import UsageError
from pairloom.models import embed_bank
from pairloom.readers.model import Plan, ReadOptions
from pairloom.run import read_batches
from pairloom.steps.decode import Decode
from pairloom.steps.dedup import duplicate_groups
from pairloom.steps.hash import ImageHash
from pairloom.steps.segment import sentences
from pairloom.steps.text import Clean, DetectLanguage
from pairloom.tokenizer import count

Ints = npt.NDArray[np.int64]

WAYS = 10
FEWEST = 2 * WAYS
"""With fewer groups of pairs there are not enough negatives, and no interval means anything."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The pairs that can be compared, in input order: `keys`; `groups` (n,), equal for duplicates; `texts` (n, d), the clean
    texts embedded whole; `buckets`, by name the values of each pair."""

    keys: tuple[str, ...]
    groups: Ints
    texts: npt.NDArray[np.float32]
    buckets: dict[str, tuple[str, ...]]

    def only(self, rows: Ints) -> Setting:
        """The same with some of the pairs."""
        buckets = {name: tuple(values[row] for row in rows) for name, values in self.buckets.items()}
        return Setting(tuple(self.keys[row] for row in rows), self.groups[rows], self.texts[rows], buckets)

    def rivals(self, seed: int) -> tuple[Ints, Ints]:
        """For each text nine images (n, 9) to be told from its own, drawn at random; and those whose texts are most alike.

        They come from the clean texts alone, so they are the same for all policies. Never duplicates of the pair itself.

        Raises:
            UsageError: if there are too few different pairs.
        """
        different = len(np.unique(self.groups))
        if different < FEWEST:
            raise UsageError(f"only {different} different pairs can be compared; it takes at least {FEWEST}")
        chance = np.random.default_rng(seed)
        random = [chance.choice(np.flatnonzero(self.groups != group), WAYS - 1, replace=False) for group in self.groups]
        texts = self.texts.astype(np.float64)
        alike = np.where(self.groups[:, None] == self.groups[None, :], -np.inf, texts @ texts.T)
        return np.stack(random), np.argsort(-alike, axis=1, kind="stable")[:, : WAYS - 1]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A pair as it is before any policy."""

    key: str
    sha256: str
    phash: str
    text: str
    ratio: float


def survey(plan: Plan, reading: ReadOptions, known: Known) -> Setting:
    """Look at all pairs that can be decoded and have a text, cleaned and not otherwise prepared."""
    seen = list(_pairs(plan, reading))
    vectors = known.texts([one.text for one in seen])
    texts = np.stack(vectors) if vectors else np.zeros((0, known.model.dimension), np.float32)
    groups = duplicate_groups([(one.sha256, one.phash, one.text) for one in seen])
    return Setting(tuple(one.key for one in seen), groups, texts, _buckets(seen, known))


def _pairs(plan: Plan, reading: ReadOptions) -> Iterator[_Seen]:
    steps = (Decode().bind([ImageHash()]), Clean(), ImageHash())
    for shard in plan.shards:
        for batch in read_batches(readers.read(shard, reading), shard.index, 10_000):
            for step in steps:
                batch, _ = step(batch.split()[0]).split()
            names = ("key", "sha256", "phash", "text", "original_width", "original_height")
            for key, sha256, phash, text, width, height in zip(*(batch[name] for name in names), strict=True):
                yield _Seen(key, sha256, phash, text, max(width, height) / min(width, height))


def _buckets(seen: Sequence[_Seen], known: Known) -> dict[str, tuple[str, ...]]:
    detect, bank = DetectLanguage(), Bank.of(embed_bank(known.model))
    tokens = [count("clip", one.text) + 2 for one in seen]
    return {
        "aspect ratio": tuple("< 1.2" if one.ratio < 1.2 else "1.2 to 1.8" if one.ratio < 1.8 else "≥ 1.8" for one in seen),
        "text tokens": tuple("≤ 77" if each <= 77 else "78 to 256" if each <= 256 else "> 256" for each in tokens),
        "language": tuple(detect.text(one.text)[0] for one in seen),
        "most informative sentence": tuple(_place(one.text, bank, known) for one in seen),
    }


def _place(text: str, bank: Bank, known: Known) -> str:
    """Where in the text the sentence stands that tells most about images, whichever image it is."""
    spans = sentences(text)
    if len(spans) < 3:
        return "one of few"
    spans = spans[:512]
    vectors = np.stack(known.texts([text[start:end] for start, end in spans]))
    _, informativeness = bank.statistics(vectors)
    start, end = spans[int(informativeness.argmax())]
    third = int(3 * (start + end) / 2 / max(1, len(text)))
    return ("in the first third", "in the middle", "in the last third")[min(2, third)]
