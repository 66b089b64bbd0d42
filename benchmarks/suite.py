"""How fast Pairloom is beside its peers on the same real files, how good the results are, and how far from the limit.

    make bench                                            # the same as the next line, in the environment of `make test`
    python benchmarks/suite.py --work build/bench
    python benchmarks/suite.py --work build/bench --only letterbox large --photos 'FOLDER/*.jpg'

The first run builds an environment for the peers of each `requirements-*.txt` and fetches the photographs and texts of some
Debian packages: 5 GB in all. What doesn't install is said in the tables. Contenders of one work take turns, each in its own
process on one thread; an item that one of them refuses is left out for all. A table for each work, the table of the bars, and
`results.json` in the folder.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

from packages import PackageError
from speed import runs, table
from speed.data import Data
from speed.environments import Environment, build
from speed.measure import Work, measure

WORKS = {
    "letterbox": ("letterbox", "JPEG → 512 letterbox → JPEG 95"),
    "large": ("letterbox", "the same from 4 to 12 MP"),
    "png": ("drawings", "PNG → 512 letterbox on white → JPEG 95"),
    "array": ("arrays", "JPEG → 224 array, antialiased"),
    "kernel": ("kernels", "the resize alone, bicubic"),
    "english": ("texts", "clean + segment + tokenise, long English"),
    "chinese": ("texts", "clean + segment + tokenise, long Chinese"),
}
PAIRS = 20_000


def main() -> int:
    """Print the tables and write the JSON."""
    parser = argparse.ArgumentParser(description="Speed and quality beside peers.")
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="folder of environments, data and results")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=[*WORKS, "run", "memory"], default=[*WORKS, "run", "memory"])
    parser.add_argument("--photos", action="append", default=[], help="glob of own images or tars, instead of photographs")
    parser.add_argument("--large", action="append", default=[], help="the same for large ones")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="pairs of the whole runs")
    options = parser.parse_args()
    options.work = options.work.resolve()  # contenders work in folders of their own
    data = Data(options.work / "data", options.photos, options.large)
    environment = functools.cache(lambda name: build(name, options.work / "environments"))
    works: dict[str, Work] = {}
    single: dict[str, list[float]] = {}
    try:
        for name in options.only:
            if name in WORKS:
                folder = {
                    "large": data.large,
                    "png": data.drawings,
                    "english": lambda: data.texts("en"),
                    "chinese": lambda: data.texts("zh"),
                }
                works[name] = measure(name, WORKS[name][0], folder.get(name, data.photos)(), environment, options.rounds)
                print(table.of_work(works[name], WORKS[name][1]), flush=True)
        if "run" in options.only:
            works["run"], single["line"] = whole(data, options.pairs, environment("images"), options.work, options.rounds)
        if "memory" in options.only:
            single["memory"] = [runs.worker_peak(data.clipart(), runs.in_file(runs.without_align(), options.work))]
    except (PackageError, OSError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    print(table.of_bars(works, single), flush=True)
    said = {"machine": machine(), "rounds": options.rounds, "single": single, "works": {k: asdict(v) for k, v in works.items()}}
    (options.work / "results.json").write_text(json.dumps(said, indent=1) + "\n", "utf-8")
    return 0


def whole(data: Data, count: int, peer: Environment, work: Path, rounds: int) -> tuple[Work, list[float]]:
    """The whole runs beside img2dataset, and the share of the line; fewer rounds, each is long."""
    recipe, rounds = runs.in_file(runs.without_align(), work), max(2, rounds // 2)
    found = runs.beside(data.pairs(count), count, peer, recipe, rounds)
    print(table.of_work(found, f"`run`, `default` without `align`, 2 workers, {count:,} photographs"), flush=True)
    line, parts = runs.line_share(data.pairs(count), count, recipe, rounds)
    print(table.of_parts(parts), flush=True)
    return found, line


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {"processor": name, "cores": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()}


if __name__ == "__main__":
    sys.exit(main())
