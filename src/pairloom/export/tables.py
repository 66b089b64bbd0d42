"""Parquet parts with an `Image` column, as `datasets` loads them, and Croissant metadata that describes such parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pairloom.finished import Finished
from pairloom.writers.ledger import ParquetWriter
from pairloom.writers.parts import PRIVATE, Parts, write_whole

_TERMS = (
    *(
        "citeAs",
        "column",
        "equivalentProperty",
        "extract",
        "field",
        "fileProperty",
        "fileObject",
        "fileSet",
        "format",
        "includes",
    ),
    *(
        "isLiveDataset",
        "jsonPath",
        "key",
        "md5",
        "parentField",
        "path",
        "recordSet",
        "references",
        "regex",
        "repeated",
        "replace",
    ),
    *("samplingRate", "separator", "source", "subField", "transform"),
)
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS},
}


def huggingface(run: Finished, dest: Path) -> int:
    """`data/train-00000-of-00004.parquet` with an `Image` column, `text` and all columns of the ledger."""
    return sum(count for count, _ in _parts(run, dest).values())


def croissant(run: Finished, dest: Path) -> int:
    """The parts of `huggingface`, and `croissant.json`, which says what they hold."""
    parts = _parts(run, dest)
    files = [
        {"@type": "cr:FileObject", "@id": name.rpartition("/")[2], "name": name.rpartition("/")[2], "contentUrl": name,
         "encodingFormat": "application/x-parquet", "contentSize": f"{digest['bytes']} B", "sha256": digest["sha256"]}
        for name, (_, digest) in parts.items()
    ]  # fmt: skip
    source = {"fileObject": {"@id": files[0]["@id"]}} if len(files) == 1 else {"fileSet": {"@id": "parts"}}
    parts_set = {"@type": "cr:FileSet", "@id": "parts", "name": "parts", "encodingFormat": "application/x-parquet",
                 "includes": "data/*.parquet"}  # fmt: skip
    fields = [_field("image", "sc:ImageObject", {**source, "transform": {"jsonPath": "bytes"}})]
    fields += [_field(column, "sc:Text", source) for column in ("text", "key")]
    about = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": dest.name.partition(PRIVATE)[0],
        "description": f"{sum(count for count, _ in parts.values())} image–text pairs prepared by Pairloom",
        "version": "1.0.0",
        "distribution": files if len(files) == 1 else [*files, parts_set],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "pairs", "name": "pairs", "field": fields}],
    }
    write_whole(dest / "croissant.json", (json.dumps(about, ensure_ascii=False, indent=1) + "\n").encode())
    return sum(count for count, _ in parts.values())


def _parts(run: Finished, dest: Path) -> dict[str, tuple[int, dict[str, Any]]]:
    """Write a part for each shard that holds pairs; gives how many it has and its digest, by name."""
    shards = [(index, pairs) for index, pairs in run.pairs.items() if pairs]
    written = {}
    for place, (index, pairs) in enumerate(shards):
        name = f"data/train-{place:05d}-of-{len(shards):05d}.parquet"
        with Parts(dest) as parts:
            columns = {field.name: field.type for field in run.schema(index)}
            writer = ParquetWriter(parts.open(name), run.suffix, columns)
            for batch in run.batches(index):
                writer.write(batch)
            writer.close()
            written[name] = pairs, parts.publish()[name]
    return written


def _field(column: str, kind: str, source: dict[str, Any]) -> dict[str, Any]:
    place = {"extract": {"column": column}, **source}
    return {"@type": "cr:Field", "@id": f"pairs/{column}", "name": column, "dataType": kind, "source": place}
