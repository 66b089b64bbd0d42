"""What happens to a run when machines fail: each fault many times, then the same command again, then every byte compared.

    pip install 'pairloom[ray]'
    python benchmarks/faults.py [--only kill_run flipped_byte] [--times 0.1] [--json faults.json]

Makes a folder of small pairs, prepares it once undisturbed, and then for each fault again and again in a fresh folder.
`ok` counts the repetitions after which all files but those that hold times are those of the undisturbed run and `verify` finds
nothing; so no pair was lost or doubled. `--times` scales the repetitions. `disk_full` and `read_only` mount file systems and need
root. `cost` is the share of the time that digests and syncs take, measured by leaving them out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

import pairloom
from pairloom.batch import Batch
from pairloom.step import lift
from pairloom.writers import parts

TIMED = ("runs", ".lock", "report.html")
RECIPE, SHARD = "letterbox", 10
FORK = multiprocessing.get_context("fork")


@dataclass
class Place:
    """Where a fault is tried: the input, what a run makes of it undisturbed, how long that takes, and a folder for the trial."""

    pairs: Path
    whole: dict[str, bytes]
    seconds: float
    out: Path
    chance: random.Random
    cluster: Any = None

    def run(self, recipe: Any = RECIPE, out: Path | None = None, pairs: Path | None = None, **options: Any) -> None:
        """One run in this process."""
        pairloom.run(pairs or self.pairs, out or self.out, recipe, shard_size=SHARD, max_reject=1.0, **options)

    def command(self, *options: str) -> list[str]:
        """The same as a command."""
        command = [sys.executable, "-m", "pairloom", "run", str(self.pairs), str(self.out), "--recipe", RECIPE]
        return [*command, "--shard-size", str(SHARD), "--max-reject", "1", *options]

    def started(self, *options: str) -> subprocess.Popen[bytes]:
        """The command under way: its first shard is committed."""
        process = subprocess.Popen(self.command(*options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(self.out.rglob("manifest/*.json")):
            time.sleep(0.01)
        return process

    def wait(self, share: float = 1.0) -> None:
        """Let a random part of the time of a run go by."""
        time.sleep(self.chance.random() * self.seconds * share)

    def is_whole(self) -> bool:
        """Whether the output is what the undisturbed run made."""
        return digest(self.out) == self.whole and pairloom.verify(self.out) == []


def digest(output: Path) -> dict[str, bytes]:
    """All files that must not depend on how the output was made."""
    files = [path for path in sorted(output.rglob("*")) if path.is_file()]
    return {str(path.relative_to(output)): path.read_bytes() for path in files if path.relative_to(output).parts[0] not in TIMED}


def write_pairs(folder: Path, count: int) -> Path:
    """Small smooth pictures with texts; every tenth file is broken, and some are the same."""
    folder.mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng(number // 2 if number % 16 == 1 else number)
        small = Image.fromarray(rng.integers(0, 255, (5, 7, 3), np.uint8))
        buffer = io.BytesIO()
        small.resize((90 + number % 50, 60 + number % 70), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        (folder / f"{number:05d}.jpg").write_bytes(buffer.getvalue()[: 300 if number % 10 == 3 else None])
        (folder / f"{number:05d}.txt").write_text(f"Picture number {number}. It shows colours. 颜色很柔和。\n", "utf-8")
    return folder


def in_child(work: Callable[[], Any], kill_after: float | None = None) -> None:
    """Run something in a forked process, which starts at once, and kill it if it takes longer than that."""

    def quietly() -> None:
        with contextlib.suppress(Exception):
            work()

    child = FORK.Process(target=quietly)
    child.start()
    child.join(kill_after)
    child.kill()
    child.join()


def kill_run(place: Place) -> bool:
    """SIGKILL of the run at a random time."""
    in_child(place.run, place.chance.random() * place.seconds)
    place.run()
    return place.is_whole()


def kill_again(place: Place) -> bool:
    """SIGKILL of the run, and of what goes on with it, five times."""
    for _ in range(5):
        in_child(place.run, place.chance.random() * place.seconds * 0.6)
    place.run()
    return place.is_whole()


def kill_command(place: Place) -> bool:
    """SIGKILL of the command with two workers, which must not write on beside the next run."""
    process = place.started("--workers", "2")
    place.wait(0.3)
    process.kill()
    process.wait()
    place.run()
    return place.is_whole()


def kill_worker(place: Place) -> bool:
    """SIGKILL of one of two worker processes: the run itself goes on."""
    process = place.started("--workers", "2")
    workers = [worker for child in children(process.pid) for worker in children(child)]  # all are forked from one child
    if workers:
        os.kill(place.chance.choice(workers), signal.SIGKILL)
    return process.wait() == 0 and place.is_whole()


@pairloom.step("poison", {})
class Poison(pairloom.Step):
    """Does harm when it sees a key: it never ends, takes ever more memory, or crashes as native code does."""

    key: str
    harm: str

    def __call__(self, batch: Batch) -> Batch:
        lift(self.one, batch["key"])
        return batch

    def one(self, key: str) -> None:
        """Look at one pair."""
        eaten = []
        while key == self.key:
            if self.harm == "crashes":
                os.kill(os.getpid(), signal.SIGSEGV)
            if self.harm == "eats" and len(eaten) < 256:  # 4 GiB, should nothing stop it
                eaten.append(b"\1" * (16 << 20))
            time.sleep(0.01)


def endless_pair(place: Place) -> bool:
    """A pair at which a step never ends, with `pair_timeout`: the run itself goes on, and that pair alone is rejected."""
    return poisoned(place, "sleeps", pair_timeout=1.0)


def over_memory(place: Place) -> bool:
    """A pair that drives its worker over `worker_memory`: the same."""
    return poisoned(place, "eats", worker_memory=1.0)


def crashing_pair(place: Place) -> bool:
    """A pair at which native code crashes (SIGSEGV): the same."""
    return poisoned(place, "crashes")


def poisoned(place: Place, harm: str, **limits: float) -> bool:
    """Whether all pairs are there as without harm, but for one at random."""
    whole, naive = place.out.with_name("naive"), pairloom.Recipe.load("naive")
    if not whole.exists():
        place.run(naive, whole)
    pairs = members(whole)
    key = place.chance.choice(sorted({name.partition(".")[0] for name in pairs}))
    place.run(pairloom.Recipe((Poison(key, harm), *naive.steps), ()), workers=2, **limits)
    kept = {name: data for name, data in pairs.items() if not name.startswith(key)}
    return members(place.out) == kept and pairloom.verify(place.out) == []


def kill_retry(place: Place) -> bool:
    """SIGKILL at a random time while rejects are tried again: pairs whose images were missing before."""
    whole, table, images = (place.out.with_name(name) for name in ("retried", "table.csv", "images"))
    files = sorted(place.pairs.glob("*.jpg"))
    if not whole.exists():
        lines = [f"{images / path.name},Picture {path.stem}.\n" for path in files]
        table.write_text("image,text\n" + "".join(lines))
        lacking(place, images, table, whole)
        place.run(out=whole, pairs=table, retry_rejects=True)
    lacking(place, images, table, place.out)
    in_child(lambda: place.run(pairs=table, retry_rejects=True), place.chance.random() * place.seconds)
    place.run(pairs=table, retry_rejects=True)
    return digest(place.out) == digest(whole) and pairloom.verify(place.out) == []


def lacking(place: Place, images: Path, table: Path, out: Path) -> None:
    """A run of a table of images of which only every third is there; afterwards all are."""
    images.unlink(missing_ok=True)
    few = place.out.with_name("few")
    few.mkdir(exist_ok=True)
    for path in sorted(place.pairs.glob("*.jpg"))[::3]:
        shutil.copy(path, few)
    images.symlink_to(few)
    place.run(out=out, pairs=table)
    images.unlink()
    images.symlink_to(place.pairs)


def members(output: Path) -> dict[str, bytes]:
    """The bytes of all pairs of an output, by name."""
    found = {}
    for path in sorted(output.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    return found


def kill_ray_worker(place: Place) -> bool:
    """SIGKILL of a Ray worker: the run itself goes on."""
    with meanwhile(place, lambda: kill_one(place)):
        place.run(engine=pairloom.Ray(place.cluster.address))
    return place.is_whole()


def kill_ray_node(place: Place) -> bool:
    """A Ray node that vanishes: the run itself goes on."""
    node = place.cluster.add_node(num_cpus=1)
    with meanwhile(place, lambda: place.cluster.remove_node(node, allow_graceful=False)):
        place.run(engine=pairloom.Ray(place.cluster.address))
    return place.is_whole()


def kill_ray_run(place: Place) -> bool:
    """SIGKILL of the process that started a run on Ray; the next run starts at once."""
    process = place.started("--engine", "ray", "--address", place.cluster.address)
    place.wait(0.3)
    process.kill()
    process.wait()
    place.run()
    return place.is_whole()


def file_size_limit(place: Place) -> bool:
    """No file may be larger than a random size (RLIMIT_FSIZE)."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        most = place.chance.randrange(1000, 80_000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        place.run()

    in_child(limited)
    left = list(place.out.rglob("*.part-*"))
    place.run()
    return place.is_whole() and not left


