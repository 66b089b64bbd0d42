"""The index of a set that Pairloom did not make: WebDataset tars, tables, Hugging Face folders. One pass over all images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq

from pairloom import readers
from pairloom.errors import Reject, UsageError
from pairloom.readers.inputs import open_container
from pairloom.readers.model import Container, ReadOptions, Shard
from pairloom.steps.decode import upright_size
from pairloom.torch.index import Index, columns, remember, remembered
from pairloom.torch.output import group_rows


def plain_index(inputs: list[str], options: ReadOptions) -> Index:
    """The index of files as `pairloom run` would read them; pairs that can't be used are counted in `skipped`, not loaded.

    Raises:
        UsageError: if the input can't be read, or is a folder of loose images.
    """
    found = readers.containers(inputs)
    if any(kind == "folder" for _, kind in found):
        raise UsageError("a folder of loose images can't be loaded directly: prepare it first with `pairloom run`")
    digest = hashlib.sha256(json.dumps([(name, *readers.identity(name)) for name, _ in found]).encode()).hexdigest()[:32]
    place = json.dumps(inputs)
    known = remembered(place, digest)
    if known is not None:
        return known
    plan = readers.plan([name for name, _ in found], options, shard_size=1)
    faults = [fault for shard in plan.shards for fault in shard.faults]
    if faults:
        raise UsageError(f"{faults[0].source} is damaged ({faults[0].code} at {faults[0].offset}: {faults[0].message}); "
                         "prepare what can be saved with `pairloom run`")  # fmt: skip
    return remember(place, _pass(plan.containers, plan.shards, options, digest))


def _pass(containers: tuple[Container, ...], shards: tuple[Shard, ...], options: ReadOptions, digest: str) -> Index:
    arrays = columns(len(shards))
    good = np.zeros(len(shards), bool)
    files = {container.name: number for number, container in enumerate(containers)}
    places = {container.name: _rows(container.name) for container in containers if container.kind == "parquet"}
    for number, (shard, measured) in enumerate(zip(shards, _measure(containers, shards, options), strict=True)):
        arrays["file"][number], arrays["start"][number] = files[shard.container], shard.offset
        arrays["length"][number] = shard.first_row
        if shard.kind == "parquet":
            arrays["start"][number], arrays["length"][number] = places[shard.container][shard.first_row]
        if measured:
            good[number] = True
            arrays["size"][number], arrays["characters"][number] = measured[:2], measured[2]
            arrays["box"][number] = (0, 0, *measured[:2])
    kept = {name: array[good] for name, array in arrays.items()}
    names = tuple((container.name, container.kind, f"{container.size} {container.mtime_ns}") for container in containers)
    return Index(names, **kept, digest=digest, skipped=int((~good).sum()))


def _rows(name: str) -> list[tuple[int, int]]:
    with open_container(name) as file:
        return group_rows(pq.ParquetFile(file))


def _measure(
    containers: tuple[Container, ...], shards: tuple[Shard, ...], options: ReadOptions
) -> Iterator[tuple[int, int, int] | None]:
    """Width, height and bytes of text of every row, None for one that can't be used."""
    repeated = {(shard.container, row) for shard in shards for row in shard.repeated}
    first = 0
    for container in containers:
        if not container.rows:
            continue
        twice = tuple(row for row in range(container.rows) if (container.name, row) in repeated)
        whole = Shard(0, container.name, container.kind, 0, container.rows, shards[first].offset, (), twice)
        first += container.rows
        for row in readers.read(whole, options):
            try:
                usable = row.reject is None and row.image and row.texts
                yield (*upright_size(row.image or b""), len(row.texts[0].encode())) if usable else None
            except Reject:
                yield None
