"""Is an output what its manifests say: every digest, every pair accounted for, every member readable?"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from pairloom.errors import UsageError
from pairloom.output import STAGED, SUMS, read_plan
from pairloom.recipe import fingerprint_of
from pairloom.remote import Place, located
from pairloom.steps.header import FAULTS
from pairloom.sums import RUN_FILES, UNTOLD, read_sums, sums_agree
from pairloom.writers.ledger import read_tables
from pairloom.writers.shard import data_name, file_digest, manifest_name, manifests

_UNREADABLE = (*FAULTS, tarfile.TarError, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class Damage:
    """One fault of an output: what it is, in which shard if in one, and in which file if in one."""

    text: str
    shard: int | None = None
    file: str = ""

    def __str__(self) -> str:
        return self.text if self.shard is None else f"shard {self.shard}: {self.text}"


def verify(output: str | Path) -> list[str]:
    """Every fault found in an output, none if it is whole. Reads all of it.

    Raises:
        UsageError: if there is no output of Pairloom at all.
    """
    return [str(fault) for fault in examine(located(output))]


def examine(path: Place) -> list[Damage]:
    """The same, each fault with its place."""
    plan = read_plan(path)
    if plan is None:
        raise UsageError(f"{path} is no output of Pairloom: it holds no plan.json")
    files, faults = Files(path), []
    selected = "select" in plan["recipe"] or "scores" in plan["settings"]
    fingerprint = fingerprint_of({"steps": plan["recipe"]["steps"]}, plan["versions"])
    for shard in plan["shards"]:
        try:
            found = _shard(files, shard, plan["settings"]["format"])
            found += _stranger(path, shard["index"], fingerprint, selected)
        except _UNREADABLE as fault:
            found = [str(fault)]
        faults += [Damage(text, shard["index"]) for text in found]
    return faults + [Damage(text) for text in _compiled(path, plan)] + _summed(files, [one["index"] for one in plan["shards"]])


class Files:
    """The files of an output, each read once for its digest, also where a hard link gives it a second name."""

    def __init__(self, path: Place) -> None:
        self.path = path
        self._known: dict[tuple[int, int] | str, dict[str, Any]] = {}

    def digest(self, name: str) -> dict[str, Any]:
        """Size and SHA-256; raises `OSError`."""
        file = self.path / name
        status = file.stat() if isinstance(file, Path) else None
        same = (status.st_dev, status.st_ino) if status else name
        if same not in self._known:
            self._known[same] = file_digest(file)
        return self._known[same]

    def names(self) -> list[str]:
        """All that is there."""
        if not isinstance(self.path, Path):
            return list(self.path.sizes())
        return [str(file.relative_to(self.path)) for file in sorted(self.path.rglob("*")) if not file.is_dir()]

    def faults(self, manifest: str) -> list[str]:
        """What is wrong with the files that a manifest names."""
        folder = manifest.removesuffix(manifest_name(int(Path(manifest).stem)))
        found = []
        for name, said in json.loads((self.path / manifest).read_text("utf-8"))["files"].items():
            if not (self.path / folder / name).exists():
                found.append(f"{folder}{name} is missing")
            elif self.digest(folder + name) != said:
                found.append(f"{folder}{name} is not what was written (size or digest differs)")
        return found


def _shard(files: Files, planned: dict[str, Any], format: str) -> list[str]:
    path, index = files.path, planned["index"]
    staged = [f"{STAGED}/{manifest_name(index)}"] if (path / STAGED).is_dir() else []
    for name in (manifest_name(index), *staged):
        if not (path / name).exists():
            return ["not committed; run again to go on"]
    faults = [fault for name in (manifest_name(index), *staged) for fault in files.faults(name)]
    if any(fault.endswith("is missing") for fault in faults):
        return faults
    stats = json.loads((path / manifest_name(index)).read_text("utf-8"))["stats"]
    if stats["pairs_in"] != planned["rows"]:
        faults.append(f"{stats['pairs_in']} pairs were read, {planned['rows']} were planned")
    if stats["pairs_in"] != stats["pairs_out"] + stats["pairs_rejected"]:
        faults.append("pairs in are not pairs out and pairs rejected")
    ledger, rejects = (read_tables(folder / f"{index:05d}.parquet", ["key"]) for folder in (path, path / "rejects"))
    keys, rejected = [key for table in ledger for key in table["key"].to_pylist()], sum(table.num_rows for table in rejects)
    if (len(keys), rejected) != (stats["pairs_out"], stats["pairs_rejected"]):
        faults.append(f"the ledger has {len(keys)} pairs and rejects/ {rejected}, which is not what the manifest says")
    return faults + _pairs(path / data_name(index, format), keys)


def _stranger(path: Place, index: int, fingerprint: str, selected: bool) -> list[str]:
    """A shard that some other run put there; what a selection publishes has fingerprints of its own."""
    root = path / STAGED if selected else path
    if not (root / manifest_name(index)).exists():
        return []
    made = json.loads((root / manifest_name(index)).read_text("utf-8"))["fingerprint"]
    return [] if made == fingerprint else ["it was made by another recipe, or with other versions"]


def _pairs(path: Place, keys: list[str]) -> list[str]:
    found, faults = (_tar if path.suffix == ".tar" else _table)(path)
    return faults if found == keys else [*faults, f"{path.name} does not hold the pairs of its ledger in their order"]


def _tar(path: Place) -> tuple[list[str], list[str]]:
    keys: dict[str, set[str]] = {}
    faults = []
    with path.open("rb") as whole, tarfile.open(fileobj=whole, mode="r:") as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            file = tar.extractfile(member)
            data = file.read() if file else b""
            keys.setdefault(key, set()).add(suffix)
            faults += [f"{path.name}: {member.name}: {fault}" for fault in _member(suffix, data)]
    faults += [f"{path.name}: {key} has {len(suffixes)} members" for key, suffixes in keys.items() if len(suffixes) != 3]
    return list(keys), faults


def _table(path: Place) -> tuple[list[str], list[str]]:
    keys, faults = [], []
    for table in read_tables(path, ["key", "image"], 64):
        for row in table.to_pylist():
            keys.append(row["key"])
            faults += [f"{path.name}: {row['key']}: {fault}" for fault in _member("image", row["image"]["bytes"])]
    return keys, faults


def _member(suffix: str, data: bytes) -> list[str]:
    try:
        if suffix == "json":
            json.loads(data)
        elif suffix == "txt":
            data.decode()
        else:
            Image.open(io.BytesIO(data)).load()
    except _UNREADABLE as fault:
        return [f"can't be read: {fault}"]
    return []


def _compiled(path: Place, plan: dict[str, Any]) -> list[str]:
    manifest, format = path / "manifest.jsonl", plan["settings"]["format"]
    if not manifest.exists():
        return ["manifest.jsonl is missing: the run did not end; run again to go on"]
    try:
        lines = [json.loads(line) for line in manifest.read_bytes().splitlines()]
        now = [json.loads(data or b"") for data in manifests(path, range(len(plan["shards"])))]
        pairs = {data_name(i, format): one["stats"]["pairs_out"] for i, one in enumerate(now)}
        sizes = json.loads((path / "sizes.json").read_text("utf-8")) if format == "webdataset" else pairs
    except _UNREADABLE as fault:
        return [f"manifest/, manifest.jsonl or sizes.json can't be read: {fault}"]
    faults = [] if lines == now else ["manifest.jsonl is not the sum of manifest/: run again to go on"]
    return faults if sizes == pairs else [*faults, "sizes.json does not say how many pairs each tar holds: run again to go on"]


def _summed(files: Files, shards: list[int]) -> list[Damage]:
    """What no manifest tells: damage to manifests, plan and sums themselves, and files that don't belong here."""
    try:
        sums = read_sums(files.path)
    except _UNREADABLE as fault:
        return [Damage(f"{SUMS} can't be read: {fault}")]
    if not sums:
        return [Damage(f"{SUMS} is missing: the run did not end; run again to go on")]
    owners = {f"{root}{manifest_name(index)}": index for index in shards for root in ("", f"{STAGED}/")}
    faults = []
    for name in [name for name in sums if name in RUN_FILES or name in owners]:
        if not (files.path / name).exists():
            faults.append(Damage(f"{name} is missing", owners.get(name), name))
        elif files.digest(name)["sha256"] != sums[name]:
            faults.append(Damage(f"{name} is not what was written", owners.get(name), name))
    if not faults and not sums_agree(files.path, shards):
        faults.append(Damage(f"{SUMS} is not the sum of the manifests: run again to go on"))
    extra = [name for name in files.names() if name not in sums and name not in UNTOLD and not name.startswith("runs/")]
    return faults + [Damage(f"{name} does not belong to the output", None, name) for name in extra]
