"""What is trained on, what a batch sees of embeddings, and how texts of many lengths lie together in one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pairloom.choices import Fitting
from pairloom.errors import UsageError

FEWEST = 20
"""Different pairs, below which there is nothing to validate on."""

_MOST = 1000  # groups to validate on: more cost time and say little


def split(groups: npt.NDArray[np.int64], fitting: Fitting) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Texts to train on and to validate on; a group of duplicates is never on both sides."""
    different = np.random.default_rng(fitting.seed).permutation(np.unique(groups))
    if len(different) < FEWEST:
        raise UsageError(f"only {len(different)} different pairs can be trained on; it takes at least {FEWEST}")
    held = np.isin(groups, different[: max(2, min(_MOST, round(len(different) * fitting.validation)))])
    return np.flatnonzero(~held), np.flatnonzero(held)


def part(segments: npt.NDArray[np.float32], chance: np.random.Generator) -> npt.NDArray[np.float32]:
    """Some of the segments, one at least."""
    return segments[chance.permutation(len(segments))[: chance.integers(len(segments)) + 1]]


def dropped(torch: Any, vectors: Any, share: float, chance: np.random.Generator) -> Any:
    """The vectors with a share of their numbers at 0, of length 1 again."""
    left = vectors * torch.from_numpy(chance.random(vectors.shape, np.float32) >= share)
    return left / left.norm(dim=-1, keepdim=True).clamp_min(1e-6)


def joined(torch: Any, parts: list[npt.NDArray[np.float32]]) -> tuple[Any, Any]:
    """Vectors of all parts (f, d), and the mask (n, most) of which part has how many."""
    counts = np.array([len(part) for part in parts])
    return torch.from_numpy(np.concatenate(parts)), torch.from_numpy(np.arange(counts.max()) < counts[:, None])


def by_text(values: Any, there: Any, empty: float) -> Any:
    """What is known of all segments (f, …) by text, (n, most, …), with `empty` where a text has no more."""
    whole = values.new_full((*there.shape, *values.shape[1:]), empty)
    whole[there] = values
    return whole


def padded(torch: Any, parts: list[npt.NDArray[np.float32]]) -> tuple[Any, Any]:
    """Vectors (n, most, d) and the mask of what is no padding. The padding repeats the first one: zeros have no direction."""
    most = max(map(len, parts))
    whole = np.stack([np.concatenate([part, np.repeat(part[:1], most - len(part), axis=0)]) for part in parts])
    mask = np.arange(most) < np.array([len(part) for part in parts])[:, None]
    return torch.from_numpy(whole), torch.from_numpy(mask)


def mapped(vectors: Any, weights: Any) -> Any:
    """As `AttentionHead.texts` and `images` map, of length 1 again."""
    moved = vectors + vectors @ weights
    return moved / moved.norm(dim=-1, keepdim=True)


def shuffled(rows: npt.NDArray[np.int64], batch: int, chance: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """The texts of an epoch in batches. What is left over at the end is no batch of its own: few pairs have few negatives."""
    order = chance.permutation(rows)
    yield from np.array_split(order, max(1, len(order) // batch))
