"""Speed of the loader beside its peers on the same shards, and what of its batches is padding.

    python benchmarks/datasets.py gimp-en openclipart --out sets
    pairloom run sets/gimp-en gimp --shard-size 500 && pairloom run sets/openclipart clipart --shard-size 500
    python benchmarks/loader_speed.py gimp clipart

Peers, each with its own way of reading tars, on as many worker processes, into normalised float32 (64, 3, 224, 224) and
token ids:

* open_clip: the pipeline of its `get_wds_dataset` with the transform of its `image_transform(is_train=True)`, a random crop
  of 90 to 100 % of the area, resized bicubic. torchvision does this with Pillow and these tensor operations; they stand here
  so that torchvision, which must fit torch to the letter, is not needed. The tokenizer is ours, which is faster than its own.
* webdataset and datasets: the least that gives the same tensors, a squash to 224 x 224.
"""

from __future__ import annotations

import argparse
import importlib
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pairloom import CenterCrop, Letterbox, NativePatches
from pairloom.torch import Augment, Batching, Collate, Machine, PairLoader, aspect_buckets, tokenizer

SIZE, BATCH = 224, 64
MEAN, STD = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
TOKENS = tokenizer("clip")


def to_tensor(image: Image.Image) -> torch.Tensor:
    """What torchvision's ToTensor and Normalize do."""
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
    mean, std = (torch.tensor(three).view(3, 1, 1) for three in (MEAN, STD))
    return values.sub_(mean).div_(std)


def random_resized_crop(image: Image.Image) -> torch.Tensor:
    """What torchvision's RandomResizedCrop(224, scale=(0.9, 1.0)) does: a ratio from 3:4 to 4:3, squashed to a square."""
    width, height = image.size
    for _ in range(10):
        area = width * height * random.uniform(0.9, 1.0)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            break
    else:
        ratio = min(max(width / height, 3 / 4), 4 / 3)
        w, h = (width, round(width / ratio)) if width / height < 3 / 4 else (round(height * ratio), height)
        w, h = min(w, width), min(h, height)
        left, top = (width - w) // 2, (height - h) // 2
    return to_tensor(image.crop((left, top, left + w, top + h)).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def squash(image: Image.Image) -> torch.Tensor:
    """The cheapest way to the same shape."""
    return to_tensor(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def ids(text: str) -> torch.Tensor:
    """Token ids, int64 (77,)."""
    return TOKENS(text)[0]


def by_webdataset(tars: list[str], workers: int, transform: Callable[[Image.Image], torch.Tensor], shuffle: int) -> Iterable[Any]:
    """A webdataset pipeline in the order of open_clip's."""
    import webdataset as wds

    stages = [wds.SimpleShardList(tars), wds.split_by_worker, wds.tarfile_to_samples()]
    stages += [wds.shuffle(shuffle, initial=shuffle)] if shuffle else []
    stages += [wds.decode("pilrgb"), wds.rename(image="jpg;png;jpeg;webp", text="txt")]
    stages += [wds.map_dict(image=transform, text=ids), wds.to_tuple("image", "text"), wds.batched(BATCH, partial=True)]
    return wds.WebLoader(wds.DataPipeline(*stages), batch_size=None, num_workers=workers)


def installed(name: str) -> Any:
    """The package of that name, and not the script beside this one."""
    here = sys.path.pop(0)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.insert(0, here)


def by_datasets(tars: list[str], workers: int) -> Iterable[Any]:
    """A streaming dataset of Hugging Face."""
    datasets = installed("datasets")

    def prepare(row: dict[str, Any]) -> dict[str, Any]:
        return {"image": squash(row["jpg"]), "text": ids(row["txt"])}

    rows = datasets.load_dataset("webdataset", data_files=tars, split="train", streaming=True)
    rows = rows.select_columns(["jpg", "txt"]).map(prepare, remove_columns=["jpg", "txt"]).with_format("torch")
    return torch.utils.data.DataLoader(rows, batch_size=BATCH, num_workers=workers)


def measure(name: str, made: Callable[[], Iterable[Any]], rounds: int) -> float:
    """One line: samples a second over whole epochs, the start of the workers included, and the time to the first batch."""
    rates, firsts = [], []
    for _ in range(rounds):
        count, start, first = 0, time.perf_counter(), 0.0
        for batch in made():
            first = first or time.perf_counter() - start
            images = batch[0] if isinstance(batch, list | tuple) else batch.get("pixel_values", batch.get("image"))
            count += len(images)
        rates.append(count / (time.perf_counter() - start))
        firsts.append(first)
    said = f"{statistics.median(rates):7.0f} [{min(rates):.0f}, {max(rates):.0f}] samples/s"
    print(f"{name:42} {said}, first batch after {min(firsts):.2f} s", flush=True)
    return statistics.median(rates)


def speed(output: Path, workers: int, rounds: int) -> None:
    """All peers, one after the other."""
    tars = sorted(str(path) for path in output.glob("*.tar"))
    machine = Machine(workers=workers)

    def ours(**options: Any) -> Callable[[], Iterable[Any]]:
        return lambda: PairLoader(output, BATCH, machine=machine, **options)

    crop = {"image": CenterCrop(SIZE), "augment": Augment()}
    fast = Collate(dtype="uint8")
    rates = [
        measure("pairloom, random crop that keeps the ratio", ours(**crop), rounds),
        measure("pairloom, the same as uint8", ours(**crop, collate=fast), rounds),
        measure("pairloom, letterbox with mask", ours(image=Letterbox(SIZE)), rounds),
        measure("open_clip", lambda: by_webdataset(tars, workers, random_resized_crop, 1000), rounds),
        measure("webdataset, squash", lambda: by_webdataset(tars, workers, squash, 0), rounds),
        measure("datasets, squash", lambda: by_datasets(tars, workers), rounds),
    ]
    to_open_clip, as_uint8, to_fastest = rates[0] / rates[3], rates[1] / rates[3], rates[0] / max(rates[3:])
    print(f"to open_clip {to_open_clip:.2f} (uint8 {as_uint8:.2f}), to the fastest peer {to_fastest:.2f}", flush=True)


def waste(name: str, output: Path, workers: int) -> None:
    """Padded over useful places, with dynamic padding and to the maximum."""
    views = {"letterbox": Letterbox(SIZE), "buckets": aspect_buckets(SIZE), "native patches": NativePatches(16, 256)}
    for how, image in views.items():
        loader = PairLoader(output, Batching(BATCH), image=image, machine=Machine(workers=workers))
        for _ in loader:
            pass
        said = loader.stats()
        text = said["text_most"] / said["text_useful"] - 1
        times = text / max(said["text_padding"], 1e-9)
        print(f"{name}, {how:14} text {said['text_padding']:.3f} (maximum {text:.3f}, {times:.1f}x), "
              f"image {said['image_padding']:.3f}, distortion at most {said['distortion']:.2f}", flush=True)  # fmt: skip


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("outputs", nargs="+", type=Path, help="outputs of pairloom run; the first is also used for speed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    speed(options.outputs[0], options.workers, options.rounds)
    for output in options.outputs:
        waste(output.name, output, options.workers)


if __name__ == "__main__":
    main()
