"""The folder of a run: whose it is, what of it is done, and what it takes to go on."""

from __future__ import annotations

import difflib
import fcntl
import fnmatch
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pairloom import __version__
from pairloom.errors import RunError, UsageError
from pairloom.readers.model import Plan
from pairloom.recipe import Recipe
from pairloom.remote import Place, Remote
from pairloom.remote.lock import leased
from pairloom.remote.retry import Unreachable
from pairloom.stats import Stats
from pairloom.writers.parts import PRIVATE, Parts, json_bytes, remove_leftovers, write_json, write_whole
from pairloom.writers.shard import all_committed, data_name, manifest_name, manifests

PLAN = "plan.json"
STAGED = "staged"
RUNS = "runs"
SUMS = "SHA256SUMS"
_OWNED = ("manifest", "rejects", "data", STAGED, RUNS)
_OWNED_FILES = (
    "[0-9]*.tar",
    "[0-9]*.parquet",
    "[0-9]*_stats.json",
    "sizes.json",
    "manifest.jsonl",
    "report.html",
    "recipe.yaml",
    SUMS,
)
_STORES = ("s3", "s3a", "gs", "gcs", "memory")
"""Where a file can be written if it isn't there, in one request."""
_PLAN_KEYS = {"pairloom", "versions", "recipe", "settings", "containers", "shards"}


