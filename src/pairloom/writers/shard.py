"""All files of one output shard, published together; the manifest, written last, is the commit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, get_args

from pairloom.batch import Batch
from pairloom.choices import Format
from pairloom.readers.model import Shard
from pairloom.stats import Stats
from pairloom.writers.ledger import REJECTS, ParquetWriter, TableWriter, ledger_rows, ledger_schema, reject_rows
from pairloom.writers.parts import Parts, write_json
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

    def __init__(self, root: Path, shard: Shard, format: str, recipe: Recipe) -> None:
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


def committed(root: Path, index: int, fingerprint: str) -> Stats | None:
    """The counts of a shard whose manifest is there, is of this fingerprint, and names files of the size it says."""
    try:
        manifest = json.loads((root / manifest_name(index)).read_text("utf-8"))
        whole = all((root / name).stat().st_size == file["bytes"] for name, file in manifest["files"].items())
        return Stats.from_json(manifest["stats"]) if whole and manifest["fingerprint"] == fingerprint else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # it will be done again


def commit_shard(root: Path, parts: Parts, fingerprint: str, stats: Stats) -> None:
    """Add the counts in img2dataset's form, publish the files, then write the manifest that makes them count."""
    parts.open(f"{stats.shard:05d}_stats.json").write(as_json(img2dataset_stats(stats)))
    (root / manifest_name(stats.shard)).unlink(missing_ok=True)  # a manifest must never name another run's bytes
    files = parts.publish()
    write_json(root / manifest_name(stats.shard), {"fingerprint": fingerprint, "files": files, "stats": stats.to_json()})


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


def file_digest(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file as a manifest holds them."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
