"""All files of one output shard, published together; the manifest, written last, is the commit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, get_args

from pairloom.batch import Batch
from pairloom.choices import Format
from pairloom.errors import RunError
from pairloom.readers.model import Shard
from pairloom.remote import Place
from pairloom.stats import Stats
from pairloom.writers.ledger import REJECTS, ParquetWriter, TableWriter, ledger_rows, ledger_schema, reject_rows
from pairloom.writers.parts import Parts, json_bytes, write_whole
from pairloom.writers.webdataset import WebDatasetWriter

if TYPE_CHECKING:
    from pairloom.recipe import Recipe

FORMATS: tuple[str, ...] = get_args(Format)


class Writer(Protocol):
    """What stores the pairs themselves."""

    def write(self, batch: Batch) -> None: ...
    def close(self) -> None: ...


def data_name(index: int, format: str) -> str:
    """The file of a shard that holds the pairs."""
    return f"{index:05d}.tar" if format == "webdataset" else f"data/train-{index:05d}.parquet"


def manifest_name(index: int) -> str:
    """The file that says that a shard is complete."""
    return f"manifest/{index:05d}.json"


class ShardFiles:
    """The pairs, the ledger, the rejects and the counts of one shard; leaving without `commit` leaves nothing."""

    def __init__(self, root: Place, shard: Shard, format: str, recipe: Recipe) -> None:
        self._root, self._shard, self._fingerprint = root, shard, recipe.fingerprint()
        self._parts = Parts(root)
        columns = recipe.columns()
        name = f"{shard.index:05d}"
        file = self._parts.open(data_name(shard.index, format))
        self._data: Writer = (
            WebDatasetWriter(file, recipe.suffix) if format == "webdataset" else ParquetWriter(file, recipe.suffix, columns)
        )
        self._ledger = TableWriter(self._parts.open(f"{name}.parquet"), ledger_schema(columns))
        self._rejects = TableWriter(self._parts.open(f"rejects/{name}.parquet"), REJECTS)

    def keep(self, batch: Batch) -> Batch:
        """Write pairs that passed every step; gives them back, so that writing is the last step of the line."""
        if len(batch):
            self._data.write(batch)
            self._ledger.write(ledger_rows(batch))
        return batch

    def reject(self, batch: Batch, step: str) -> None:
        """Write pairs that `step` rejected."""
        self._rejects.write(reject_rows(batch, step))

    def commit(self, stats: Stats) -> None:
        """Give everything its final name, the manifest last."""
        for writer in (self._data, self._ledger, self._rejects):
            writer.close()
        if committed(self._root, stats.shard, self._fingerprint) is None:  # else another attempt came first, with the same bytes
            commit_shard(self._root, self._parts, self._fingerprint, stats)

    def __enter__(self) -> ShardFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self._parts.__exit__(kind, fault, trace)


def committed(root: Place, index: int, fingerprint: str | None) -> Stats | None:
    """The counts of a shard whose manifest is there, is of this fingerprint if there is one, and names files of their sizes."""
    [data] = manifests(root, [index])
    return _counts(data, fingerprint, lambda name: (root / name).stat().st_size) if data else None


def all_committed(root: Place, fingerprint: str | None, shards: int) -> Iterator[Stats]:
    """The counts of the shards that are `committed`, in order."""
    if isinstance(root, Path):
        found = (committed(root, index, fingerprint) for index in range(shards))
    else:  # one listing instead of a request for each file
        sizes = root.sizes()
        found = (
            _counts(data, fingerprint, lambda name: sizes.get(name, -1)) if data else None
            for data in manifests(root, range(shards))
        )
    yield from (stats for stats in found if stats is not None)


def manifests(root: Place, shards: Sequence[int]) -> Iterator[bytes | None]:
    """The manifests of shards as they are, None for one that isn't there; behind a URL many are asked for at a time."""
    names = [manifest_name(index) for index in shards]
    if not isinstance(root, Path):
        yield from root.read_all(names)
        return
    for name in names:
        data = None
        with suppress(OSError):
            data = (root / name).read_bytes()
        yield data


def _counts(data: bytes, fingerprint: str | None, size: Callable[[str], int]) -> Stats | None:
    try:
        manifest = json.loads(data)
        whole = all(size(name) == file["bytes"] for name, file in manifest["files"].items())
        return Stats.from_json(manifest["stats"]) if whole and fingerprint in (None, manifest["fingerprint"]) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # it will be done again


def commit_shard(root: Place, parts: Parts, fingerprint: str, stats: Stats) -> None:
    """Add the counts in img2dataset's form, publish the files, then write the manifest that makes them count."""
    parts.open(f"{stats.shard:05d}_stats.json").write(as_json(img2dataset_stats(stats)))
    (root / manifest_name(stats.shard)).unlink(missing_ok=True)  # a manifest must never name another run's bytes
    files = parts.publish()
    manifest = root / manifest_name(stats.shard)
    data = json_bytes({"fingerprint": fingerprint, "files": files, "stats": stats.to_json()})
    if isinstance(manifest, Path):
        write_whole(manifest, data)
    elif not manifest.put_if_absent(data):
        manifest.unlink(missing_ok=True)  # whose files are there now, nobody can tell
        raise RunError(
            f"shard {stats.shard} was committed meanwhile with other bytes, and is taken back; run again to make it anew"
        )


def img2dataset_stats(stats: Stats) -> dict[str, Any]:
    """The counts under the names that img2dataset gives them, without times, and the steps beside them."""
    return {
        "count": stats.pairs_in,
        "successes": stats.pairs_out,
        "failed_to_download": 0,
        "failed_to_resize": stats.pairs_rejected,
        "status_dict": {"success": stats.pairs_out, **stats.reasons},
        **stats.to_json(),
    }


def as_json(value: Any) -> bytes:
    """Readable JSON with a newline at the end."""
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def file_digest(path: Place) -> dict[str, Any]:
    """Size and SHA-256 of a file as a manifest holds them."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
            size += len(data)
    return {"bytes": size, "sha256": digest.hexdigest()}