@dataclass(frozen=True, slots=True)
class Output:
    """A folder that one run writes; `plan`, `recipe` and `settings` are what it was, or is being, made from."""

    path: Place
    plan: Plan
    recipe: Recipe
    settings: dict[str, Any]

    @property
    def root(self) -> Place:
        """Where the steps commit their shards; with a selection the final shards are made from those."""
        return self.path / STAGED if self.recipe.select else self.path

    def begin(self, restart: bool = False, extend: bool = False) -> Output:
        """Find the folder empty or this run's own, and empty it if asked; shards that try rejects again are added to the plan.

        Raises:
            UsageError: if it belongs to something else; the message says what differs and what can be done.
        """
        known, place = read_plan(self.path), self
        if known is not None and restart:
            self._clear()
        elif known is not None:
            self._compare(known, extend)
            place = replace(self, plan=_grown(Plan.from_json(known), self.plan))
        self.tidy()
        return place

    def claim(self) -> None:
        """Make the folder this run's own, which from now on is not complete."""
        (self.path / SUMS).unlink(missing_ok=True)  # it is there when, and only when, the output is complete
        write_json(self.path / PLAN, {**self._about(), **self.plan.to_json()})
        write_whole(self.path / "recipe.yaml", self.recipe.to_yaml().encode())

    def discard(self, shards: Iterable[int]) -> None:
        """Take back the commit of shards, so that they are made again."""
        for index in shards:
            for root in {self.path, self.root}:
                (root / manifest_name(index)).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Delete what attempts that died left half written; nobody may be writing."""
        for root in {self.path, self.root}:
            remove_leftovers(root)

    def done(self) -> Iterator[Stats]:
        """The counts of the committed shards below `root`, in order."""
        return all_committed(self.root, self.recipe.staged().fingerprint(), len(self.plan.shards))

    def _about(self) -> dict[str, Any]:
        return {
            "pairloom": __version__,
            "versions": self.recipe.versions(),
            "recipe": self.recipe.to_literal(),
            "settings": self.settings,
        }

    def _compare(self, known: dict[str, Any], extend: bool) -> None:
        now = self._about()
        differences = _steps_differ(known["recipe"], now["recipe"])
        for what in ("versions", "settings"):
            for name in sorted(known[what].keys() | now[what].keys()):
                old, new = known[what].get(name), now[what].get(name)
                differences += [f"{name}: was {old}, is {new}"] if old != new else []
        differences += _inputs_differ(known["containers"], self.plan.containers_json(), extend)
        if differences:
            lines = "\n".join(f"  {line}" for line in differences)
            raise UsageError(
                f"{self.path} was begun with something else:\n{lines}\n"
                "Go on with what it was, choose a new folder, or begin it anew with --restart."
            )

    def _clear(self) -> None:
        if not isinstance(self.path, Path):
            self._clear_remote(self.path)
            return
        for folder in _OWNED:
            shutil.rmtree(self.path / folder, ignore_errors=True)
        for pattern in (*_OWNED_FILES, PLAN):  # the plan last: while it is there, the folder is known to be ours
            for file in self.path.glob(pattern):
                file.unlink()

    def _clear_remote(self, path: Remote) -> None:
        names = list(path.sizes())
        ours = [name for name in names if "/" in name and name.partition("/")[0] in _OWNED]
        ours += [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in _OWNED_FILES) and "/" not in name]
        path.remove(ours)
        (path / PLAN).unlink(missing_ok=True)


@contextmanager
def locked(path: Place) -> Iterator[Callable[[], None]]:
    """Hold the folder, made if need be, so that no second run writes into it; gives what raises once that is no longer sure.

    Raises:
        UsageError: if another run holds it, or if it can't be written to or holds other things; it is left as it was.
    """
    if isinstance(path, Remote):
        _refuse_unwritable(path)
    _refuse_foreign(path)
    if not isinstance(path, Path):
        with leased(path) as still_ours:
            yield still_ours
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as fault:
        raise UsageError(f"can't write to {path}: {fault.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise UsageError(f"another run is writing to {path}") from None
    try:
        yield lambda: None
    finally:
        os.close(lock)


def _refuse_unwritable(path: Remote) -> None:
    if str(path) != path.url:
        raise UsageError(f"the output {path} has a password or a signature in its name; give credentials as fsspec takes them")
    scheme = path.url.partition("://")[0]
    if scheme not in _STORES:
        raise UsageError(f"outputs can't be written to {scheme}://, only to folders and {', '.join(_STORES)}")


def _refuse_foreign(path: Place) -> None:
    if isinstance(path, Remote) and read_plan(path) is not None:
        return  # to list all of it would take long
    try:
        names = [entry.name for entry in path.iterdir()] if isinstance(path, Path) else list(path.sizes())
        others = sorted(name for name in names if name != ".lock" and PRIVATE not in name)
    except OSError as fault:  # not there yet, or told of when the lock is taken
        if isinstance(fault, Unreachable):
            raise
        return
    if others and read_plan(path) is None:
        raise UsageError(f"{path} is not empty and holds no Pairloom run ({others[0]} …); choose a new folder")


def read_plan(path: Place) -> dict[str, Any] | None:
    """What the folder was made from, None if no run has begun there.

    Raises:
        UsageError: if there is a plan of something else.
    """
    try:
        known: dict[str, Any] = json.loads((path / PLAN).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as fault:
        raise RunError(f"{path / PLAN} can't be read: {fault}") from None
    if not isinstance(known, dict) or not known.keys() >= _PLAN_KEYS:
        raise UsageError(f"{path / PLAN} is not Pairloom's; choose another folder")
    return known


def compile_manifest(path: Place, shards: Sequence[int], format: str) -> None:
    """Write `manifest.jsonl`, one line a shard, and the `sizes.json` that open_clip looks for."""
    sizes: dict[str, int] = {}
    with Parts(path) as parts:
        lines = parts.open("manifest.jsonl")
        for index, data in zip(shards, manifests(path, shards), strict=True):
            if data is None:
                raise RunError(f"shard {index} of {path} is no longer there: run again to make it anew")
            manifest = json.loads(data)
            lines.write(json.dumps(manifest, ensure_ascii=False, sort_keys=True).encode() + b"\n")
            sizes[data_name(index, format)] = manifest["stats"]["pairs_out"]
        if format == "webdataset":
            parts.open("sizes.json").write(json_bytes(sizes))
        parts.publish()


def _grown(old: Plan, now: Plan) -> Plan:
    """The plan `now` of the same containers and maybe more, with the shards that were added to the `old` one."""
    plain = sum(1 for shard in old.shards if not shard.again)
    if plain == len(old.shards):
        return now
    new = (replace(shard, index=index) for index, shard in enumerate(now.shards[plain:], len(old.shards)))
    return Plan(now.containers, (*old.shards, *new))


def _steps_differ(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    def lines(literal: dict[str, Any]) -> list[str]:
        return [f"{part}: {json.dumps(one)}" for part in ("steps", "select") for one in literal.get(part, [])]

    return [line for line in difflib.ndiff(lines(old), lines(new)) if line[0] in "+-"]


def _inputs_differ(old: list[dict[str, Any]], new: list[dict[str, Any]], extend: bool) -> list[str]:
    if old == new:
        return []
    if new[: len(old)] == old:
        names = ", ".join(one["name"] for one in new[len(old) :][:3])
        return [] if extend else [f"input has grown by {len(new) - len(old)} containers ({names} …); --extend adds them"]
    before, now = {one["name"]: one for one in old}, {one["name"]: one for one in new}
    said = [f"input {name} is gone" for name in before if name not in now]
    said += [f"input {name} has changed" for name in before if name in now and now[name] != before[name]]
    said += [f"input {name} is new" for name in now if name not in before]
    return said or ["the inputs are in another order"]
