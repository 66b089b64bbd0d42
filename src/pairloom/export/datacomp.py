"""DataComp: metadata with a `uid` for each pair, the sorted list of uids that its resharder takes, and shards that name them."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pairloom.finished import Finished
from pairloom.writers.ledger import TableWriter
from pairloom.writers.parts import Parts, write_json, write_whole
from pairloom.writers.webdataset import WebDatasetWriter, final_texts

_UID = re.compile(r"[0-9a-f]{32}")
_KNOWN = {"clip-vit-base-patch32": "b32", "vit-b-32": "b32", "clip-vit-large-patch14": "l14", "vit-l-14": "l14"}


def datacomp(run: Finished, dest: Path) -> int:
    """`metadata/00000.parquet`, `subset.npy` and `shards/00000000.tar` with `sizes.json`.

    A `uid` that the input had is kept, else it is made of the original image and the text.
    """
    score = f"clip_{_model(run.plan['recipe'])}_similarity_score"
    uids: list[str] = []
    sizes = {}
    for index in run.shards:
        names = f"metadata/{index:05d}.parquet", f"shards/{index:08d}.tar"
        with Parts(dest) as parts:
            table = TableWriter(parts.open(names[0]), _schema(score))
            shard = WebDatasetWriter(parts.open(names[1]), run.suffix)
            for batch in run.batches(index):
                rows = batch.table.drop_columns(["image"]).to_pylist()
                said = [_row(row, text, score) for row, text in zip(rows, final_texts(batch), strict=True)]
                uids += [one["uid"] for one in said]
                table.write(pa.Table.from_pylist(said, _schema(score)))
                shard.write(batch.with_columns({"uid": pa.string()}, uid=[one["uid"] for one in said]))
            table.close()
            shard.close()
            parts.publish()
        sizes[f"{index:08d}.tar"] = run.pairs[index]
    write_json(dest / "shards" / "sizes.json", sizes)
    write_whole(dest / "subset.npy", _subset(uids))
    return len(uids)


def _schema(score: str) -> pa.Schema:
    texts = {name: pa.string() for name in ("uid", "url", "text")}
    sizes = {name: pa.int64() for name in ("original_width", "original_height")}
    rest = {score: pa.float32(), "face_bboxes": pa.list_(pa.list_(pa.float64())), "sha256": pa.string()}
    return pa.schema({**texts, **sizes, **rest})


def _row(row: dict[str, Any], text: str, score: str) -> dict[str, Any]:
    extra = {name.lower(): value for name, value in json.loads(row["extra"]).items()}
    made = hashlib.blake2b(f"{row.get('sha256')}\n{row['original_text']}".encode(), digest_size=16).hexdigest()
    uid = next((one for one in (row["source_key"], extra.get("uid")) if isinstance(one, str) and _UID.fullmatch(one)), made)
    size = {name: row.get(name) for name in ("original_width", "original_height")}
    said = {"uid": uid, "url": str(extra.get("url") or ""), "text": text, **size, score: row.get("similarity")}
    return {**said, "face_bboxes": [], "sha256": row.get("sha256")}


def _subset(uids: list[str]) -> bytes:
    """Each uid as two numbers of 64 bits, sorted."""
    pairs = np.array([(int(uid[:16], 16), int(uid[16:], 16)) for uid in uids], np.dtype("u8,u8"))
    buffer = io.BytesIO()
    np.save(buffer, np.sort(pairs))
    return buffer.getvalue()


def _model(recipe: dict[str, Any]) -> str:
    """The model's name as it stands in a column; those of DataComp have their own."""
    models = [step["align"]["model"] for step in recipe["steps"] if "align" in step]
    name = (models[0] if models else "no").rpartition(":")[2].lower()
    known = next((short for long, short in _KNOWN.items() if long in name), None)
    return known or re.sub(r"[^0-9a-z]+", "_", name).strip("_")
