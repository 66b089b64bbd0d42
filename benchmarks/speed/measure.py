"""Contenders of one work in turn: seconds a round, peak memory, quality."""

from __future__ import annotations

import importlib
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from speed import pictures
from speed.environments import Environment
from speed.worker import Worker, WorkerError


@dataclass
class Result:
    """What one contender did: seconds an item, of CPU and by the wall clock, one for each round; or why it is not there."""

    seconds: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    peak: int = 0
    quality: dict[str, float] = field(default_factory=dict)
    fault: str = ""


@dataclass
class Work:
    """A work, how many items all contenders took of how many, and the results by name."""

    name: str
    taken: int
    items: int
    results: dict[str, Result]

    def ratio(self, peer: str, wall: bool = False) -> list[float]:
        """How many times as fast as a peer Pairloom is, round by round; nothing where either is missing."""
        theirs, ours = (self.results[name].wall if wall else self.results[name].seconds for name in (peer, "Pairloom"))
        return [one / other for one, other in zip(theirs, ours, strict=True)] if theirs and ours else []


def measure(name: str, module: str, data: Path, environment: Callable[[str], Environment], rounds: int) -> Work:
    """All contenders of a module on one folder. Those that can't be set up are in the results with their fault."""
    work: Any = importlib.import_module(f"speed.{module}")
    results: dict[str, Result] = {}
    workers: dict[str, Worker] = {}
    taken: dict[str, list[bool]] = {}
    try:
        for contender, (place, _) in work.CONTENDERS.items():
            results[contender] = Result()
            home = environment(place)
            try:
                if home.python is None:
                    raise WorkerError(home.fault)
                workers[contender] = Worker(home.python, module, contender, data)
                taken[contender] = workers[contender].ask("taken")
            except WorkerError as fault:
                workers.pop(contender, None)
                results[contender].fault = str(fault)
        # What one can't take is left out for all, so that none is faster by refusing; but who takes hardly any is out.
        for contender in [one for one in workers if statistics.mean(taken[one]) < 0.5]:
            results[contender].fault = f"took {sum(taken.pop(contender))} of the items"
            workers.pop(contender).close()
        places = [place for place, good in enumerate(zip(*taken.values(), strict=True)) if all(good)]
        for worker in workers.values():
            worker.ask("keep", places)
        names = list(workers)
        for number in range(rounds):
            for contender in names[number % len(names) :] + names[: number % len(names)]:
                spent = workers[contender].ask("round")
                results[contender].seconds.append(spent["cpu"] / len(places))
                results[contender].wall.append(spent["wall"] / len(places))
        for contender, worker in workers.items():
            results[contender].peak = worker.ask("peak")
            if hasattr(work, "compare"):
                results[contender].quality = _quality(worker, work.compare, data, places)
    finally:
        for worker in workers.values():
            worker.close()
    return Work(name, len(places), len(next(iter(taken.values()))), results)


def _quality(worker: Worker, compare: Callable[..., tuple[float, float]], data: Path, places: list[int]) -> dict[str, float]:
    """Means and worst 5 % of the pixels, and of the stored file where there is one."""
    with tempfile.TemporaryDirectory() as folder:
        worker.ask("results", folder)
        files = sorted(path for path in data.iterdir() if path.suffix.lower() in pictures.SUFFIXES)
        values: dict[str, list[tuple[float, float]]] = {}
        for number, place in enumerate(places):
            for path in Path(folder).glob(f"{number}.*"):
                shown = np.load(path) if path.suffix == ".npy" else pictures.pixels(path)
                kind = "pixels" if path.suffix == ".npy" else "file"
                values.setdefault(kind, []).append(compare(files[place].read_bytes(), shown, _reference))
    found: dict[str, float] = {}
    for kind, pairs in values.items():
        psnr, ssim = zip(*pairs, strict=True)
        found |= {
            f"{kind}_psnr": statistics.mean(psnr), f"{kind}_psnr_worst": float(np.percentile(psnr, 5)),
            f"{kind}_ssim": statistics.mean(ssim), f"{kind}_ssim_worst": float(np.percentile(ssim, 5)),
        }  # fmt: skip
    return found


@cache
def _reference(data: bytes, size: pictures.Size) -> np.ndarray:
    return pictures.lanczos(data, size).astype(np.float16).astype(np.float32)
