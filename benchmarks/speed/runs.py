"""Whole commands on the same files in turn, what a run spends outside its work, and the memory of its workers."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from run_memory import measure as peaks
from run_scaling import WORK, shares

from pairloom import Recipe
from speed.environments import Environment
from speed.measure import Result, Work
from speed.worker import worker_environment

PROCESSES = 2
_ADOPT = 36  # Linux: PR_SET_CHILD_SUBREAPER, orphans become our children
THREADS = 32  # of img2dataset in each process: files on a disk need no more
IMG2DATASET = """
import sys
from img2dataset import download
if __name__ == "__main__":
    table, out, processes, threads, shard = sys.argv[1:]
    download(table, image_size=512, output_folder=out, processes_count=int(processes), thread_count=int(threads),
             resize_mode="keep_ratio_largest", resize_only_if_bigger=True, encode_quality=95, output_format="webdataset",
             input_format="parquet", url_col="url", caption_col="caption", number_sample_per_shard=int(shard))
"""


def without_align() -> Recipe:
    """The recipe `default` without scoring; what it cuts by alignment is cut by sentences."""
    said = Recipe.load("default").to_literal()
    steps = [
        {"truncate": {**one["truncate"], "by": "sentences"}} if "truncate" in one else one
        for one in said["steps"]
        if "align" not in one
    ]
    return Recipe.from_yaml(json.dumps({**said, "steps": steps}))


def in_file(recipe: Recipe, folder: Path) -> Path:
    """A recipe as the command takes it."""
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe.to_literal()), "utf-8")
    return path


def beside(pairs: Path, count: int, peer: Environment, recipe: Path, rounds: int) -> Work:
    """The whole commands on the same files, the start of their processes included."""
    shard = str(shard_size(count))
    common = ["--recipe", str(recipe.resolve()), "--workers", str(PROCESSES), "--shard-size", shard]
    commands = {"Pairloom": [sys.executable, "-m", "pairloom", "run", str(pairs.resolve()), "OUT", *common]}
    results = {"Pairloom": Result(), "img2dataset": Result(fault=peer.fault)}
    if peer.python:
        table = str(pairs.resolve().with_suffix(".parquet"))
        commands["img2dataset"] = [str(peer.python), "script.py", table, "OUT", str(PROCESSES), str(THREADS), shard]
    for number in range(rounds):
        for name in list(commands)[:: 1 if number % 2 else -1]:
            wall, cpu = _timed(commands[name])
            results[name].wall.append(wall / count)
            results[name].seconds.append(cpu / count)
    return Work("run", count, count, results)


def shard_size(count: int) -> int:
    """Two shards for each process, of at most the size that both commands have by default."""
    return min(10_000, max(1, count // (2 * PROCESSES)))


def line_share(pairs: Path, count: int, recipe: Path, rounds: int) -> tuple[list[float], dict[str, float]]:
    """Percent of CPU time that is neither decode, resize, encode nor text, one a round; and of each part in the last round."""
    options = argparse.Namespace(recipe=str(recipe), shard_size=shard_size(count), limit=None)
    found = [shares(pairs, options) for _ in range(rounds)]
    line = [100 * sum(share for name, share in each.items() if name not in WORK) for each in found]
    return line, {name: 100 * share for name, share in found[-1].items()}


def worker_peak(pairs: Path, recipe: Path) -> int:
    """MiB of the larger of two workers."""
    return peaks(pairs, PROCESSES, str(recipe))[1]


def _timed(command: list[str]) -> tuple[float, float]:
    """Seconds by the wall clock and of CPU time of a command and all that it started."""
    env = worker_environment()
    ctypes.CDLL(None).prctl(_ADOPT, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "script.py").write_text(IMG2DATASET, "utf-8")
        start, used = time.perf_counter(), _cpu()
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        wall = time.perf_counter() - start
        _bury()
        cpu = _cpu() - used
        if done.returncode or not any(Path(folder).rglob("*.tar")):
            raise SystemExit(f"error: {command[1:3]} ended with {done.returncode}: {done.stderr[-500:]}")
    return wall, cpu


def _bury() -> None:
    """Wait for the processes that a command left behind: what they used is known only then."""
    until = time.monotonic() + 5
    with suppress(ChildProcessError):
        while time.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
