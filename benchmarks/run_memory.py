"""How much memory the processes of `pairloom run` take, and whether it grows with the number of pairs.

    python benchmarks/run_memory.py
    python benchmarks/run_memory.py --files 'SETS/emoji/*.tar' --input SETS/openclipart

Repeats small real images, each time with another text, to 10,000 and 100,000 pairs (`--pairs`), runs the command on them and
on every `--input` as it is, and prints the peak resident memory (VmHWM) of the main process and of the largest worker.
Bars: every process under 1 GiB; 100,000 pairs within 15 % of 10,000. Linux only.
"""

from __future__ import annotations

import argparse
import glob
import io
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SHARD = 10_000
SMALL = 24_000  # bytes of an image at most


def load(patterns: list[str]) -> list[bytes]:
    """The PNG images of files and tars that are small."""
    found: list[bytes] = []
    for path in sorted(path for pattern in patterns for path in glob.glob(pattern)):  # noqa: PTH207 - any pattern
        if path.endswith(".tar"):
            with tarfile.open(path) as archive:
                members = [member for member in archive if member.name.endswith(".png")]
                found += [archive.extractfile(member).read() for member in members]  # type: ignore[union-attr]
        else:
            found.append(Path(path).read_bytes())
    return [data for data in found if len(data) <= SMALL]


def write_repeated(images: list[bytes], folder: Path, count: int) -> None:
    """WebDataset tars of `count` pairs whose texts all differ."""
    folder.mkdir()
    for first in range(0, count, SHARD):
        with tarfile.open(folder / f"{first // SHARD:05d}.tar", "w") as tar:
            for number in range(first, min(count, first + SHARD)):
                text = f"Picture {number} of {count}. It is one of many that look alike. What it shows is told elsewhere."
                for suffix, data in (("png", images[number % len(images)]), ("txt", text.encode())):
                    member = tarfile.TarInfo(f"{number:08d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def processes(pid: int) -> Iterator[int]:
    """A process and all that it started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from processes(int(child))


def peak_of(pid: int) -> int:
    """The largest resident memory so far, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def measure(source: Path, workers: int, recipe: str) -> tuple[int, int, float]:
    """Peak MiB of the main process and of the largest other one, and the seconds of a run."""
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", "pairloom", "run", str(source), f"{output}/out", "--json", "--max-reject", "1"]
        start = time.perf_counter()
        run = subprocess.Popen([*command, "--workers", str(workers), "--recipe", recipe], stdout=subprocess.DEVNULL)
        peaks: dict[int, int] = {}
        while run.poll() is None:
            try:
                for pid in processes(run.pid):
                    peaks[pid] = max(peaks.get(pid, 0), peak_of(pid))  # one that has just ended has none
            except OSError:  # gone between two looks
                continue
            finally:
                time.sleep(0.05)
    if run.returncode:
        raise SystemExit(f"error: the run on {source} ended with {run.returncode}")
    main = peaks.pop(run.pid)
    return main // 1024, max(peaks.values(), default=main) // 1024, time.perf_counter() - start


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description="Peak memory of the processes of pairloom run.")
    parser.add_argument("--files", action="append", default=[], help="glob of images or tars to repeat; examples/pairs if none")
    parser.add_argument("--input", action="append", default=[], type=Path, help="measure this input as it is, too")
    parser.add_argument("--pairs", nargs="*", type=int, default=[10_000, 100_000])
    parser.add_argument("--recipe", default="default")
    options = parser.parse_args()
    files = options.files or [str(Path(__file__).parent.parent / "examples" / "pairs" / "*.png")]
    images = load(files)
    print(f"{len(images)} images of at most {SMALL} bytes, recipe {options.recipe}")
    print(f"{'input':24} {'workers':>7} {'main, MiB':>10} {'worker, MiB':>12} {'seconds':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for count in options.pairs:
            write_repeated(images, Path(folder) / f"{count:,} pairs", count)
        for source in [*(Path(folder) / f"{count:,} pairs" for count in options.pairs), *options.input]:
            for workers in (1, 2):
                main_peak, worker, seconds = measure(source, workers, options.recipe)
                print(f"{source.name:24} {workers:>7} {main_peak:>10} {worker:>12} {seconds:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
