"""Pairs as training sees them: the frozen embeddings of every segment and every view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pairloom import readers
from pairloom.models import Model
from pairloom.readers.model import Plan, ReadOptions
from pairloom.run import read_batches, run_steps
from pairloom.stats import StepCount
from pairloom.step import Step
from pairloom.steps.align import Align, embed_scored
from pairloom.steps.decode import Decode
from pairloom.steps.dedup import duplicate_groups
from pairloom.steps.hash import ImageHash
from pairloom.writers.arrays import flat, load_arrays, ragged, save_arrays

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_SEGMENTS = 64  # of one text, spread evenly: a book beside a picture would fill a whole batch


@dataclass(frozen=True, slots=True)
class Pairs:
    """L2-normalised embeddings: `views`, float32 (v, d) for each image, and `texts`, float32 (s, d), the segments of each text.

    `image_of` (texts,) is the number of each text's image, which may have several; `groups` (texts,) is the same number where
    images or texts are duplicates.
    """

    views: tuple[Vectors, ...]
    texts: tuple[Vectors, ...]
    image_of: Ints
    groups: Ints


def kept_pairs(path: Path, make: Callable[[], Pairs]) -> Pairs:
    """The pairs in that file, made and written if it isn't there or can't be read."""
    found = load_arrays(path)
    if found is not None:
        return Pairs(ragged(found, "views"), ragged(found, "texts"), found["image_of"], found["groups"])
    pairs = make()
    save_arrays(path, image_of=pairs.image_of, groups=pairs.groups, **flat("views", pairs.views), **flat("texts", pairs.texts))
    return pairs


def embed_pairs(
    steps: Sequence[Step], plan: Plan, reading: ReadOptions, model: Model, hear: Callable[[Sequence[StepCount]], None]
) -> Pairs:
    """Run `steps` over the plan and embed what the last of them, `align`, would score; each text of a pair counts on its own."""
    *before, align = steps
    assert isinstance(align, Align)
    line = [one for step in before for one in ([step, ImageHash()] if isinstance(step, Decode) else [step])]
    counts = [StepCount("read"), *(StepCount(step.name, step.decides) for step in line)]
    views: list[Vectors] = []
    texts: list[Vectors] = []
    image_of: list[int] = []
    marks: list[tuple[str, str, str]] = []
    for shard in plan.shards:
        for batch in read_batches(readers.read(shard, reading), shard.index, 10_000):
            kept = run_steps([lambda read: read, *line], batch, counts, lambda bad, step: None)
            pictures, captions = embed_scored(align, kept, model)
            columns = (kept[name] for name in ("texts", "sha256", "phash"))
            for picture, each, said, sha256, phash in zip(pictures, captions, *columns, strict=True):
                usable = [place for place, one in enumerate(each) if len(one) and np.isfinite(one).all()]
                if not usable or not np.isfinite(picture).all():
                    continue
                texts += [_some(each[place]) for place in usable]
                marks += [(sha256, phash, said[place]) for place in usable]
                image_of += [len(views)] * len(usable)
                views.append(picture)
            hear(counts)
    return Pairs(tuple(views), tuple(texts), np.array(image_of, np.int64), duplicate_groups(marks))


def _some(vectors: Vectors) -> Vectors:
    return vectors[np.linspace(0, len(vectors) - 1, min(len(vectors), _SEGMENTS)).round().astype(np.int64)]
