"""The folder of a run as it is read afterwards: what it was made from, which shards are committed, and their pairs."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pairloom.errors import UsageError
from pairloom.output import PLAN, STAGED, read_plan
from pairloom.readers.model import printable
from pairloom.readers.webdataset import TarHeader
from pairloom.stats import Stats, Summary
from pairloom.writers.ledger import read_tables
from pairloom.writers.shard import data_name, manifest_name


@dataclass(frozen=True, slots=True)
class Finished:
    """An output, or as much of one as is committed. `root` is where its shards lie: `staged/` until the selection is made."""

    path: Path
    plan: dict[str, Any]
    root: Path
    stats: tuple[Stats, ...]

    @classmethod
    def read(cls, path: str | Path) -> Finished:
        """Look into the folder of a run.

        Raises:
            UsageError: if no run has begun there.
        """
        path = Path(path)
        plan = read_plan(path)
        if plan is None:
            raise UsageError(f"{path} is no output of Pairloom: it holds no {PLAN}")
        final = list(_stats(path, plan))
        if len(final) == len(plan["shards"]) or not (path / STAGED).is_dir():
            return cls(path, plan, path, tuple(final))
        return cls(path, plan, path / STAGED, tuple(_stats(path / STAGED, plan)))

    @property
    def complete(self) -> bool:
        """Whether every shard that was planned is there."""
        return self.root == self.path and len(self.stats) == len(self.plan["shards"])

    @property
    def format(self) -> str:
        """`webdataset` or `parquet`."""
        return str(self.plan["settings"]["format"])

    @property
    def shards(self) -> list[int]:
        """The numbers of the committed shards."""
        return [stats.shard for stats in self.stats]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What each run that worked on the folder noted: times, Python, workers."""
        noted = []
        for path in sorted((self.path / "runs").glob("*.json")):
            try:
                noted.append(json.loads(path.read_text("utf-8")))
            except (OSError, ValueError):  # only times are lost
                continue
        return noted

    def summary(self) -> Summary:
        """The counts of all committed shards, with the times of all runs that made them."""
        runs = self.runs
        seconds: Counter[str] = Counter()
        for run in runs:
            for step, place in _places(run["steps"], lambda step: str(step["name"])):
                seconds[place] += step["seconds"]
        made = Summary.of(printable(str(self.path)), self.stats, sum(run["seconds"] for run in runs))
        steps = tuple(replace(step, seconds=seconds[place]) for step, place in _places(made.steps, lambda step: str(step.name)))
        return replace(made, steps=steps)

    def ledger(self, index: int) -> Path:
        """The ledger of a shard."""
        return self.root / f"{index:05d}.parquet"

    def rejects(self, index: int) -> Path:
        """The rejected pairs of a shard."""
        return self.root / "rejects" / f"{index:05d}.parquet"

    def images(self, index: int, keys: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """The encoded images of some pairs of a shard, by key, in the order of the shard."""
        return images(self.root / data_name(index, self.format), keys)


def images(path: Path, keys: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """The encoded images of some pairs of a tar or Parquet file of pairs, by key."""
    left = set(keys)
    if path.suffix == ".parquet":
        for table in read_tables(path, ["key", "image"], 64) if left else ():
            yield from ((row["key"], row["image"]["bytes"]) for row in table.to_pylist() if row["key"] in left)
            left -= set(table["key"].to_pylist())
            if not left:
                return
        return
    with tarfile.open(path, "r:", tarinfo=TarHeader) as tar:
        for member in tar if left else ():
            key, _, suffix = member.name.partition(".")
            file = tar.extractfile(member) if key in left and suffix not in ("json", "txt") else None
            if file:
                left.remove(key)
                yield key, file.read()
            if not left:
                return


def _stats(root: Path, plan: dict[str, Any]) -> Iterator[Stats]:
    for shard in plan["shards"]:
        try:
            yield Stats.from_json(json.loads((root / manifest_name(shard["index"])).read_text("utf-8"))["stats"])
        except (OSError, ValueError, KeyError, TypeError):  # not committed
            continue


def _places(steps: Any, name: Any) -> Iterator[tuple[Any, str]]:
    """Steps, each with a name that is its own: of two of one name the second is another one."""
    seen: Counter[str] = Counter()
    for step in steps:
        seen[name(step)] += 1
        yield step, f"{name(step)} {seen[name(step)]}"
