"""How many pairs a second are scored, what that costs a run, and how transformers' own pipeline fares on the same pairs.

    pip install 'pairloom[torch]'
    python benchmarks/align_speed.py --input examples/pairs [--pairs 400] [--threads 2]

`score` is the step alone on decoded pairs: one view, three sentences. `run` prepares the input by `default` with and without
`align`. With torch there, a CLIP ViT-B/32 of random weights (its speed is that of real ones) scores the same pairs, from their
files, through Pairloom and through transformers' processor and model as its documentation shows them: with the same texts, the
whole and each of its sentences, and with the whole alone, which tells no segment. Both use as many threads.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from PIL import Image
from speed.runs import without_align

from pairloom import Align, Recipe, run
from pairloom.batch import Batch, Row
from pairloom.estimate import plan_of
from pairloom.readers import read
from pairloom.readers.model import ReadOptions
from pairloom.score import scoring
from pairloom.step import threads

SENTENCES = ("A brown dog runs across a field of grass.", "The sky is blue with a few clouds.", "一只棕色的狗在草地上奔跑。")


def decodable(inputs: str, count: int) -> list[Row]:
    """Pairs of the input that can be decoded, again and again until there are enough; each has three sentences of its own."""
    options = ReadOptions()
    rows = [row for shard in plan_of(inputs, options, 10_000, None, None).shards for row in read(shard, options)]
    good = []
    for row in rows:
        try:
            Image.open(io.BytesIO(row.image or b"")).load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue
        good.append(row)
    text = " ".join(SENTENCES)
    return [Row(str(number), "", good[number % len(good)].image, (f"{text} {number}.",)) for number in range(count)]


def recipe(align: Align) -> Recipe:
    """The default recipe with another `align`."""
    steps = [align if isinstance(step, Align) else step for step in Recipe.load("default").steps]
    return Recipe(tuple(steps))


def batches(rows: list[Row], align: Align) -> list[Batch]:
    """The rows after every step that comes before `align`."""
    made = []
    for start in range(0, len(rows), 64):
        batch = Batch.read([f"{start + place:09d}" for place in range(len(rows[start : start + 64]))], rows[start : start + 64])
        for step in scoring(recipe(align))[:-1]:
            batch, _ = step(batch).split()
        made.append(batch)
    return made


def rate(work: Callable[[], int], rounds: int = 3) -> tuple[float, float, float]:
    """Median, lowest and highest number a second."""
    rates = []
    for _ in range(rounds):
        start = time.perf_counter()
        rates.append(work() / (time.perf_counter() - start))
    return statistics.median(rates), min(rates), max(rates)


def said(name: str, values: tuple[float, float, float]) -> None:
    """One line of the table."""
    print(f"{name:44} {values[0]:8.1f} [{values[1]:.1f}, {values[2]:.1f}] pairs/s", flush=True)


def score(rows: list[Row], align: Align, number: int) -> tuple[float, float, float]:
    """The step alone on `number` threads."""
    ready = batches(rows, align)
    align(ready[0])  # opens the model and the bank

    def work() -> int:
        with threads(number):
            return sum(len(align(batch)) for batch in ready)

    return rate(work)


def whole(inputs: str, number: int) -> None:
    """Runs with and without scoring, one after the other, with as many workers."""
    recipes = {"run, default": Recipe.load("default"), "run, default without align": without_align()}
    for name, one in recipes.items():

        def work(one: Recipe = one) -> int:
            with tempfile.TemporaryDirectory() as folder:
                return run(inputs, Path(folder) / "out", one, workers=number, shard_size=100).pairs_in

        said(name, rate(work))


def peer(rows: list[Row], number: int) -> None:
    """CLIP ViT-B/32 with random weights through Pairloom and through transformers alone, from files, on as many threads."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

    from pairloom.tokenizer import load_tokenizer

    vocabulary = json.loads(load_tokenizer("clip").to_str())["model"]
    tokenizer = CLIPTokenizer(vocab=vocabulary["vocab"], merges=[tuple(pair) for pair in vocabulary["merges"]])
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config={"vocab_size": len(tokenizer), **ends})).eval()
    processor = CLIPProcessor(CLIPImageProcessorPil(), tokenizer)
    sentences = [[f"{sentence[:-1]} {place}{sentence[-1]}" for sentence in SENTENCES] for place in range(len(rows))]
    rows = [replace(row, texts=(" ".join(own),)) for row, own in zip(rows, sentences, strict=True)]  # no two texts alike

    def theirs(segments: bool) -> int:
        torch.set_num_threads(number)
        for start in range(0, len(rows), 16):
            some = rows[start : start + 16]
            images = [Image.open(io.BytesIO(row.image or b"")).convert("RGB") for row in some]
            texts = [row.texts[0] for row in some]
            texts += [sentence for own in sentences[start : start + 16] for sentence in own if segments]
            inputs = processor(text=texts, images=images, return_tensors="pt", padding=True, truncation=True)
            with torch.inference_mode():
                model(**inputs)
        return len(rows)

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        align = Align(f"hf:{folder}", views="whole", device="cpu")
        align(batches(rows[:1], align)[0])  # opens the model and the bank

        def ours() -> int:
            with threads(number):
                return sum(len(align(batch)) for batch in batches(rows, align))

        beside(
            {
                "CLIP, pairloom, whole text + 3 segments": ours,
                "CLIP, transformers, the same texts": lambda: theirs(True),
                "CLIP, transformers, the whole text alone": lambda: theirs(False),
            }
        )


