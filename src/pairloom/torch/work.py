"""What a worker process does: one batch number in, the tensors of that batch out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import Any

import numpy as np
import xxhash

from pairloom.errors import PairloomError, Reject, RunError
from pairloom.models.reader import TextReader
from pairloom.torch.augment import seeded
from pairloom.torch.collate import Batch, Collate, Counts, image_batch, text_batch
from pairloom.torch.images import Images, Shown
from pairloom.torch.pack import packed_batch
from pairloom.torch.pairs import Pairs
from pairloom.torch.plan import Counts as Numbers
from pairloom.torch.plan import Rows
from pairloom.torch.texts import Choice

_TRIES = 32


@dataclass(frozen=True, eq=False)
class Job:
    """One batch to make: the rows of the whole global batch, of which rank `rank` of `ranks` takes every `ranks`-th."""

    epoch: int
    rows: Rows
    rank: int
    ranks: int


@dataclass(frozen=True)
class Failure:
    """What kept a batch from being made; raised by the loader, since exceptions lose their type between processes."""

    message: str


@dataclass
class Work:
    """A map-style dataset whose items are whole batches, for `torch.utils.data.DataLoader`."""

    pairs: Pairs
    images: Images
    reader: TextReader
    choice: Choice
    collate: Collate
    bucket: Numbers
    seed: int

    def __len__(self) -> int:
        return len(self.pairs.index)

    def __getitem__(self, job: Job) -> tuple[Batch, Counts] | Failure:
        try:
            with warnings.catch_warnings():  # decoders warn of what they mend
                warnings.simplefilter("ignore")
                return self.batch(job)
        except PairloomError as fault:
            return Failure(str(fault))

    def batch(self, job: Job) -> tuple[Batch, Counts]:
        """The batch of one rank. Raises `RunError` if too many pairs in a row can't be read."""
        counts = Counts()
        taken = set(job.rows.tolist())
        samples = [self._sample(int(row), job, taken, counts) for row in job.rows[job.rank :: job.ranks]]
        counts.pairs = len(samples)
        tokens = iter(self.reader.read([text for _, _, texts, _ in samples for text in texts]))
        rows = [[next(tokens) for _ in texts] for _, _, texts, _ in samples]
        if self.collate.pack:
            patches = [self._patches(images) for _, images, _, _ in samples]
            batch, order = packed_batch(rows, patches, self.reader.pad_id, self.collate, counts)
            samples = [samples[place] for place in order]
        else:
            batch = text_batch(rows, self.reader, self.collate, counts)
        images = image_batch([images for _, images, _, _ in samples], self.images.transform, self.collate, counts)
        return images | batch | self._about(samples), counts

    def _about(self, samples: list[Any]) -> Batch:
        import torch

        alignment = torch.from_numpy(self.pairs.index.alignment[[row for row, *_ in samples]])
        return {"alignment": alignment, "keys": [key for *_, key in samples]}

    def _patches(self, images: list[Shown]) -> int:
        patch = self.images.transform.patch
        return sum(-(-one.geometry.width // patch) * -(-one.geometry.height // patch) for one in images)

    def _sample(self, row: int, job: Job, taken: set[int], counts: Counts) -> tuple[int, list[Shown], list[str], str]:
        """The row itself, or the first good one of those that may stand in for it."""
        fault: Reject | None = None
        for candidate in chain([row], self._substitutes(row, job, taken)):
            try:
                sample = self._read(candidate, job.epoch)
            except Reject as reject:
                fault = fault or reject
                continue
            if fault:
                counts.replaced += 1
                counts.reasons[fault.code] = counts.reasons.get(fault.code, 0) + 1
            return sample
        raise RunError(f"neither pair {row} nor {_TRIES} others in place of it can be read; the first fault was {fault}")

    def _read(self, row: int, epoch: int) -> tuple[int, list[Shown], list[str], str]:
        index = self.pairs.index
        pair = self.pairs.read(row)
        left, top, right, bottom = (float(side) for side in index.box[row])
        width, height = (int(side) for side in index.size[row])
        seeds = (seeded(self.seed, epoch, pair.key, what) for what in ("image", "text"))
        images = self.images.show(pair.image, (left, top, right, bottom), (width, height), pair.tiles, next(seeds))
        return row, images, self.choice(pair, next(seeds)), pair.key

    def _substitutes(self, row: int, job: Job, taken: set[int]) -> Iterator[int]:
        """Other rows of the same bucket, in an order that only the seed, the epoch and the global batch decide.

        Each row may stand in at one place of a batch, so that no two bad pairs get the same one, on whatever ranks they are.
        Where a bucket is too small for that, any other row is better than none.
        """
        place, size = int(np.flatnonzero(job.rows == row)[0]), len(job.rows)
        others = (each for each in self._drawn(row, job.epoch, _TRIES * size) if each not in taken)
        mine = (each for each in others if self._hash(job.epoch, "place", each) % size == place)
        yield from islice(mine, _TRIES)
        yield from (each for each in self._drawn(row, job.epoch, _TRIES) if each not in taken)
        yield from self._drawn(row, job.epoch, _TRIES)

    def _drawn(self, row: int, epoch: int, count: int) -> Iterator[int]:
        rows = self._buckets[int(self.bucket[row])]
        return (int(rows[self._hash(epoch, row, attempt) % len(rows)]) for attempt in range(count))

    def _hash(self, *about: object) -> int:
        return xxhash.xxh64_intdigest(":".join(map(str, (self.seed, *about))).encode())

    @cached_property
    def _buckets(self) -> dict[int, Any]:
        order = np.argsort(self.bucket, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(self.bucket[order])) + 1)
        return {int(self.bucket[part[0]]): part for part in parts}
