"""The schedule of an epoch: which pairs make which batch, known before the first one is read.

It depends on the set, the batching, the seed and the epoch alone. Ranks take every n-th row of each global batch, so all of
them have the same number of steps, and another number of ranks or workers changes nothing but who does what.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pairloom.errors import UsageError

Rows = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Batching:
    """How an epoch is cut into batches; sizes and budgets are those of one rank.

    * `batch_size` pairs a batch, or with `token_budget` as many as keep (longest image + longest text) x pairs within it,
      in patches and tokens, padding included; of a text whose tokens nobody counted, all that may be read counts. The pairs of
      all ranks together are then a multiple of `divisor` (least common multiple of 8 and the ranks unless given).
    * With `shuffle`, runs of `block` neighbouring pairs are shuffled, then the pairs inside each `pool` of them. Within a pool,
      batches are made of images of one bucket and texts whose lengths differ by less than `text_multiple` tokens, as far as there
      are enough. Without it, batches follow the order of the set.
    * `remainder` says what becomes of the pairs that don't fill the last batch: `repeat` fills it up with pairs shown before,
      `short` fills it up only to a multiple of the ranks, `drop` leaves them out of this epoch and counts them.
    """

    batch_size: int | None = None
    token_budget: int | None = None
    shuffle: bool = True
    pool: int = 16_384
    block: int = 64
    remainder: Literal["repeat", "short", "drop"] = "repeat"
    divisor: int | None = None
    text_multiple: int = 8

    def __post_init__(self) -> None:
        if (self.batch_size is None) == (self.token_budget is None):
            raise UsageError("give either batch_size or token_budget")
        for name in ("batch_size", "token_budget", "pool", "block", "divisor", "text_multiple"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UsageError(f"{name} is {value}; it must be at least 1")
        if self.remainder not in ("repeat", "short", "drop"):
            raise UsageError(f"remainder is {self.remainder!r}; it must be repeat, short or drop")

    def unit(self, ranks: int) -> int:
        """The number of pairs that a full global batch is a multiple of. Raises `UsageError` if ranks can't share it."""
        unit = self.batch_size * ranks if self.batch_size else self.divisor or math.lcm(8, ranks)
        if unit % ranks:
            raise UsageError(f"divisor is {unit}, which {ranks} ranks can't share; give a multiple of {ranks}")
        return unit


@dataclass(frozen=True, eq=False)
class Lengths:
    """What a plan knows of each pair, int32: the bucket of its image (n,), that image's rows and columns of patches (n, 2),
    about how many text tokens it has (n,), and the most places these may take (n,)."""

    bucket: Counts
    image: Counts
    text: Counts
    most: Counts

    def __len__(self) -> int:
        return len(self.bucket)


@dataclass(frozen=True, eq=False)
class Schedule:
    """The global batches of one epoch: batch i is `rows[starts[i]:starts[i + 1]]`. `dropped` pairs are in none of them."""

    rows: Rows
    starts: Rows
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.starts) - 1

    def batch(self, step: int) -> Rows:
        """The rows of a global batch, int64."""
        return self.rows[self.starts[step] : self.starts[step + 1]]


def schedule(
    lengths: Lengths, batching: Batching, ranks: int, seed: int, epoch: int, sets: Sequence[tuple[int, float]] = ()
) -> Schedule:
    """The batches of all ranks in epoch `epoch`. `sets` gives the number of pairs of each set, in the order of the rows, and how
    often an epoch shows each pair of it; a share of a pass takes other pairs in each epoch. No batch has a pair twice, unless
    there are fewer pairs than a batch takes.

    Raises:
        UsageError: if there is no pair, the budget is too small, or everything would be dropped.
    """
    rng = np.random.default_rng([seed, epoch])
    cut = _Cut(lengths, batching, ranks)
    orders = [_order(rows, batching, rng) for rows in _rounds(sets or [(len(lengths), 1.0)], rng)]
    everything = np.concatenate(orders)
    if not len(everything):
        raise UsageError("there is not one pair to load")
    batches: list[Rows] = []
    left = np.empty(0, np.int64)
    for order in orders:
        bridge, left, order = cut.bridge(left, order)
        made, left = cut.pools(left, order, rng)
        batches += bridge + made
    batches += cut.rest(left, everything)
    if not batches:
        raise UsageError(f"{len(everything)} pairs don't fill one batch of {cut.unit}, and remainder is drop")
    starts = np.cumsum([0, *map(len, batches)], dtype=np.int64)
    return Schedule(np.concatenate(batches), starts, max(0, len(everything) - int(starts[-1])))