def padding(inputs: str, rows: list[Row]) -> None:
    """`mini` with texts of like length together, as it is, and with all of a batch padded to its longest."""
    from pairloom.models import model

    options, usual = ReadOptions(), model._MIXED
    own = [row for shard in plan_of(inputs, options, 10_000, None, None).shards for row in read(shard, options)]
    align = Align(views="whole")
    sets = {"three sentences": rows, "their own texts": [row for row in own if row.image and row.texts and not row.reject][:96]}
    ready = {name: batches(some, align) for name, some in sets.items()}

    def work(name: str, mixed: float) -> int:
        model._MIXED = mixed
        return sum(len(align(batch)) for batch in ready[name])

    for name in sets:
        beside({f"mini, {name}, {how}": partial(work, name, mixed) for how, mixed in (("sorted", usual), ("mixed", math.inf))})


def beside(works: dict[str, Callable[[], int]], rounds: int = 3) -> None:
    """Works in turn, so that a busy machine slows all alike; CPU time, which it changes less, of all threads for each pair."""
    wall: dict[str, list[float]] = {name: [] for name in works}
    cpu: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            start, used = time.perf_counter(), time.process_time()
            pairs = work()
            wall[name].append(pairs / (time.perf_counter() - start))
            cpu[name].append((time.process_time() - used) / pairs)
    for name in works:
        said(name, (statistics.median(wall[name]), min(wall[name]), max(wall[name])))
        print(
            f"{'':44} {statistics.median(cpu[name]):8.3f} [{min(cpu[name]):.3f}, {max(cpu[name]):.3f}] s of CPU a pair",
            flush=True,
        )


def main() -> None:
    """Print all rates."""
    parser = argparse.ArgumentParser(description="Speed of scoring.")
    parser.add_argument("--input", default="examples/pairs")
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer-only", action="store_true", help="only what needs torch, on 32 pairs")
    parser.add_argument("--padding", action="store_true", help="only what padding all texts of a batch alike would cost")
    parser.add_argument("--no-peer", action="store_true", help="leave out what needs torch")
    options = parser.parse_args()
    rows = decodable(options.input, options.pairs)
    if options.padding:
        padding(options.input, rows[:96])
        return
    if options.peer_only:
        peer(rows[:32], options.threads)
        return
    said(f"score, mini, {options.threads} threads", score(rows, Align(views="whole"), options.threads))
    said("score, mini, 1 thread", score(rows, Align(views="whole"), 1))
    whole(options.input, options.threads)
    if not options.no_peer:
        peer(rows[:32], options.threads)


if __name__ == "__main__":
    main()