def disk_full(place: Place) -> bool:
    """A file system of a random size that fills up, and is then enlarged."""
    with mounted(place, f"size={place.chance.randrange(50, 600)}k"):
        in_child(place.run)
        left = list(place.out.rglob("*.part-*"))
        subprocess.run(["mount", "-o", "remount,size=100m", place.out], check=True)
        place.run()
        return place.is_whole() and not left


def read_only(place: Place) -> bool:
    """A part of the output becomes a read-only file system in the middle."""
    process = place.started("--workers", "1")
    folder = next(path for path in (place.out / "staged" / "rejects", place.out / "rejects") if path.exists())
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        process.wait()
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
    place.run()
    return place.is_whole()


def damaged_before_resume(place: Place) -> bool:
    """The run is killed, then a file of a committed shard is deleted, cut, lengthened or emptied."""
    in_child(place.run, (0.4 + 0.6 * place.chance.random()) * place.seconds)
    files = [path for path in place.out.rglob("0*") if path.is_file()]
    if files:
        path = place.chance.choice(files)
        size = path.stat().st_size
        how = place.chance.choice(["delete", "cut", "lengthen", "empty"])
        if how == "delete":
            path.unlink()
        else:
            os.truncate(path, {"cut": size // 2, "lengthen": size + 512, "empty": 0}[how])
    place.run()
    return place.is_whole()


def clock_set_back(place: Place) -> bool:
    """The run is killed, then the clock goes back by a day: all that was done is dated in the future."""
    in_child(place.run, (0.2 + 0.8 * place.chance.random()) * place.seconds)
    tomorrow = time.time() + 24 * 3600
    for path in place.out.rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    place.run()
    return place.is_whole()


def two_runs_at_once(place: Place) -> bool:
    """Two of the same command at once: one is done, the other refuses."""
    processes = [subprocess.Popen(place.command("--workers", "1"), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in processes]
    codes = [process.returncode for process in processes]
    refused = sum("another run is writing" in text for text in said)
    return codes.count(0) == 2 - refused and codes.count(2) == refused and place.is_whole()


def flipped_byte(place: Place) -> bool:
    """One byte of a finished output becomes another: `verify` must find it."""
    if not place.out.exists():
        place.run()
    file, undo = flip(place)
    try:
        return pairloom.verify(place.out) != []
    except pairloom.PairloomError:
        return True  # a plan that can't be read
    finally:
        file.write_bytes(undo)


def repaired(place: Place) -> bool:
    """Three bytes of a finished output become others: `repair` must undo it."""
    if not place.out.exists():
        place.run()
    for _ in range(3):
        flip(place, "0*")
    pairloom.repair(place.out)
    return place.is_whole()


def flip(place: Place, pattern: str = "*") -> tuple[Path, bytes]:
    """Change a random byte of a random file of those whose digest is kept; gives the file and what it held."""
    files = [path for path in sorted(place.out.rglob(pattern)) if path.is_file() and path.stat().st_size]
    path = place.chance.choice([path for path in files if path.relative_to(place.out).parts[0] not in TIMED])
    before = path.read_bytes()
    changed = bytearray(before)
    changed[place.chance.randrange(len(changed))] ^= place.chance.randrange(1, 256)
    path.write_bytes(changed)  # in place, so that hard links see it, too
    return path, before


FAULTS: dict[Callable[[Place], bool], int] = {
    kill_run: 300,
    kill_again: 20,
    kill_command: 20,
    kill_worker: 20,
    endless_pair: 10,
    over_memory: 10,
    crashing_pair: 10,
    kill_retry: 30,
    kill_ray_worker: 20,
    kill_ray_node: 5,
    kill_ray_run: 10,
    file_size_limit: 30,
    disk_full: 30,
    read_only: 10,
    clock_set_back: 9,
    damaged_before_resume: 50,
    two_runs_at_once: 10,
    flipped_byte: 1000,
    repaired: 20,
}
"""Every fault with its repetitions."""
KEPT = (flipped_byte, repaired)  # these start from the finished output that the last repetition left


@contextlib.contextmanager
def mounted(place: Place, options: str) -> Iterator[None]:
    """The output on a file system of its own."""
    place.out.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place.out], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place.out], check=True)


