"""Choose the image bank: about 256 small drawings in the public domain, as different from each other as can be.

python training/mini/bank.py FOLDER --work DIR --out src/pairloom/data/bank
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from encoder import Array, Encoder
from images import read
from pairs import Example, load_pairs
from PIL import Image

COUNT, LONGEST, QUALITY = 256, 224, 80


def candidates(examples: list[Example]) -> list[Example]:
    """Named clip art of the training split that says it is in the public domain, one of each group."""
    groups: dict[int, Example] = {}
    for one in examples:
        if one.source == "openclipart" and one.split == "train" and one.named and one.titles and one.licence == "Public domain":
            groups.setdefault(one.group, one)
    return list(groups.values())


def farthest(vectors: Array, count: int) -> list[int]:
    """Start in the middle, then always take the vector farthest from all that were taken."""
    chosen = [int((vectors @ vectors.mean(0)).argmax())]
    nearest = vectors @ vectors[chosen[0]]
    while len(chosen) < count:
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return chosen


def clusters(vectors: Array, count: int, rounds: int = 30) -> list[int]:
    """k-means from the farthest points; of each cluster the member nearest to its centre, for outliers would fill the bank."""
    centres = vectors[farthest(vectors, count)]
    for _ in range(rounds):
        belongs = (vectors @ centres.T).argmax(1)
        sums = np.stack([vectors[belongs == number].sum(0) for number in range(count)])
        centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    return sorted({int((vectors @ centre).argmax()) for centre in centres})


def build(folder: Path, work: Path, out: Path) -> None:
    """Write 000.jpg ... and bank.csv."""
    some = candidates(load_pairs(work))
    vectors = Encoder(folder).embed_images([read(work / "images" / one.file) for one in some])
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.jpg"):
        old.unlink()
    with (out / "bank.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "source", "title", "licence", "author"])
        for number, place in enumerate(clusters(vectors, COUNT)):
            one = some[place]
            image = Image.fromarray(read(work / "images" / one.file))
            image.thumbnail((LONGEST, LONGEST), Image.Resampling.BICUBIC)
            image.save(out / f"{number:03d}.jpg", quality=QUALITY, optimize=True)
            table.writerow([f"{number:03d}.jpg", f"openclipart-png:{one.name}", one.titles[0], one.licence, one.author])


def main() -> None:
    """Read the command line and build the bank."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    build(arguments.folder, arguments.work, arguments.out)


if __name__ == "__main__":
    main()
