"""Image files with one table beside them: Hugging Face's imagefolder, LLaVA's JSON, open_clip's CSV."""

from __future__ import annotations

import csv as csv_format
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairloom.finished import Finished
from pairloom.steps.header import suffix_of
from pairloom.writers.parts import Parts
from pairloom.writers.webdataset import final_texts

_SAID = ("key", "source_key", "width", "height", "language", "similarity", "alignment")


def imagefolder(run: Finished, dest: Path) -> int:
    """`train/metadata.jsonl` beside `train/00000/000000003.jpg`, with the text and a few columns of the ledger."""
    number = 0
    with Parts(dest) as parts:
        table = parts.open("train/metadata.jsonl")
        for name, text, row in _images(run, dest / "train"):
            number += 1
            said = {"file_name": name, "text": text, **{column: row[column] for column in _SAID if column in row}}
            table.write((json.dumps(said, ensure_ascii=False) + "\n").encode())
        parts.publish()
    return number


def llava(run: Finished, dest: Path, prompt: str) -> int:
    """`llava.json` with conversations, `messages.json` in the newer form, and the images below `images/`.

    An `<image>` in a text would stand for a second image, so its brackets go.
    """
    number = 0
    with Parts(dest) as parts:
        files = parts.open("llava.json"), parts.open("messages.json")
        for number, (name, text, row) in enumerate(_images(run, dest / "images"), 1):
            asked, answer = f"<image>\n{prompt}", text.replace("<image>", "image")
            turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]
            messages = [{"role": "user", "content": f"<image>{prompt}"}, {"role": "assistant", "content": answer}]
            both = (
                {"id": row["key"], "image": name, "conversations": turns},
                {"messages": messages, "images": [f"images/{name}"]},
            )
            for file, said in zip(files, both, strict=True):
                file.write((",\n" if number > 1 else "[\n").encode() + json.dumps(said, ensure_ascii=False).encode())
        for file in files:
            file.write(b"\n]\n" if number else b"[]\n")
        parts.publish()
    return number


def csv(run: Finished, dest: Path) -> int:
    """`pairs.tsv` with `filepath` and `title`, tabs between them, as open_clip reads it; paths are relative to `dest`."""
    number = 0
    with Parts(dest) as parts:
        table = parts.open("pairs.tsv")
        table.write(_line("filepath", "title"))
        for name, text, _ in _images(run, dest / "images"):
            table.write(_line(f"images/{name}", text))
            number += 1
        parts.publish()
    return number


def _images(run: Finished, folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Write every image below `folder`; gives its name there, the text and the row of the ledger."""
    for index in run.shards:
        (folder / f"{index:05d}").mkdir(parents=True, exist_ok=True)
        for batch in run.batches(index):
            rows = batch.table.drop_columns(["image"]).to_pylist()
            for row, image, text in zip(rows, batch["image"], final_texts(batch), strict=True):
                name = f"{index:05d}/{row['key']}.{run.suffix or suffix_of(image)}"
                (folder / name).write_bytes(image)
                yield name, text, row


def _line(*cells: str) -> bytes:
    buffer = io.StringIO()
    csv_format.writer(buffer, delimiter="\t", lineterminator="\n").writerow(cells)
    return buffer.getvalue().encode()
