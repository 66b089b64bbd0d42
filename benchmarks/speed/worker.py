"""One contender in a process of its own environment, told over a pipe when it is its turn.

The parent sends one line of JSON for each order and gets one back. So contenders whose packages don't go together take turns
on the same files, each with its own peak memory.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VIPS_CONCURRENCY"), "1")
QUIET = {"TOKENIZERS_PARALLELISM": "false", "NO_ALBUMENTATIONS_UPDATE": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}


def worker_environment() -> dict[str, str]:
    """The variables of a process that may start anywhere, works on one thread and calls nobody."""
    paths = [HERE, *map(Path.resolve, map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))))]
    return {**os.environ, **ONE_THREAD, **QUIET, "PYTHONPATH": os.pathsep.join(map(str, paths))}


class WorkerError(RuntimeError):
    """A contender can't be set up, or ended; the message is one line for the table."""


class Worker:
    """The parent's end. Raises `WorkerError` if the contender can't be set up."""

    def __init__(self, python: Path, work: str, name: str, data: Path) -> None:
        command = [str(python), "-m", "speed.worker", work, name]
        env = worker_environment()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env, cwd=data
        )
        self._answer()

    def ask(self, order: str, value: object = None) -> Any:
        """What came of an order; see `_Child`."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([order, value]) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Let the process end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"the process ended with {self.process.wait()}")
        good, answer = json.loads(line)
        if not good:
            self.close()
            raise WorkerError(answer)
        return answer


class _Child:
    """The child's end: an order is the name of a method."""

    def __init__(self, work: str, name: str) -> None:
        module = importlib.import_module(f"speed.{work}")
        self.items: Sequence[Any] = module.load()
        self.contender = module.CONTENDERS[name][1]()

    def taken(self, _: object) -> list[bool]:
        """Which items it can do; this also warms up what is set up at first use."""
        return [self._takes(item) for item in self.items]

    def keep(self, places: list[int]) -> None:
        """Leave out all other items."""
        self.items = [self.items[place] for place in places]

    def round(self, _: object) -> dict[str, float]:
        """Seconds for all items."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.contender.run(self.items)
        return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}

    def peak(self, _: object) -> int:
        """The largest resident memory so far, in MiB; 0 where there is no /proc."""
        status = Path("/proc/self/status")  # getrusage counts what the parent had before it became this process
        lines = status.read_text().splitlines() if status.exists() else []
        return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)

    def results(self, folder: str) -> None:
        """Write what it makes of each item."""
        import numpy as np

        for number, item in enumerate(self.items):
            if self.contender.pixels:
                np.save(f"{folder}/{number}.npy", self.contender.pixels(item))
            if self.contender.file:
                Path(f"{folder}/{number}.jpg").write_bytes(self.contender.file(item))

    def _takes(self, item: object) -> bool:
        try:
            self.contender.run([item])
        except Exception:  # noqa: BLE001 - whatever a peer raises means that it doesn't take the item
            return False
        return True


def main() -> None:
    """Obey until the pipe is closed."""
    with os.fdopen(os.dup(1), "w") as pipe:
        os.dup2(2, 1)  # what a library prints must not get into the pipe
        sys.path.sort(key=str(HERE).__eq__)  # last: it has a module `datasets`, as peers have

        def say(good: bool, answer: object) -> None:
            pipe.write(json.dumps([good, answer]) + "\n")
            pipe.flush()

        try:
            child = _Child(*sys.argv[1:])
        except Exception as fault:  # noqa: BLE001 - said in the table, whatever it is
            say(False, f"{type(fault).__name__}: {fault}".splitlines()[0])
            return
        say(True, None)
        for line in sys.stdin:
            order, value = json.loads(line)
            say(True, getattr(child, order)(value))


if __name__ == "__main__":
    main()
