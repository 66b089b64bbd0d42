"""Small inputs of every kind for the tests of the readers, and ways to read them."""

import csv
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairloom.batch import Row
from pairloom.readers import Plan, ReadOptions, plan, read

Pair = tuple[str, bytes, str]
"""The stem of an image's file, its bytes, its text."""

KINDS = ("folder", "webdataset", "csv", "tsv", "jsonl", "parquet_paths", "parquet_bytes", "parquet_struct", "imagefolder")

PAIRS: list[Pair] = [
    ("cat", b"jpeg of a cat", "a cat"),
    ("dog", b"jpeg of a dog", 'a "dog",\nand a second line\n\nand a fourth'),
    ("鸟", b"jpeg of a bird", "一只鸟，站在树上。"),
    ("fish", b"\x00\xff\n\"',", "emoji 👩‍👩‍👧 and tab\there; semicolon"),
    ("horse", b"jpeg of a horse", "' leading quote"),
    ("ox", b"jpeg of an ox", '"quoted"'),
    ("yak", b"jpeg of a yak", "the last"),
]


WANTED = [(image, (text,)) for _, image, text in PAIRS]
"""What `values` gives for them."""


def rows_of(found: Plan, options: ReadOptions | None = None) -> list[Row]:
    """All rows of a plan, after checks of what holds for every plan."""
    options = options or ReadOptions()
    assert Plan.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert [shard.index for shard in found.shards] == list(range(len(found.shards)))
    rows: list[Row] = []
    for shard in found.shards:
        some = list(read(shard, options))
        assert len(some) == shard.rows == len(shard.numbers)
        rows += some
    return rows


def read_all(inputs: str | Path | Sequence[str], options: ReadOptions | None = None, **settings: Any) -> list[Row]:
    """All rows of an input, which must be the same with any size of shards."""
    options = options or ReadOptions()
    where = str(inputs) if isinstance(inputs, Path) else inputs
    rows = rows_of(plan(where, options, **settings), options)
    assert plain(rows_of(plan(where, options, 3, **settings), options)) == plain(rows)
    return rows


def plain(rows: Sequence[Row]) -> list[Any]:
    """The rows as values that can be compared, which exceptions can't."""
    names = [name for name in Row.__slots__ if name != "reject"]
    return [(*(getattr(row, name) for name in names), row.reject and (row.reject.code, row.reject.message)) for row in rows]


def faults(path: str | Path, options: ReadOptions | None = None) -> list[tuple[str, int]]:
    """The code of each fault of an input, with the rows before it."""
    found = plan(str(path), options or ReadOptions(), 3)
    return [(fault.code, fault.pairs_before) for shard in found.shards for fault in shard.faults]


def codes(rows: Sequence[Row]) -> list[str | None]:
    """The reason code of each row, None for good ones."""
    return [row.reject.code if row.reject else None for row in rows]


def values(rows: Sequence[Row]) -> list[tuple[bytes | None, tuple[str, ...]]]:
    """The image and the texts of each row."""
    return [(row.image, row.texts) for row in rows]


def tar(path: Path, members: Sequence[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT) -> Path:
    """A tar of regular files."""
    with tarfile.open(path, "w", format=format, errors="surrogateescape") as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def pairs_tar(path: Path, pairs: Sequence[Pair]) -> Path:
    """A tar with two members a pair."""
    return tar(path, [each for stem, image, text in pairs for each in ((f"{stem}.jpg", image), (f"{stem}.txt", text.encode()))])


def make(kind: str, folder: Path, pairs: Sequence[Pair] = PAIRS) -> Path:
    """An input of some kind; its images are in `folder` unless it holds them."""
    if kind == "webdataset":
        return pairs_tar(folder / "pairs.tar", pairs)
    if kind not in ("parquet_bytes", "parquet_struct"):
        for stem, image, _ in pairs:
            (folder / f"{stem}.jpg").write_bytes(image)
    if kind == "folder":
        for stem, _, text in pairs:
            (folder / f"{stem}.txt").write_bytes(text.encode())
        return folder
    return _table(kind, folder, pairs)


def _table(kind: str, folder: Path, pairs: Sequence[Pair]) -> Path:
    names = [f"{stem}.jpg" for stem, _, _ in pairs]
    texts = [text for _, _, text in pairs]
    if kind in ("csv", "tsv"):
        with (folder / f"pairs.{kind}").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="," if kind == "csv" else "\t", lineterminator="\r\n")
            writer.writerows([("filepath", "title"), *zip(names, texts, strict=True)])
        return folder / f"pairs.{kind}"
    if kind in ("jsonl", "imagefolder"):
        path = folder / ("metadata.jsonl" if kind == "imagefolder" else "pairs.jsonl")
        lines = [json.dumps({"file_name": name, "text": text}) for name, text in zip(names, texts, strict=True)]
        path.write_text("".join(f"{line}\n" for line in lines))
        return folder if kind == "imagefolder" else path
    images: list[Any] = names
    if kind == "parquet_bytes":
        images = [image for _, image, _ in pairs]
    elif kind == "parquet_struct":
        images = [{"bytes": image, "path": f"{stem}.jpg"} for stem, image, _ in pairs]
    pq.write_table(pa.table({"image": images, "caption": texts}), folder / "pairs.parquet", row_group_size=2)
    return folder / "pairs.parquet"


def write(folder: Path, name: str, *lines: str) -> Path:
    """A text table."""
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / name
