"""MosaicML Streaming: `shard.NNNNN.mds` and `index.json`, as `streaming.MDSWriter` writes them."""

from __future__ import annotations

import json
import struct
from itertools import accumulate
from pathlib import Path
from typing import Any

import xxhash

from pairloom.finished import Finished
from pairloom.writers.parts import write_whole
from pairloom.writers.webdataset import final_texts

_LIMIT = 1 << 26
_IMAGES = {"jpg": "jpeg", "png": "png"}


def mds(run: Finished, dest: Path) -> int:
    """Columns `caption` (str), `image` (jpeg, png, else bytes), `key` (str), `meta` (json: the ledger)."""
    kinds = {"caption": "str", "image": _IMAGES.get(run.suffix or "", "bytes"), "key": "str", "meta": "json"}
    config = {
        "column_encodings": list(kinds.values()), "column_names": list(kinds), "column_sizes": [None] * len(kinds),
        "compression": None, "format": "mds", "hashes": ["xxh64"], "size_limit": _LIMIT, "version": 2,
    }  # fmt: skip
    shards = _Shards(dest, config)
    for index in run.shards:
        for batch in run.batches(index):
            rows = batch.table.drop_columns(["image"]).to_pylist()
            for row, image, caption in zip(rows, batch["image"], final_texts(batch), strict=True):
                shards.add([caption.encode(), image, row["key"].encode(), json.dumps(row).encode()])
    return shards.close()


class _Shards:
    """Collects samples and writes a shard before it would pass the limit."""

    def __init__(self, dest: Path, config: dict[str, Any]) -> None:
        self._dest, self._config = dest, config
        self._head = json.dumps(config, sort_keys=True).encode()
        self._samples: list[bytes] = []
        self._size = self._empty = 8 + len(self._head)
        self._written: list[dict[str, Any]] = []

    def add(self, cells: list[bytes]) -> None:
        """One sample: the length of each cell, then the cells."""
        sample = struct.pack(f"<{len(cells)}I", *map(len, cells)) + b"".join(cells)
        if self._size + len(sample) + 4 > _LIMIT:
            self._flush()
        self._samples.append(sample)
        self._size += len(sample) + 4

    def close(self) -> int:
        """Write what is left and the index; gives the number of samples."""
        self._flush()
        write_whole(self._dest / "index.json", json.dumps({"shards": self._written, "version": 2}, sort_keys=True).encode())
        return sum(shard["samples"] for shard in self._written)

    def _flush(self) -> None:
        if not self._samples:
            return
        name, count = f"shard.{len(self._written):05d}.mds", len(self._samples)
        first = 4 + 4 * (count + 1) + len(self._head)
        offsets = list(accumulate(map(len, self._samples), initial=first))
        data = b"".join([struct.pack(f"<{count + 2}I", count, *offsets), self._head, *self._samples])
        write_whole(self._dest / name, data)
        raw = {"basename": name, "bytes": len(data), "hashes": {"xxh64": xxhash.xxh64_hexdigest(data)}}
        self._written.append({**self._config, "raw_data": raw, "samples": count, "zip_data": None})
        self._samples, self._size = [], self._empty
