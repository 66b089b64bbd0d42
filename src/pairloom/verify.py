"""Is an output what its manifests say: every digest, every pair accounted for, every member readable?"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from pairloom.errors import UsageError
from pairloom.output import read_plan
from pairloom.steps.header import FAULTS
from pairloom.writers.ledger import read_tables
from pairloom.writers.shard import data_name, file_digest, manifest_name

_UNREADABLE = (*FAULTS, tarfile.TarError, pa.ArrowException)


def verify(output: str | Path) -> list[str]:
    """Every fault found in an output, none if it is whole. Reads all of it.

    Raises:
        UsageError: if there is no output of Pairloom at all.
    """
    path = Path(output)
    plan = read_plan(path)
    if plan is None:
        raise UsageError(f"{path} is no output of Pairloom: it holds no plan.json")
    faults = []
    for shard in plan["shards"]:
        try:
            faults += [f"shard {shard['index']}: {fault}" for fault in _shard(path, shard, plan["settings"]["format"])]
        except _UNREADABLE as fault:
            faults.append(f"shard {shard['index']}: {fault}")
    return faults + _compiled(path, plan)


def _shard(path: Path, planned: dict[str, Any], format: str) -> list[str]:
    index = planned["index"]
    if not (path / manifest_name(index)).exists():
        return ["not committed; run again to go on"]
    manifest = json.loads((path / manifest_name(index)).read_text("utf-8"))
    stats = manifest["stats"]
    faults = []
    for name, said in manifest["files"].items():
        if not (path / name).exists():
            return [f"{name} is missing"]
        if file_digest(path / name) != said:
            faults.append(f"{name} is not what was written (size or digest differs)")
    if stats["pairs_in"] != planned["rows"]:
        faults.append(f"{stats['pairs_in']} pairs were read, {planned['rows']} were planned")
    if stats["pairs_in"] != stats["pairs_out"] + stats["pairs_rejected"]:
        faults.append("pairs in are not pairs out and pairs rejected")
    ledger, rejects = (read_tables(folder / f"{index:05d}.parquet", ["key"]) for folder in (path, path / "rejects"))
    keys, rejected = [key for table in ledger for key in table["key"].to_pylist()], sum(table.num_rows for table in rejects)
    if (len(keys), rejected) != (stats["pairs_out"], stats["pairs_rejected"]):
        faults.append(f"the ledger has {len(keys)} pairs and rejects/ {rejected}, which is not what the manifest says")
    return faults + _pairs(path / data_name(index, format), keys)


def _pairs(path: Path, keys: list[str]) -> list[str]:
    found, faults = (_tar if path.suffix == ".tar" else _table)(path)
    return faults if found == keys else [*faults, f"{path.name} does not hold the pairs of its ledger in their order"]


def _tar(path: Path) -> tuple[list[str], list[str]]:
    keys: dict[str, set[str]] = {}
    faults = []
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            file = tar.extractfile(member)
            data = file.read() if file else b""
            keys.setdefault(key, set()).add(suffix)
            faults += [f"{path.name}: {member.name}: {fault}" for fault in _member(suffix, data)]
    faults += [f"{path.name}: {key} has {len(suffixes)} members" for key, suffixes in keys.items() if len(suffixes) != 3]
    return list(keys), faults


def _table(path: Path) -> tuple[list[str], list[str]]:
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


def _compiled(path: Path, plan: dict[str, Any]) -> list[str]:
    manifest, format = path / "manifest.jsonl", plan["settings"]["format"]
    if not manifest.exists():
        return ["manifest.jsonl is missing: the run did not end; run again to go on"]
    try:
        lines = [json.loads(line) for line in manifest.read_bytes().splitlines()]
        now = [json.loads((path / manifest_name(i)).read_text("utf-8")) for i in range(len(plan["shards"]))]
        pairs = {data_name(i, format): one["stats"]["pairs_out"] for i, one in enumerate(now)}
        sizes = json.loads((path / "sizes.json").read_text("utf-8")) if format == "webdataset" else pairs
    except _UNREADABLE as fault:
        return [f"manifest/, manifest.jsonl or sizes.json can't be read: {fault}"]
    faults = [] if lines == now else ["manifest.jsonl is not the sum of manifest/: run again to go on"]
    return faults if sizes == pairs else [*faults, "sizes.json does not say how many pairs each tar holds: run again to go on"]
