"""Every figure of the model card, for a finished folder, with 95 % bootstrap intervals.

    python training/mini/measure.py FOLDER --work DIR --flickr DIR

`--flickr` names a folder of Flickr8k tars (JSON member `captions`), which is only measured on, never trained on.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pooling
from encoder import Array, Encoder
from images import Pixels, read
from metrics import ranks, recall, show, ten_way
from pairs import Example, bilingual, drawings, load_pairs
from PIL import Image
from texts import prose

from pairloom.alignment.attention import Pooling
from pairloom.alignment.bank import BankVectors


def flickr(folder: Path, tars: Sequence[int]) -> Iterator[tuple[Pixels, list[str]]]:
    """Photographs with their captions, in the order of the tar files."""
    for number in tars:
        members: dict[str, dict[str, bytes]] = {}
        with tarfile.open(folder / f"{number:05d}.tar") as archive:
            for item in archive:
                file = archive.extractfile(item)
                if file is not None:
                    key, _, suffix = item.name.partition(".")
                    members.setdefault(key, {})[suffix] = file.read()
        for files in members.values():
            data = next(value for suffix, value in files.items() if suffix in ("jpg", "jpeg", "png"))
            with Image.open(io.BytesIO(data)) as image:
                yield np.array(image.convert("RGB")), json.loads(files["json"])["captions"]


def both_ways(name: str, images: Array, texts: Array) -> list[str]:
    """Recall and 10-way matching, from texts to images and back."""
    lines = []
    for way, scores in (("text->image", texts @ images.T), ("image->text", images @ texts.T)):
        rank = ranks(scores)
        lines += [show(f"{name}, {way} R@{depth}", recall(rank, depth)) for depth in (1, 5, 10)]
        lines.append(show(f"{name}, {way} 10-way", ten_way(rank, len(scores))))
    return lines


def pictures(encoder: Encoder, examples: Sequence[Example], work: Path) -> Array:
    """Vectors of prepared pictures."""
    return encoder.embed_images([read(work / "images" / one.file) for one in examples])


def drawn(encoder: Encoder, work: Path) -> list[str]:
    """Unseen drawings, and the two languages side by side."""
    examples = load_pairs(work)
    some = drawings(examples, "test", 1000)
    images = pictures(encoder, some, work)
    lines = both_ways("drawings, title and keywords", images, encoder.embed_texts([one.text for one in some]))
    lines += both_ways("drawings, title", images, encoder.embed_texts([one.titles[0] for one in some]))
    some = bilingual(examples, "test")
    images, hits = pictures(encoder, some, work), {}
    kinds = {"en, names": [one.titles[0] for one in some], "zh, names": [one.chinese[0] for one in some],
             "en, with keywords": [one.text for one in some], "zh, with keywords": [one.text_zh for one in some]}  # fmt: skip
    for kind, texts in kinds.items():
        vectors = encoder.embed_texts(texts)
        hits[kind] = (recall(ranks(vectors @ images.T), 1) + recall(ranks(images @ vectors.T), 1)) / 2
        lines.append(show(f"stamps and emoji, {kind}, R@1 (mean of both ways)", hits[kind]))
    draw = np.random.default_rng(0)
    for kind in ("names", "with keywords"):
        chinese, english = hits[f"zh, {kind}"], hits[f"en, {kind}"]
        again = [draw.integers(len(some), size=len(some)) for _ in range(2000)]
        low, high = np.percentile([chinese[pick].mean() / english[pick].mean() for pick in again], [2.5, 97.5])
        name, ratio = f"Chinese as a share of English, {kind}", 100 * chinese.mean() / english.mean()
        lines.append(f"{name:58s} {ratio:5.1f}  [{100 * low:.1f}, {100 * high:.1f}]  n={len(some)}")
    return lines


def geometries(encoder: Encoder, work: Path) -> list[str]:
    """The same drawings under four geometries, weights as they are; by aspect ratio as well."""
    some, shipped = drawings(load_pairs(work), "test", 1000), encoder.pixels["resize_mode"]
    pixels = [read(work / "images" / one.file) for one in some]
    ratios = np.array([max(image.shape[:2]) / min(image.shape[:2]) for image in pixels])
    texts, lines = encoder.embed_texts([one.text for one in some]), []
    for mode in ("squash", "shortest", "letterbox", "buckets"):
        encoder.pixels["resize_mode"] = mode
        images = encoder.embed_images(pixels)
        hits = (recall(ranks(texts @ images.T), 1) + recall(ranks(images @ texts.T), 1)) / 2
        lines.append(show(f"geometry {mode}, R@1 (mean of both ways)", hits))
        for low, high in ((1, 1.2), (1.2, 1.8), (1.8, 99)):
            lines.append(show(f"  aspect ratio {low} to {high}", hits[(ratios >= low) & (ratios < high)]))
    encoder.pixels["resize_mode"] = shipped
    return lines


def photographs(encoder: Encoder, folder: Path, work: Path, bank: BankVectors) -> list[str]:
    """Flickr8k's first 1,000 images: one caption, five captions, and captions hidden in long texts."""
    some = list(flickr(folder, [0]))[:1000]
    images = encoder.embed_images([image for image, _ in some])
    lines = both_ways("Flickr8k, one caption", images, encoder.embed_texts([captions[0] for _, captions in some]))
    others = prose(work / "cache", "en")
    others = others[3 * len(others) // 4 :]
    constants = Pooling(**encoder.settings["pooling"])
    for name, texts in (("long text", [pooling.mix(captions, others, number) for number, (_, captions) in enumerate(some)]),
                        ("five captions alone", [captions for _, captions in some])):  # fmt: skip
        long = pooling.embed_long(encoder, texts)
        for policy, scores in pooling.policies(long, images, bank, constants).items():
            lines.append(show(f"Flickr8k, {name}, {policy}, text->image 10-way", ten_way(ranks(scores), len(scores))))
    return lines


def speed(encoder: Encoder, folder: Path, work: Path, seconds: float = 8.0) -> list[str]:
    """Pairs a second: one view and three sentences each, resized and tokenised inside the clock."""
    some = list(flickr(folder, [0]))[:256]
    texts = [captions[:3] for _, captions in some]
    lines = []
    for size in (8, 32):
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            part = [(count + place) % 256 for place in range(size)]
            encoder.embed_images([some[place][0] for place in part])
            encoder.embed_texts([text for place in part for text in texts[place]])
            count += size
        lines.append(f"{f'pairs a second on 2 threads, {size} at a time':58s} {count / (time.perf_counter() - start):5.1f}")
    return lines


def consistency(encoder: Encoder, work: Path) -> list[str]:
    """The largest difference between an embedding alone and in a batch."""
    some = load_pairs(work)[::97][:64]
    pixels, texts = [read(work / "images" / one.file) for one in some], [one.text or "none" for one in some]
    image = np.abs(encoder.embed_images(pixels) - np.concatenate([encoder.embed_images([one]) for one in pixels])).max()
    text = np.abs(encoder.embed_texts(texts) - np.concatenate([encoder.embed_texts([one]) for one in texts])).max()
    return [f"largest difference alone against batched: images {image:.1e}, texts {text:.1e}"]


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--flickr", type=Path)
    parser.add_argument("--bank", type=Path, help="folder of bank images")
    arguments = parser.parse_args()
    encoder = Encoder(arguments.folder)
    lines = [f"{path.name}: {path.stat().st_size / 1e6:.2f} MB" for path in sorted(arguments.folder.iterdir())]
    lines += consistency(encoder, arguments.work) + drawn(encoder, arguments.work) + geometries(encoder, arguments.work)
    if arguments.flickr:
        bank = pooling.embed_bank(encoder, arguments.bank)
        lines += photographs(encoder, arguments.flickr, arguments.work, bank) + speed(encoder, arguments.flickr, arguments.work)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