@contextlib.contextmanager
def meanwhile(place: Place, work: Callable[[], Any]) -> Iterator[None]:
    """Do something at a random time of a run on Ray, which starts more slowly."""
    timer = threading.Timer(1.0 + 4.0 * place.chance.random(), work)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def kill_one(place: Place) -> None:
    """Kill a worker of the cluster that is at a shard, if there is one."""
    raylets = [info.process.pid for node in place.cluster.list_all_nodes() for info in node.all_processes.get("raylet", [])]
    workers = [pid for raylet in raylets for pid in children(raylet) if cmdline(pid).startswith("ray::work")]
    if workers:
        os.kill(place.chance.choice(workers), signal.SIGKILL)


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in path.read_text().split()]
    return found


def cmdline(pid: int) -> str:
    """How a process was called."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


class _NoDigest:
    """Stands in for SHA-256 where its cost is measured."""

    def update(self, data: Any) -> None: ...
    def hexdigest(self) -> str:
        return ""


def cost(pairs: Path, folder: Path, rounds: int) -> list[float]:
    """The share of the time of a run that digests and syncs take, in each round: with them against without, in turn."""

    def seconds(name: str) -> float:
        start = time.perf_counter()
        pairloom.run(pairs, folder / name, RECIPE, shard_size=1000, max_reject=1.0)
        return time.perf_counter() - start

    shares = []
    seconds("warm")
    for number in range(rounds):
        guarded = seconds(f"with{number}")
        no_sync = mock.patch("os.fsync", lambda place: None)
        with no_sync, mock.patch.object(parts, "hashlib", SimpleNamespace(sha256=_NoDigest)):
            shares.append(1 - seconds(f"without{number}") / guarded)
    return shares


def try_out(fault: Callable[[Place], bool], times: int, place: Place) -> dict[str, Any]:
    """Repeat a fault and count how often all was well."""
    start, ok, seeds = time.perf_counter(), 0, []
    for seed in range(times):
        if fault not in KEPT or seed == 0:
            shutil.rmtree(place.out, ignore_errors=True)
        place.chance = random.Random(seed)
        if fault(place):
            ok += 1
        else:
            seeds.append(seed)
    said = (fault.__doc__ or "").strip()
    return {
        "fault": fault.__name__,
        "what": said,
        "times": times,
        "ok": ok,
        "failed": seeds,
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    """Print a table, and write JSON if asked to; exits with 1 if anything was not ok."""
    parser = argparse.ArgumentParser(description="Faults, resumes, and every byte compared.")
    parser.add_argument("--only", nargs="+", choices=[*(fault.__name__ for fault in FAULTS), "cost"], default=None)
    parser.add_argument("--times", type=float, default=1.0, help="share of the repetitions")
    parser.add_argument("--pairs", type=int, default=120)
    parser.add_argument("--input", help="pairs for `cost`, such as examples/pairs", default="examples/pairs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wanted = [fault for fault in FAULTS if options.only is None or fault.__name__ in options.only]
    found = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        place = Place(write_pairs(Path(folder, "pairs"), options.pairs), {}, 0.0, Path(folder, "out"), random.Random(0))
        place.run()
        shutil.rmtree(place.out)
        start = time.perf_counter()
        place.run()
        place.seconds, place.whole = time.perf_counter() - start, digest(place.out)
        if any("ray" in fault.__name__ for fault in wanted):
            place.cluster = stack.enter_context(ray_cluster())
        for fault in wanted:
            found.append(try_out(fault, max(1, round(FAULTS[fault] * options.times)), place))
            one = found[-1]
            print(f"{one['fault']:22} {one['ok']:5} of {one['times']:5} ok {one['seconds']:7.0f} s  {one['what']}", flush=True)
        result: dict[str, Any] = {"undisturbed_seconds": place.seconds, "pairs": options.pairs, "faults": found}
        if options.only is None or "cost" in options.only:
            result["cost"] = cost(Path(options.input), Path(folder), 5)
            low, middle, high = min(result["cost"]), statistics.median(result["cost"]), max(result["cost"])
            print(f"digests and syncs take {middle:.1%} [{low:.1%}, {high:.1%}] of a run of {options.input}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(any(one["failed"] for one in found))


@contextlib.contextmanager
def ray_cluster() -> Iterator[Any]:
    """Two nodes on this machine."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    try:
        yield cluster
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
