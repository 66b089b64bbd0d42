"""A writer: a function that writes a finished run in another layout for `pairloom export`. This one writes COCO captions."""

from __future__ import annotations

import json
from pathlib import Path

from pairloom.finished import Finished
from pairloom.steps.header import suffix_of


def write_coco(run: Finished, dest: Path) -> int:
    """`captions.json` as COCO has it, and `images/`; gives the number of pairs."""
    images, annotations = [], []
    (dest / "images").mkdir()
    for index in run.shards:
        for batch in run.batches(index):
            texts = batch["caption"] if "caption" in batch.table.column_names else batch["text"]
            for row, text in enumerate(texts):
                number, image = len(images), batch["image"][row]
                name = f"{batch['key'][row]}.{run.suffix or suffix_of(image)}"
                (dest / "images" / name).write_bytes(image)
                images.append({"id": number, "file_name": name, "width": batch["width"][row], "height": batch["height"][row]})
                annotations.append({"id": number, "image_id": number, "caption": text})
    (dest / "captions.json").write_text(json.dumps({"images": images, "annotations": annotations}, ensure_ascii=False), "utf-8")
    return len(images)
