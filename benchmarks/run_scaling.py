"""How two workers scale, and what share of the time the line itself takes.

    python benchmarks/run_scaling.py SETS/openclipart --limit 2000

Runs the command on the same pairs with one and with two workers in turn, so that noise of the machine hits both alike.
The shares are of CPU time in one process: `work` are the steps that decode, resize, score, encode and cut texts into tokens;
`line` is all else: planning, reading, batches, ledgers, shards, selection, report. Bars: two workers at least 1.8 times one; the
line under 10 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import pairloom

WORK = {"decode", "clean", "segment", "tokenize", "truncate", "contain", "letterbox", "stretch", "align", "encode"}


def rate(source: Path, workers: int, options: argparse.Namespace) -> float:
    """Pairs a second by the wall clock, the start of the processes included."""
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "pairloom", "run", str(source), f"{output}/out", "--json", "--max-reject", "1"]
        command += ["--workers", str(workers), "--recipe", options.recipe, "--shard-size", str(options.shard_size)]
        command += ["--limit", str(options.limit)] if options.limit else []
        summary = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return float(summary["pairs_in"] / summary["seconds"])


def shares(source: Path, options: argparse.Namespace) -> dict[str, float]:
    """Which share of the CPU time each step takes."""
    with tempfile.TemporaryDirectory() as output, mock.patch("time.perf_counter", time.process_time):
        size, limit = options.shard_size, options.limit or None
        summary = pairloom.run(source, f"{output}/out", options.recipe, shard_size=size, limit=limit, max_reject=1.0)
    found = {step.name: step.seconds / summary.seconds for step in summary.steps}
    return found | {"outside the steps": 1 - sum(found.values())}


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
    rates: dict[int, list[float]] = {1: [], 2: []}
    found: list[dict[str, float]] = []
    for number in range(options.rounds):
        for workers in (1, 2) if number % 2 else (2, 1):
            rates[workers].append(rate(options.input, workers, options))
        found.append(shares(options.input, options))
    print(f"{options.input.name}, recipe {options.recipe}, {options.rounds} rounds: median [range]")
    for workers, values in rates.items():
        print(f"{workers} workers         {said(values, 1)} pairs/s")
    print(f"two against one   {said([two / one for one, two in zip(rates[1], rates[2], strict=True)], 2)}")
    line = [100 * sum(share for name, share in each.items() if name not in WORK) for each in found]
    print(f"the line itself   {said(line, 1)} % of CPU time, made of:")
    for name in found[0]:
        print(f"  {'work' if name in WORK else 'line'} {name:18} {said([100 * each[name] for each in found], 1)}")


if __name__ == "__main__":
    main()
