"""How two workers scale, how soon the first pair is there, and what share of the time the line itself takes.

    python benchmarks/run_scaling.py SETS/openclipart --limit 2000

Runs the command on the same pairs with one and with two workers in turn, so that noise of the machine hits both alike.
The shares are of the CPU time of a whole run in one process. `work` are the steps that decode, resize, score, encode and cut
texts into tokens, each with the columns that it fills; `line` is all else, by where it is spent: reading, other steps, writing,
and outside the steps finding the pairs, opening and committing shards, selection, report, sums, and the rest. What is loaded
before a run begins (Python's modules) is in no share, but in the pairs a second and in the time to the first pair.
Bars: two workers at least 1.8 times one; the line under 10 %, 5 % to reach for; the first pair within a second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from pairloom import pipeline
from pairloom.process import set_up
from pairloom.recipe import Recipe
from pairloom.writers.shard import ShardFiles

WORK = {"decode", "clean", "segment", "tokenize", "truncate", "contain", "letterbox", "stretch", "align", "encode"}


OUTSIDE: dict[str, list[tuple[Any, str]]] = {
    "finding the pairs": [(pipeline, "plan_of")],
    "opening shards": [(ShardFiles, "__init__")],
    "committing shards": [(ShardFiles, "commit")],
    "selection": [(pipeline.Progress, "total")],
    "report": [(pipeline, "write_report")],
    "manifest and sums": [(pipeline, "compile_manifest"), (pipeline, "write_sums")],
}
"""What a run does outside the steps, by the functions that do it."""


def command(source: Path, output: str, workers: int, options: argparse.Namespace, limit: int | None, size: int) -> float:
    """The seconds of a whole run by the wall clock, from the start of its process to its end."""
    said = [sys.executable, "-m", "pairloom", "run", str(source), output, "--json", "--max-reject", "1"]
    said += ["--workers", str(workers), "--recipe", options.recipe, "--shard-size", str(size)]
    start = time.perf_counter()
    done = subprocess.run(said + (["--limit", str(limit)] if limit else []), check=True, capture_output=True)
    seconds = time.perf_counter() - start
    return float(json.loads(done.stdout)["pairs_in"]) / seconds


def rate(source: Path, workers: int, options: argparse.Namespace) -> float:
    """Pairs a second by the wall clock."""
    with tempfile.TemporaryDirectory() as output:
        return command(source, f"{output}/out", workers, options, options.limit or None, options.shard_size)


def first(source: Path, workers: int, options: argparse.Namespace) -> float:
    """Seconds from the start of the command until the first pair is committed, in shards of one."""
    with tempfile.TemporaryDirectory() as output:
        start = time.time()
        command(source, f"{output}/out", workers, options, workers, 1)
        return min(path.stat().st_mtime for path in Path(output).glob("out/**/manifest/*.json")) - start


def shares(source: Path, options: argparse.Namespace) -> dict[str, float]:
    """Which share of the CPU time each step takes, and what is outside the steps."""
    seconds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as output, ExitStack() as patches:
        patches.enter_context(mock.patch("time.perf_counter", time.process_time))
        for name, functions in OUTSIDE.items():
            for holder, function in functions:
                patches.enter_context(mock.patch.object(holder, function, counted(getattr(holder, function), name, seconds)))
        size, limit = options.shard_size, options.limit or None
        start = time.process_time()
        summary = pipeline.run(source, f"{output}/out", options.recipe, shard_size=size, limit=limit, max_reject=1.0)
        total = time.process_time() - start
    found = {step.name: step.seconds / total for step in summary.steps if step.seconds}
    found |= {name: seconds[name] / total for name in OUTSIDE}
    return found | {"the rest": 1 - sum(found.values())}


def counted(function: Callable[..., Any], name: str, seconds: Counter[str]) -> Callable[..., Any]:
    """The function, whose CPU time is added to what stands under `name`."""

    def call(*args: Any, **options: Any) -> Any:
        start = time.process_time()
        try:
            return function(*args, **options)
        finally:
            seconds[name] += time.process_time() - start  # type: ignore[assignment]

    return call


def said(values: list[float], digits: int) -> str:
    """Median and the whole range."""
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def main() -> None:
    """Print one table of speeds and one of shares."""
    parser = argparse.ArgumentParser(description="Scaling of pairloom run, and the share of the line itself.")
    parser.add_argument("input", type=Path)
    parser.add_argument("--limit", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--shard-size", type=int, default=250)
    options = parser.parse_args()
    set_up(Recipe.load(options.recipe).steps)  # as the command does
    rates: dict[int, list[float]] = {1: [], 2: []}
    begun: dict[int, list[float]] = {1: [], 2: []}
    found: list[dict[str, float]] = []
    for number in range(options.rounds):
        for workers in (1, 2) if number % 2 else (2, 1):
            rates[workers].append(rate(options.input, workers, options))
            begun[workers].append(first(options.input, workers, options))
        found.append(shares(options.input, options))
    print(f"{options.input.name}, recipe {options.recipe}, {options.rounds} rounds: median [range]")
    for workers, values in rates.items():
        print(f"{workers} workers         {said(values, 1)} pairs/s, the first pair after {said(begun[workers], 2)} s")
    print(f"two against one   {said([two / one for one, two in zip(rates[1], rates[2], strict=True)], 2)}")
    line = [100 * sum(share for name, share in each.items() if name not in WORK) for each in found]
    print(f"the line itself   {said(line, 1)} % of CPU time, made of:")
    for name in found[0]:
        print(f"  {'work' if name in WORK else 'line'} {name:20} {said([100 * each[name] for each in found], 1)}")


if __name__ == "__main__":
    main()
