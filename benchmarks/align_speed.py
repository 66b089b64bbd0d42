"""How many pairs a second are scored, what that costs a run, and how transformers' own pipeline fares on the same pairs.

    pip install 'pairloom[torch]'
    python benchmarks/align_speed.py --input examples/pairs [--pairs 400] [--threads 2]

`score` is the step alone on decoded pairs: one view, three sentences. `run` prepares the input by `default` with and without
`align`. With torch there, a CLIP ViT-B/32 of random weights (its speed is that of real ones) scores the same pairs through
Pairloom and through transformers' processor and model as its documentation shows them.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

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
    full = Recipe.load("default")
    plain = [
        {"truncate": {"by": "sentences"}} if "truncate" in one else one
        for one in full.to_literal()["steps"]
        if "align" not in one
    ]
    recipes = {"run, default": full, "run, default without align": Recipe.from_yaml(json.dumps({"steps": plain}))}
    for name, one in recipes.items():

        def work(one: Recipe = one) -> int:
            with tempfile.TemporaryDirectory() as folder:
                return run(inputs, Path(folder) / "out", one, workers=number, shard_size=100).pairs_in

        said(name, rate(work))


def peer(rows: list[Row], number: int) -> None:
    """CLIP ViT-B/32 geometry with random weights, through Pairloom and through transformers alone."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

    torch.set_num_threads(number)
    with tempfile.TemporaryDirectory() as folder:
        from pairloom.tokenizer import load_tokenizer

        vocabulary = json.loads(load_tokenizer("clip").to_str())["model"]
        tokenizer = CLIPTokenizer(vocab=vocabulary["vocab"], merges=[tuple(pair) for pair in vocabulary["merges"]])
        ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        model = CLIPModel(CLIPConfig(text_config={"vocab_size": len(tokenizer), **ends})).eval()
        processor = CLIPProcessor(CLIPImageProcessorPil(), tokenizer)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        ours = Align(f"hf:{folder}", views="whole", device="cpu")
        said("CLIP ViT-B/32 through pairloom, 3 segments", score(rows, ours, 1))

        def work() -> int:
            for start in range(0, len(rows), 16):
                some = rows[start : start + 16]
                images = [Image.open(io.BytesIO(row.image or b"")).convert("RGB") for row in some]
                texts = [row.texts[0] for row in some] + [sentence for row in some for sentence in SENTENCES]
                inputs = processor(text=texts, images=images, return_tensors="pt", padding=True, truncation=True)
                with torch.inference_mode():
                    model(**inputs)
            return len(rows)

        said("the same through transformers, from files", rate(work))


def main() -> None:
    """Print all rates."""
    parser = argparse.ArgumentParser(description="Speed of scoring.")
    parser.add_argument("--input", default="examples/pairs")
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-peer", action="store_true", help="leave out what needs torch")
    options = parser.parse_args()
    rows = decodable(options.input, options.pairs)
    said(f"score, mini, {options.threads} threads", score(rows, Align(views="whole"), options.threads))
    said("score, mini, 1 thread", score(rows, Align(views="whole"), 1))
    whole(options.input, options.threads)
    if not options.no_peer:
        peer(rows[:64], options.threads)


if __name__ == "__main__":
    main()