class _Cut:
    """Cuts rows into global batches."""

    def __init__(self, lengths: Lengths, batching: Batching, ranks: int) -> None:
        self.unit, self._ranks, self._batching = batching.unit(ranks), ranks, batching
        self._bucket, self._image, self._most = lengths.bucket, lengths.image, lengths.most
        self._text = -(-lengths.text // batching.text_multiple)
        self._budget = (batching.token_budget or 0) * ranks
        if batching.token_budget and len(lengths):
            most = self.unit * self._cost(np.arange(len(lengths)))
            if most > self._budget:
                raise UsageError(f"token_budget is {batching.token_budget}; {self.unit // ranks} pairs of the largest image and "
                                 f"text need {-(-most // ranks)}. Give that, or a smaller divisor than {self.unit}")  # fmt: skip

    def bridge(self, left: Rows, order: Rows) -> tuple[list[Rows], Rows, Rows]:
        """What a round left over, filled up with other pairs of the next; what can't be; and what then remains of the next."""
        whole = len(left) // self.unit * self.unit
        missing = -len(left) % self.unit
        fill = order[~np.isin(order, left)][:missing]
        order = order[~np.isin(order, fill)]
        left = np.concatenate([left, fill])
        if len(fill) < missing:
            return [], left, order
        return [part for part in (left[:whole], left[whole:]) if len(part)], left[:0], order

    def pools(self, left: Rows, order: Rows, rng: np.random.Generator) -> tuple[list[Rows], Rows]:
        """The full batches of one round, pool by pool, and what is left over."""
        if not self._batching.shuffle:
            return self.pieces(np.concatenate([left, order]))
        batches: list[Rows] = []
        for start in range(0, len(order), self._batching.pool):
            made, left = self._buckets(np.concatenate([left, order[start : start + self._batching.pool]]))
            if start + self._batching.pool >= len(order):
                more, left = self._mixed(left)
                made += more
            batches += [made[number] for number in rng.permutation(len(made))]
        return batches, left

    def _buckets(self, rows: Rows) -> tuple[list[Rows], Rows]:
        """Full batches of one bucket each, and what is left over."""
        rows = rows[np.lexsort((self._text[rows], self._bucket[rows]))]
        edges = np.flatnonzero(np.diff(self._bucket[rows])) + 1
        batches, left = [], []
        for part in np.split(rows, edges):
            made, rest = self.pieces(part)
            batches += made
            left.append(rest)
        return batches, np.concatenate(left)

    def _mixed(self, rows: Rows) -> tuple[list[Rows], Rows]:
        """Full batches of what no bucket could fill; likest go together."""
        return self.pieces(rows[np.lexsort((self._text[rows], self._image[rows].prod(1), self._bucket[rows]))])

    def pieces(self, rows: Rows) -> tuple[list[Rows], Rows]:
        """Full batches of rows in this order, and what is left over."""
        ends = list(self._ends(rows))
        batches = [rows[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return batches, rows[ends[-1] if ends else 0 :]

    def _ends(self, rows: Rows) -> Iterator[int]:
        if not self._budget:
            yield from range(self.unit, len(rows) + 1, self.unit)
            return
        start = 0
        for end in range(self.unit, len(rows) + 1, self.unit):
            if self._budget < (end - start) * self._cost(rows[start:end]):
                start = end - self.unit
                yield start

    def _cost(self, rows: Rows) -> int:
        """Image patches and text tokens that each pair takes up when these share a batch, its canvas as high and wide as any."""
        return int(self._image[rows].max(0).prod()) + int(self._most[rows].max())

    def rest(self, rows: Rows, order: Rows) -> list[Rows]:
        """What the remainder rule makes of the rows that fill no batch."""
        whole = len(rows) // self.unit * self.unit  # none without a budget; with one, within it, only not up to it
        batches = [rows[:whole]] if whole else []
        rows = rows[whole:]
        if not len(rows) or self._batching.remainder == "drop":
            return batches
        unit = self.unit if self._batching.remainder == "repeat" else self._ranks
        missing = -len(rows) % unit
        others = order[~np.isin(order, rows)]
        others = others[np.sort(np.unique(others, return_index=True)[1])][:missing]
        return [*batches, np.concatenate([rows, np.resize(np.concatenate([others, rows]), missing)])]


def _rounds(sets: Sequence[tuple[int, float]], rng: np.random.Generator) -> list[Rows]:
    """The rows of an epoch in rounds, none of which shows a pair twice: as many as the set that is shown most often needs. What
    is shown less often is spread over them; of a part of a pass, each epoch draws other pairs."""
    count_of_rounds = max([1, *(math.ceil(times) for _, times in sets)])
    rows, numbers, first = [], [], 0
    for count, times in sets:
        order, whole = first + rng.permutation(count), int(times)
        more = round(count * (times - whole))
        for part, shown in ((order[:more], whole + 1), (order[more:], whole)):
            rows.append(np.tile(part, shown))
            numbers.append(np.arange(len(part) * shown) * count_of_rounds // max(1, len(part) * shown))
        first += count
    every, number = np.concatenate(rows).astype(np.int64), np.concatenate(numbers)
    return [np.sort(every[number == each]) for each in range(count_of_rounds)]


def _order(rows: Rows, batching: Batching, rng: np.random.Generator) -> Rows:
    if not batching.shuffle or not len(rows):
        return rows
    blocks = [rows[start : start + batching.block] for start in range(0, len(rows), batching.block)]
    rows = np.concatenate([blocks[number] for number in rng.permutation(len(blocks))])
    pools = [rows[start : start + batching.pool] for start in range(0, len(rows), batching.pool)]
    return np.concatenate([rng.permutation(pool) for pool in pools])
