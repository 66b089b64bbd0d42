"""Ray against the local engine on the same pairs, and what the process that starts a run needs for many shards.

    pip install 'pairloom[ray]'
    python benchmarks/ray_speed.py SETS/openclipart [--pairs 20000] [--rounds 3]
    python benchmarks/ray_speed.py SETS/openclipart --shards 100 1000 10000

The cluster is one node of two CPUs on this machine, up before anything is timed; the local engine has two workers. Runs
alternate. Seconds are those of the command by the wall clock, its start included; what it takes for a single pair is told apart
as start-up. The digests of all files are compared. With
`--shards` the set is cut into so many shards of one pair each: printed are the peak resident memory (VmHWM) of the command on
Ray, and the seconds of the same command again on the finished output. Bars: Ray at most 15 % slower, same bytes; memory flat;
going on with a finished run of 10,000 shards under 5 s. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from run_memory import peak_of


def command(source: Path, out: Path, pairs: int, shard_size: int, recipe: str, *engine: str) -> tuple[float, float, int]:
    """Seconds by the wall clock, CPU seconds and peak MiB of the command's own process."""
    start = time.perf_counter()
    words = [sys.executable, "-m", "pairloom", "run", str(source), str(out), "--json", "--max-reject", "1", "--limit", str(pairs)]
    words += ["--shard-size", str(shard_size), "--recipe", recipe, *engine]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak, ended = 0, 0
    while not ended:
        with contextlib.suppress(OSError):
            peak = max(peak, peak_of(process.pid))
        time.sleep(0.05)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    if status:
        raise SystemExit(f"error: {' '.join(words)} failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, peak // 1024


def speed(source: Path, options: argparse.Namespace, ray: list[str]) -> None:
    """Print seconds and their ratio, for the whole command and without what it takes for a single pair."""
    found: dict[str, list[float]] = {"local": [], "ray": []}
    begun: dict[str, list[float]] = {"local": [], "ray": []}
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for engine in ("local", "ray") if number % 2 else ("ray", "local"):
                how = ray if engine == "ray" else ["--workers", "2"]
                for seconds, pairs, out in ((begun, 1, f"{engine}-one"), (found, options.pairs, engine)):
                    took = command(source, Path(folder) / out, pairs, options.shard_size, options.recipe, *how)[0]
                    seconds[engine].append(took)
            sums = [(Path(folder) / engine / "SHA256SUMS").read_bytes() for engine in found]
            if sums[0] != sums[1]:
                raise SystemExit("error: the engines gave other bytes")
    for engine, values in found.items():
        start = f"of which {statistics.median(begun[engine]):.1f} s for the first pair alone"
        print(f"{engine:6} {statistics.median(values):7.1f} s [{min(values):.1f}, {max(values):.1f}], {start}")
    work = {engine: np.subtract(found[engine], begun[engine]) for engine in found}
    for what, seconds in (("ray / local", found), ("the same after start-up", work)):
        ratios = np.divide(seconds["ray"], seconds["local"])
        print(f"{what} {np.median(ratios):.2f} [{ratios.min():.2f}, {ratios.max():.2f}]")
    print("same bytes")


def many(source: Path, options: argparse.Namespace, ray: list[str]) -> None:
    """Print memory and seconds for each number of shards."""
    print(f"{'shards':>7} {'driver, MiB':>12} {'seconds':>8} {'of its CPU':>10} {'again, s':>9}")
    for count in options.shards:
        with tempfile.TemporaryDirectory() as folder:
            first, busy, peak = command(source, Path(folder) / "out", count, 1, options.recipe, *ray)
            again, _, _ = command(source, Path(folder) / "out", count, 1, options.recipe, "--workers", "2")
            print(f"{count:>7} {peak:>12} {first:>8.1f} {busy:>10.1f} {again:>9.1f}", flush=True)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description="Ray against the local engine.")
    parser.add_argument("input", type=Path)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--shard-size", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recipe", default="letterbox")
    parser.add_argument("--shards", nargs="*", type=int, default=[])
    options = parser.parse_args()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        ray = ["--engine", "ray", "--address", cluster.address]
        print(f"{options.input.name}, recipe {options.recipe}")
        (many if options.shards else speed)(options.input, options, ray)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
