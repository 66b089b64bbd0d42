"""The index of an output of Pairloom: from its manifests, its ledgers and the headers of its tars."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairloom.errors import UsageError
from pairloom.output import PLAN
from pairloom.readers.inputs import open_container
from pairloom.remote import is_url
from pairloom.torch.cache import Cache
from pairloom.torch.index import SHARD, TABLE, Index, columns, joined, remember, remembered
from pairloom.writers.shard import data_name, manifest_name

_BLOCK = 512
_LEDGER = ("key", "width", "height", "geometry", "tokens_kept", "caption", "text", "tiles", "alignment")
_BROKEN = (OSError, ValueError, KeyError, TypeError, pa.ArrowException)


def output_index(path: str, cache: Cache) -> Index:
    """The index of the output in a folder or below a URL.

    Raises:
        UsageError: if it is not whole: a shard is not committed, a file is missing or not the one that the manifest names.
    """
    plan = _plan(path)
    if not plan["shards"]:
        raise UsageError(f"{path} has no shards: there is not one pair to load")
    manifests = [_manifest(path, shard["index"]) for shard in plan["shards"]]
    selected = "select" in plan["recipe"] or "scores" in plan["settings"]  # then what is dropped in a shard counts, too
    if not selected and len({one["fingerprint"] for one in manifests}) > 1:
        raise UsageError(f"{path} holds shards of different recipes: run again, or begin it anew with --restart")
    format = plan["settings"]["format"]
    digest = hashlib.sha256(json.dumps([format, manifests], sort_keys=True).encode()).hexdigest()[:32]
    for manifest in manifests:
        _check_sizes(path, manifest)
    known = remembered(path, digest)
    if known is not None:
        return known
    shards = zip(plan["shards"], manifests, strict=True)
    whole = joined([_shard(path, shard["index"], manifest["files"], format, cache) for shard, manifest in shards])
    return remember(path, Index(**{**vars(whole), "digest": digest, "recipe": plan["recipe"]}))


def members(data: Any) -> Iterator[tuple[str, int, int]]:
    """Name, place of the header and size of each member of a plain tar, as bytes or mapped. Raises `ValueError` if it is none."""
    place, end = 0, len(data)
    while place + _BLOCK <= end and data[place]:
        header = bytes(data[place : place + _BLOCK])
        if header[156:157] not in (b"0", b"\0"):
            raise ValueError("not a plain member")
        size = int(header[124:135], 8)
        if size < 0 or place + _BLOCK + size > end:
            raise ValueError("the file ends within a member")
        yield header[:100].rstrip(b"\0").decode(), place, size
        place += _BLOCK + size + -size % _BLOCK


def _plan(path: str) -> Any:
    try:
        with open_container(f"{path}/{PLAN}") as file:
            plan = json.load(file)
        return {name: plan[name] for name in ("recipe", "settings", "shards")}
    except _BROKEN as fault:
        raise UsageError(f"{path}: {PLAN} can't be used: {fault!r}") from None


def _manifest(path: str, index: int) -> dict[str, Any]:
    try:
        with open_container(f"{path}/{manifest_name(index)}") as file:
            manifest = json.load(file)
        return {"files": dict(manifest["files"]), **{name: manifest[name] for name in ("fingerprint", "stats")}}
    except FileNotFoundError:
        raise UsageError(f"{path}: shard {index} is not committed; run `pairloom run` again to finish it") from None
    except _BROKEN as fault:
        raise UsageError(f"{path}: the manifest of shard {index} can't be used ({fault!r}); run `pairloom run` again") from None


def _check_sizes(path: str, manifest: dict[str, Any]) -> None:
    for name, said in manifest["files"].items() if not is_url(path) else ():
        if "rejects/" in name:
            continue
        try:
            size = (Path(path) / name).stat().st_size
        except OSError:
            raise UsageError(f"{path}: {name} is missing; run `pairloom run` again to make it anew") from None
        if size != said["bytes"]:
            raise UsageError(f"{path}: {name} has {size} bytes, its manifest says {said['bytes']}; `pairloom verify` tells more")


def _shard(path: str, index: int, files: dict[str, Any], format: str, cache: Cache) -> Index:
    name, ledger = data_name(index, format), f"{index:05d}.parquet"
    try:
        with cache.open(f"{path}/{ledger}", files[ledger]["sha256"]) as file:
            there = pq.read_schema(file).names
            table = pq.read_table(file, columns=[column for column in _LEDGER if column in there])
        with cache.open(f"{path}/{name}", files[name]["sha256"]) as file:
            keys, places = _spans(file) if format == "webdataset" else _groups(file)
    except _BROKEN as fault:
        raise UsageError(f"{path}: shard {index} is damaged ({fault}); `pairloom verify` tells more") from None
    if keys != table["key"].to_pylist():
        raise UsageError(f"{path}: {name} does not hold the pairs of its ledger; `pairloom verify` tells more")
    arrays = columns(table.num_rows) | _measured(table)
    arrays["start"], arrays["length"] = np.array(places, np.int64).reshape(-1, 2).T
    kind = SHARD if format == "webdataset" else TABLE
    return Index(((f"{path}/{name}", kind, files[name]["sha256"]),), **arrays, digest="")


def _spans(file: Any) -> tuple[list[str], list[tuple[int, int]]]:
    """Where the members of each pair lie in a tar."""
    keys, places = [], []
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for key, group in groupby(members(data), key=lambda member: member[0].partition(".")[0]):
            found = list(group)
            keys.append(key)
            places.append((found[0][1], found[-1][1] + _BLOCK + found[-1][2] - found[0][1]))
    return keys, places


def _groups(file: Any) -> tuple[list[str], list[tuple[int, int]]]:
    """Where the pairs of a Parquet file lie."""
    table = pq.ParquetFile(file)
    return table.read(["key"])["key"].to_pylist(), group_rows(table)


def group_rows(table: Any) -> list[tuple[int, int]]:
    """The row group of each row of an open Parquet file, and its place in it."""
    counts = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
    return [(group, row) for group, count in enumerate(counts) for row in range(count)]


def _measured(table: Any) -> dict[str, Any]:
    """What the ledger says of its pairs."""
    found: dict[str, Any] = {}
    if "width" in table.column_names:
        found["size"] = np.stack([_numbers(table[name], 1) for name in ("width", "height")], 1).astype(np.int32)
        boxes = pc.list_flatten(pc.struct_field(table["geometry"], "box"))
        found["box"] = _numbers(boxes, 0).reshape(-1, 4).astype(np.float32)
    if "tokens_kept" in table.column_names:
        found["tokens"] = _numbers(table["tokens_kept"], -1).astype(np.int32)
    text = table["caption" if "caption" in table.column_names else "text"]
    found["characters"] = _numbers(pc.binary_length(text), 0).astype(np.int32)
    if "tiles" in table.column_names:
        found["views"] = _numbers(pc.list_value_length(table["tiles"]), 0).astype(np.int32)
    if "alignment" in table.column_names:
        found["alignment"] = table["alignment"].cast(pa.float32()).to_numpy()
    return found


def _numbers(column: Any, missing: int) -> Any:
    return pc.fill_null(column, missing).to_numpy()
