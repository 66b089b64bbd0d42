"""The folder of a run as it is read afterwards: what it was made from, which shards are committed, and their pairs."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairloom.batch import Batch
from pairloom.errors import RunError, UsageError
from pairloom.output import PLAN, STAGED, read_plan
from pairloom.readers.model import Plan, Shard, shown
from pairloom.readers.webdataset import TarHeader
from pairloom.remote import Place, located
from pairloom.stats import Stats, Summary
from pairloom.writers.ledger import read_schema, read_tables
from pairloom.writers.shard import data_name, manifests

_SAID = ("status", "error_message")  # what only the ledger has


@dataclass(frozen=True, slots=True)
class Finished:
    """An output, or as much of one as is committed.

    `plan` is what `plan.json` holds but for its shards, which are `planned`. `root` is where shards lie: `staged/` until the
    selection is made. `pairs` says of each committed shard, in order, how many pairs it holds, `counts` what all counted.
    """

    path: Place
    plan: dict[str, Any]
    root: Place
    planned: tuple[Shard, ...]
    pairs: dict[int, int]
    counts: Summary

    @classmethod
    def read(cls, name: str | Place) -> Finished:
        """Look into the folder of a run.

        Raises:
            UsageError: if no run has begun there.
        """
        path = located(name)
        plan = read_plan(path)
        if plan is None:
            raise UsageError(f"{path} is no output of Pairloom: it holds no {PLAN}")
        planned = Plan((), tuple(Shard.from_json(shard) for shard in plan.pop("shards")))
        for root in (path, path / STAGED) if (path / STAGED).is_dir() else (path,):
            pairs: dict[int, int] = {}
            counts = Summary.of(shown(str(path)), _noted(root, planned, pairs), 0.0, again=planned.again)
            if len(pairs) == len(planned.shards):
                break
        return cls(path, plan, root, planned.shards, pairs, counts)

    @property
    def complete(self) -> bool:
        """Whether every shard that was planned is there."""
        return self.root == self.path and len(self.pairs) == len(self.planned)

    @property
    def format(self) -> str:
        """`webdataset` or `parquet`."""
        return str(self.plan["settings"]["format"])

    @property
    def shards(self) -> list[int]:
        """The numbers of the committed shards."""
        return list(self.pairs)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What each run that worked on the folder noted: times, Python, workers."""
        noted = []
        for data in _files(self.path / "runs"):
            try:
                noted.append(json.loads(data))
            except ValueError:  # only times are lost
                continue
        return noted

    def summary(self) -> Summary:
        """The counts of all committed shards, with the times of all runs that made them."""
        runs = self.runs
        seconds: Counter[str] = Counter()
        for run in runs:
            for step, place in _places(run["steps"], lambda step: str(step["name"])):
                seconds[place] += step["seconds"]
        steps = tuple(
            replace(step, seconds=seconds[place]) for step, place in _places(self.counts.steps, lambda step: str(step.name))
        )
        return replace(self.counts, steps=steps, seconds=sum(run["seconds"] for run in runs))

    def ledger(self, index: int) -> Place:
        """The ledger of a shard."""
        return self.root / f"{index:05d}.parquet"

    def rejects(self, index: int) -> Place:
        """The rejected pairs of a shard."""
        return self.root / "rejects" / f"{index:05d}.parquet"

    @property
    def suffix(self) -> str | None:
        """The suffix of all stored images, None where each has that of its own format."""
        encoded = [step["encode"]["format"] for step in self.plan["recipe"]["steps"] if "encode" in step]
        return ("jpg" if encoded[-1] == "jpeg" else encoded[-1]) if encoded else None

    def schema(self, index: int) -> pa.Schema:
        """The columns of a shard's pairs, without the image."""
        return pa.schema([field for field in read_schema(self.ledger(index)) if field.name not in _SAID])

    def batches(self, index: int, rows: int = 64) -> Iterator[Batch]:
        """All pairs of a shard in their order, the encoded images and the columns of the ledger.

        Raises:
            RunError: if the two don't hold the same pairs.
        """
        pairs = images(self.root / data_name(index, self.format), None)
        for table in read_tables(self.ledger(index), self.schema(index).names, rows):
            keys = table["key"].to_pylist()
            found = list(islice(pairs, len(keys)))
            if [key for key, _ in found] != keys:
                raise RunError(f"shard {index} of {self.path} is not what its ledger says; `pairloom verify` tells more")
            yield Batch(table.append_column("image", pa.array([data for _, data in found], pa.large_binary())))

    def images(self, index: int, keys: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """The encoded images of some pairs of a shard, by key, in the order of the shard."""
        return images(self.root / data_name(index, self.format), keys)


def images(path: Place, keys: Collection[str] | None) -> Iterator[tuple[str, bytes]]:
    """The encoded images of some pairs of a tar or Parquet file of pairs, or of all, by key."""
    left = None if keys is None else set(keys)
    for key, read in _pairs(path) if left is None or left else ():
        if left is None or key in left:
            yield key, read()
            if left is not None:
                left.remove(key)
                if not left:
                    return


def _pairs(path: Place) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if path.suffix == ".parquet":
        for table in read_tables(path, ["key", "image"], 64):
            for key, cell in zip(table["key"].to_pylist(), table["image"], strict=True):
                yield key, partial(_bytes_of, cell)
        return
    with path.open("rb") as data, tarfile.open(fileobj=data, mode="r:", tarinfo=TarHeader) as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            if suffix not in ("json", "txt"):
                file = tar.extractfile(member)
                assert file is not None  # what we write are plain files
                yield key, file.read


def _bytes_of(cell: pa.Scalar) -> bytes:
    data: bytes = cell["bytes"].as_py()
    return data


def _noted(root: Place, plan: Plan, pairs: dict[int, int]) -> Iterator[Stats]:
    """The counts of the committed shards, whose pairs are noted on the way."""
    for data in manifests(root, [shard.index for shard in plan.shards]):
        try:
            stats = Stats.from_json(json.loads(data or b"")["stats"])
        except (ValueError, KeyError, TypeError):  # not committed
            continue
        pairs[stats.shard] = stats.pairs_out
        yield stats


def _files(folder: Place) -> Iterator[bytes]:
    """What the small files in a folder hold, in the order of their names."""
    if not isinstance(folder, Path):
        yield from (data for data in folder.read_all(list(folder.sizes())) if data is not None)
        return
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError):
            yield path.read_bytes()


def _places(steps: Any, name: Any) -> Iterator[tuple[Any, str]]:
    """Steps, each with a name that is its own: of two of one name the second is another one."""
    seen: Counter[str] = Counter()
    for step in steps:
        seen[name(step)] += 1
        yield step, f"{name(step)} {seen[name(step)]}"
