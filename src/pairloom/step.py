"""What a step is, and the registry of all of them.

A step is a frozen dataclass that maps a batch to a batch: same rows, same order. It fills columns or marks rows as
rejected; it never drops rows, holds weights, opens files or counts. Its author writes arithmetic on one value
(`image(pixels)`, `text(text)`, `keep(batch)`), and the base class lifts it to batches.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

import pyarrow as pa
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked_dataclass

from pairloom.batch import Batch, Pixels
from pairloom.errors import Reject
from pairloom.limits import BATCH_ROWS, allow

if TYPE_CHECKING:
    from pairloom.planes import Ahead, Picture

STEPS: dict[str, type[Step]] = {}
"""Every step by the name that recipes use."""

SELECTIONS: dict[str, type[Any]] = {}
"""Every run-wide selection by the name that recipes use under `select:`."""

T = TypeVar("T")
K = TypeVar("K", bound=type[Any])


@dataclass_transform(frozen_default=True, kw_only_default=False)
def step(name: str, registry: dict[str, type[Any]] = STEPS) -> Callable[[K], K]:
    """Register a class under `name` and make it a frozen dataclass whose fields are checked when it is made."""

    def register(cls: K) -> K:
        if name in registry:
            raise ValueError(f"two steps are called {name!r}")
        made = checked_dataclass(cls, frozen=True, config=ConfigDict(extra="forbid", strict=True))
        made.name = name  # type: ignore[attr-defined]
        registry[name] = made
        return made  # type: ignore[return-value]

    return register


class Step:
    """The root of all steps.

    `reads` and `adds` declare the columns a step needs and makes; with `reads_pixels` they let a recipe be checked before
    a byte is read. `adds` gives the Arrow type of each new column, so that all shards share one schema.
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ()
    numbers: ClassVar[tuple[str, ...]] = ()
    """Those of `reads` that must be numeric."""
    adds: ClassVar[dict[str, pa.DataType]] = {}
    reads_pixels: ClassVar[bool] = False
    changes_pixels: ClassVar[bool] = False
    takes_planes: ClassVar[bool] = False
    """Whether the step works on `batch.pictures` and takes planes there; others find RGB in `batch.pixels`."""
    decides: ClassVar[bool] = False
    """Whether rejecting is what the step is for; what other steps reject counts as failed."""

    def bind(self, following: Sequence[Step]) -> Step:
        """The same step, told which steps come after it. Only `decode` cares: it decodes no more than they need."""
        return self

    def needs(self, width: int, height: int) -> tuple[int, int] | None:
        """How many pixels (width, height) this step needs of a whole image of `width` x `height`, None if it reads none."""
        return (width, height) if self.reads_pixels else None

    def ahead(self, picture: Picture | Ahead, width: int, height: int, key: str) -> Ahead | None:
        """What this step will make of a picture of `width` x `height`, where that can be told before its turn."""
        return None

    def depends_on(self) -> dict[str, str]:
        """What results depend on beside the options and the libraries, such as a model's weights: a digest of each, by name."""
        return {}

    def __call__(self, batch: Batch) -> Batch:
        raise NotImplementedError


class ImageStep(Step):
    """A step whose author writes `image(pixels) -> pixels`, RGB uint8 of shape (h, w, 3)."""

    reads_pixels = True
    changes_pixels = True

    def image(self, pixels: Pixels) -> Pixels:
        """Change one image. Raises `Reject` if it can't be used."""
        raise NotImplementedError

    def __call__(self, batch: Batch) -> Batch:
        assert batch.pixels is not None
        before = batch.pixels
        results, rejects = lift(self.image, before)
        pixels = [old if new is None else new for old, new in zip(before, results, strict=True)]
        return batch.with_pixels(pixels).with_rejects(rejects)


class TextStep(Step):
    """A step whose author writes `text(text) -> text`; it is applied to every caption of a pair."""

    reads = ("texts",)

    def text(self, text: str) -> str:
        """Change one caption. Raises `Reject` if the pair can't be used."""
        raise NotImplementedError

    def __call__(self, batch: Batch) -> Batch:
        results, rejects = lift(lambda texts: [self.text(text) for text in texts], batch["texts"])
        texts = [old if new is None else new for old, new in zip(batch["texts"], results, strict=True)]
        first = [row[0] if row else "" for row in texts]
        return batch.with_columns({}, texts=texts, text=first).with_rejects(rejects)


class Filter(Step):
    """A step that decides and changes nothing: its author writes `keep(batch)`, one truth value a row.

    `reason` is the reason code of what it drops; the message lists the values of the columns in `reads`.
    """

    decides = True
    reason: ClassVar[str]

    def keep(self, batch: Batch) -> Sequence[bool]:
        """Whether each row stays."""
        raise NotImplementedError

    def __call__(self, batch: Batch) -> Batch:
        dropped = [row for row, keep in enumerate(self.keep(batch)) if not keep]
        columns = {name: batch[name] for name in self.reads} if dropped else {}
        said = {row: ", ".join(f"{name} {_short(values[row])}" for name, values in columns.items()) for row in dropped}
        return batch.with_rejects({row: Reject(self.reason, said[row]) for row in dropped})


class Selection:
    """A decision over all pairs of a run, under `select:` in a recipe; its author writes `drop(ledger)`.

    `reads` names the columns of the ledger that it needs, `reason` is the reason code of what it drops.
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ()
    numbers: ClassVar[tuple[str, ...]] = ()
    """Those of `reads` that must be numeric."""
    compares: ClassVar[tuple[str, ...]] = ()
    """Those of `reads` that are only compared with each other: they may come as digests, so that all fit in memory."""
    reason: ClassVar[str]

    def drop(self, ledger: pa.Table) -> dict[int, str]:
        """Rows to drop, each with a message; `ledger` holds `key` and the columns in `reads`, in input order."""
        raise NotImplementedError


def lift(function: Callable[[Any], T], values: Sequence[Any], pairs: int = 1) -> tuple[list[T | None], dict[int, Reject]]:
    """Apply `function` to each value; a value that raises `Reject` gives None and stands in the second result.

    Each value may take the time that is allowed for so many `pairs`.
    """
    rejects: dict[int, Reject] = {}

    def one(row: int) -> T | None:
        allow(pairs)
        try:
            return function(values[row])
        except Reject as reject:
            rejects[row] = reject.bare()
            return None

    rows = range(len(values))
    results = list(_pool.map(one, rows) if _pool else map(one, rows))
    allow(BATCH_ROWS)
    return results, dict(sorted(rejects.items()))


_pool: ThreadPoolExecutor | None = None


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let steps work on `count` pairs of a batch at a time, here inside; the results are the same with any number."""
    use_threads(count)
    try:
        yield
    finally:
        use_threads(1)


def use_threads(count: int) -> None:
    """Within `threads`, between batches: another number from here on."""
    global _pool
    if _pool:
        _pool.shutdown()
    _pool = ThreadPoolExecutor(count, f"pairloom-{os.getpid()}") if count > 1 else None


def _short(value: object, limit: int = 80) -> str:
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
