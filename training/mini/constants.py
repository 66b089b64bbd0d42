"""Choose the constants of attention pooling on validation data and write them into pairloom.json.

    python training/mini/constants.py FOLDER --work DIR --bank DIR [--flickr DIR]

Validation sets: drawings, stamps and emoji held out for validation, their titles and keywords among ten sentences of prose, and
alone, where every sentence describes the image. If given, Flickr8k's tars 5 and 6, too, none of whose images is ever tested on,
in the same two ways. The mean of all decides.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pooling
from encoder import Array, Encoder
from images import Pixels, read
from measure import flickr
from pairs import Example, bilingual, drawings, load_pairs
from texts import prose

from pairloom.alignment.attention import Pooling

PHOTOS, SHARE = 400, 0.6


def sentences(one: Example) -> list[str]:
    """A pair's own sentences: its title, and its keywords in one or two more."""
    half = (len(one.keywords) + 1) // 2
    parts = [one.titles[0], ", ".join(one.keywords[:half]), ", ".join(one.keywords[half:])]
    return [part for part in parts if part]


def views(pixels: Pixels) -> list[Pixels]:
    """The whole image and its four corners."""
    height, width = pixels.shape[:2]
    h, w = max(1, round(height * SHARE)), max(1, round(width * SHARE))
    corners = [(top, left) for top in (0, height - h) for left in (0, width - w)]
    return [pixels, *(pixels[top : top + h, left : left + w] for top, left in corners)]


def embed_views(encoder: Encoder, images: list[Pixels]) -> Array:
    """(n, 5, d)."""
    flat = encoder.embed_images([np.ascontiguousarray(part) for image in images for part in views(image)])
    return flat.reshape(len(images), 5, -1)


def choose_constants(folder: Path, work: Path, bank_folder: Path, photos_folder: Path | None) -> dict[str, float]:
    """Print the best choices, write the best, and give it."""
    encoder, others = Encoder(folder), prose(work / "cache", "en")
    others = others[len(others) // 2 : 3 * len(others) // 4]  # the first half was taught, the last quarter is for the test
    bank = pooling.embed_bank(encoder, bank_folder)
    examples = load_pairs(work)
    some = [*drawings(examples, "val", 1000), *bilingual(examples, "val")]
    sets = [([read(work / "images" / one.file) for one in some], [sentences(one) for one in some])]
    if photos_folder:
        photos = [item for tar in (5, 6) for item in list(flickr(photos_folder, [tar]))[: PHOTOS // 2]]
        sets.append(([image for image, _ in photos], [captions for _, captions in photos]))
    ready = []
    for images, own in sets:
        vectors = embed_views(encoder, images)
        mixed = [pooling.mix(part, others, number) for number, part in enumerate(own)]
        ready += [(pooling.embed_long(encoder, texts), vectors) for texts in (mixed, own)]
    whole = [(texts, vectors[:, 0]) for texts, vectors in ready]
    grid = [Pooling(one) for one in pooling.GAMMAS]
    table = pooling.choose(whole, bank, grid)
    print("one view:", *(f"{one}: {value:.2f}" for value, one in table), sep="\n  ")
    wide = pooling.choose(ready, bank, [replace(table[0][1], tau_view=one) for one in pooling.VIEW_TAUS])
    print("five views:", *(f"{one}: {value:.2f}" for value, one in wide), sep="\n  ")
    path = folder / "pairloom.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    chosen = asdict(wide[0][1])
    path.write_text(json.dumps(settings | {"pooling": chosen}, indent=2) + "\n", encoding="utf-8")
    return chosen


def main() -> None:
    """Read the command line and choose."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--flickr", type=Path)
    arguments = parser.parse_args()
    choose_constants(arguments.folder, arguments.work, arguments.bank, arguments.flickr)


if __name__ == "__main__":
    main()
