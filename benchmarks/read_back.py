"""What the readers of other projects see in an output of `pairloom run`: how many pairs, each with image and text.

    pip install webdataset datasets pyarrow pillow open_clip_torch
    python benchmarks/read_back.py OUTPUT [OUTPUT ...]

Needs no Pairloom. `ledger` is the number that the output itself claims; every reader that is installed must see as many.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Reader = Callable[[Path], Iterator[tuple[Any, Any]]]


def tars(output: Path) -> list[str]:
    """The shards of a WebDataset output."""
    return [str(path) for path in sorted(output.glob("[0-9]*.tar"))]


def webdataset(output: Path) -> Iterator[tuple[Any, Any]]:
    """`webdataset` with decoded images."""
    import webdataset as wds

    samples = wds.WebDataset(tars(output), shardshuffle=False, empty_check=False).decode("pil")
    for sample in samples.rename(image="jpg;png;webp", text="txt"):
        assert sample["json"]["key"] == sample["__key__"]
        yield sample["image"].size, sample["text"]


def datasets_tar(output: Path) -> Iterator[tuple[Any, Any]]:
    """`datasets.load_dataset("webdataset")`, whose image column must be an Image feature."""
    yield from _loaded("webdataset", tars(output))


def datasets_parquet(output: Path) -> Iterator[tuple[Any, Any]]:
    """`datasets.load_dataset("parquet")`, whose image column must be an Image feature."""
    yield from _loaded("parquet", [str(path) for path in sorted((output / "data").glob("*.parquet"))])


def _loaded(kind: str, files: list[str]) -> Iterator[tuple[Any, Any]]:
    sys.path = [path for path in sys.path if Path(path).resolve() != Path(__file__).parent]  # where our own datasets.py is
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        loaded = datasets.load_dataset(kind, data_files=files, split="train", cache_dir=cache)
        image = next(name for name, feature in loaded.features.items() if isinstance(feature, datasets.Image))
        for row in loaded:
            yield row[image].size, row["txt" if kind == "webdataset" else "text"]


def open_clip(output: Path) -> Iterator[tuple[Any, Any]]:
    """open_clip's own data module with its own transform and tokenizer; it finds the number of pairs in `sizes.json`."""
    from open_clip import SimpleTokenizer, image_transform
    from open_clip_train.data import get_dataset_size, get_wds_dataset

    shards = "::".join(tars(output))
    claimed, _ = get_dataset_size(shards)
    options = Namespace(
        train_data=shards, val_data=shards, val_num_samples=claimed, batch_size=32, workers=1, world_size=1, seed=0
    )
    loader = get_wds_dataset(
        options, image_transform(224, is_train=False), is_train=False, tokenizer=SimpleTokenizer()
    ).dataloader
    assert loader.num_samples == claimed, "sizes.json"
    for images, texts in loader:
        for image, text in zip(images, texts, strict=True):
            yield image.shape[-2:], text[1:].tolist()


READERS: dict[str, Reader] = {
    "webdataset": webdataset,
    "datasets, tar": datasets_tar,
    "datasets, parquet": datasets_parquet,
    "open_clip": open_clip,
}


def look(output: Path, reader: Reader) -> tuple[int, str]:
    """How many pairs a reader sees, and what it says if it can't."""
    count = 0
    try:
        for size, text in reader(output):
            if min(size) < 1 or not text:
                return count, f"pair {count} has an image of {size} and the text {text!r}"
            count += 1
    except ImportError as fault:
        return -1, f"not installed: {fault}"
    except Exception as fault:  # noqa: BLE001 - whatever another project's reader raises is the finding
        return count, f"{type(fault).__name__}: {fault}"
    return count, ""


def main() -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(description="What other readers see in an output of pairloom run.")
    parser.add_argument("outputs", nargs="+", type=Path)
    wrong = 0
    for output in parser.parse_args().outputs:
        claimed = sum(pq.read_metadata(path).num_rows for path in output.glob("[0-9]*.parquet"))
        print(f"{output.name}: ledger {claimed:,} pairs")
        for name, reader in READERS.items():
            if (name == "datasets, parquet") != (output / "data").is_dir():
                continue
            seen, fault = look(output, reader)
            wrong += seen not in (claimed, -1)
            print(
                f"  {name:20} {max(seen, 0):>8,}  {'same' if seen == claimed else 'DIFFERENT' if seen >= 0 else ''} {fault}",
                flush=True,
            )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
