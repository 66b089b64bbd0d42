"""How much of a long text's match with its image survives each way of reading the text, beside plain CLIP practice.

    python benchmarks/long_text.py --photos 'FOLDER/*.tar' --cache DIR [--model mini] [--images 1000]

The construction: the five captions of a photo are shuffled among ten sentences of unrelated prose (a manual's), and the
document has to find its image among ten. `--photos` are WebDataset tars whose JSON holds `captions`, such as Flickr8k. Two
checks against favouring ourselves have no prose: five captions joined, and one caption alone. With real CLIP weights at hand,
the same command with `--model hf:openai/clip-vit-base-patch32` reruns all of it.
"""

from __future__ import annotations

import argparse
import glob
import io
import json
import random
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sources import all_sources

from pairloom.alignment.attention import Kind, align_each
from pairloom.alignment.bank import Bank
from pairloom.models import Model, load
from pairloom.models.bank import embed_bank
from pairloom.steps.segment import sentences

WAYS, PROSE, ROUNDS = 10, 10, 2000
Read = Callable[[str], list[str]]
POLICIES: dict[str, tuple[Read, Kind]] = {
    "first 512 characters": (lambda text: [text[:512]], "whole"),
    "whole text, cut by the model": (lambda text: [text], "whole"),
    "segments, mean": (lambda text: split(text), "mean"),
    "segments, max": (lambda text: split(text), "max"),
    "segments, softmax": (lambda text: split(text), "softmax"),
    "segments, attention": (lambda text: split(text), "attention"),
}


def split(text: str) -> list[str]:
    """The sentences of a text."""
    return [text[start:end] for start, end in sentences(text)]


def photos(pattern: str, count: int) -> Iterator[tuple[np.ndarray, list[str]]]:
    """The first images and their captions, in the order of the files."""
    left = count
    for name in sorted(glob.glob(pattern)):  # noqa: PTH207 - any pattern
        with tarfile.open(name) as archive:
            members = {member.name: member for member in archive}
            for path in [path for path in members if path.endswith(".json") and left]:
                said = json.loads(archive.extractfile(members[path]).read())  # type: ignore[union-attr]
                image = next(members[path[:-4] + suffix] for suffix in ("jpg", "jpeg", "png") if path[:-4] + suffix in members)
                data = archive.extractfile(image).read()  # type: ignore[union-attr]
                yield np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), said["captions"]
                left -= 1
                if not left:
                    return


def prose(cache: Path) -> list[str]:
    """Sentences of the GIMP manual, which describe no photograph."""
    manual = next(source for source in all_sources() if source.name == "gimp-en")
    found = dict.fromkeys(one for pair in manual.pairs(cache) for one in split(pair.text) if 40 <= len(one) <= 200)
    return list(found)


def documents(captions: list[list[str]], filler: list[str], seed: int) -> dict[str, list[str]]:
    """The texts of each setting, one for each image."""
    chance = random.Random(seed)
    made: dict[str, list[str]] = {"among prose": [], "five captions joined": [], "one caption": []}
    for own in captions:
        own = [one.strip().rstrip(" .") + "." for one in own]
        mixed = own + chance.sample(filler, PROSE)
        chance.shuffle(mixed)
        made["among prose"].append(" ".join(mixed))
        made["five captions joined"].append(" ".join(own))
        made["one caption"].append(own[0])
    return made


def scores(model: Model, texts: list[str], images: np.ndarray, read: Read, kind: Kind) -> np.ndarray:
    """How well each text fits each image, float (texts, images)."""
    pieces = [read(text) for text in texts]
    flat = list(dict.fromkeys(piece for row in pieces for piece in row))
    known = dict(zip(flat, model.embed_texts(flat), strict=True))
    bank = Bank.of(embed_bank(model))
    rows = []
    for row in pieces:
        vectors = np.stack([known[piece] for piece in row]).astype(np.float64)
        rows.append(align_each((vectors @ images.T)[:, :, None], *bank.statistics(vectors), model.pooling, kind))
    return np.stack(rows)


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of a mean, resampling images."""
    chance = np.random.default_rng(seed)
    means = [values[chance.integers(0, len(values), len(values))].mean() for _ in range(ROUNDS)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def cut(base: np.ndarray, other: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Share of the first policy's errors that the other doesn't make, with its 95 % interval, images resampled in pairs."""
    chance = np.random.default_rng(seed)
    rows = [chance.integers(0, len(base), len(base)) for _ in range(ROUNDS)]
    each = [1 - (~other[row]).sum() / max(1, (~base[row]).sum()) for row in rows]
    low, high = np.percentile(each, [2.5, 97.5])
    return 1 - (~other).sum() / max(1, (~base).sum()), float(low), float(high)


def main() -> None:
    """Print one table a setting."""
    parser = argparse.ArgumentParser(description="Long texts: how each policy of reading finds the image.")
    parser.add_argument("--photos", required=True, help="glob of WebDataset tars with `captions` in their JSON")
    parser.add_argument("--cache", type=Path, default=Path("bench-cache"), help="where packages are fetched to")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = load(options.model)
    found = list(photos(options.photos, options.images))
    images = model.embed_images([pixels for pixels, _ in found]).astype(np.float64)
    texts = documents([captions for _, captions in found], prose(options.cache), options.seed)
    chance = np.random.default_rng(options.seed)
    others = [chance.choice(np.delete(np.arange(len(found)), row), WAYS - 1, replace=False) for row in range(len(found))]
    rivals = np.column_stack([np.arange(len(found)), np.array(others)])
    for setting, each in texts.items():
        length = np.mean([len(text) for text in each])
        print(f"\n{setting}: {len(each)} images, mean {length:.0f} characters, {WAYS}-way, {options.model}, {model.pooling}")
        print(f"{'policy':30} {'accuracy':>8} {'95 %':>15} {'errors cut':>11} {'95 %':>15} {'R@1':>6}")
        base: np.ndarray | None = None
        for name, (read, kind) in POLICIES.items():
            found = scores(model, each, images, read, kind)
            own = np.diagonal(found)
            right = own > np.take_along_axis(found, rivals[:, 1:], 1).max(1)
            first = own > np.where(np.eye(len(own), dtype=bool), -np.inf, found).max(1)
            base = right if base is None else base
            low, high = interval(right)
            less, least, most = cut(base, right)
            said = f"{right.mean():8.1%} [{low:6.1%},{high:6.1%}] {less:11.1%} [{least:6.1%},{most:6.1%}]"
            print(f"{name:30} {said} {first.mean():6.1%}", flush=True)


if __name__ == "__main__":
    main()
