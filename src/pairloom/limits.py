"""How long one pair may take, and how much memory a process that works on pairs may hold: over it, the system ends the process.

What is ended can't tell; `attempt` finds out afterwards which pair it was.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pairloom.errors import UsageError

BATCH_ROWS = 32
"""Most pairs of a batch; what works on a whole batch at once may take as long as so many pairs."""

DEADLY = ("crashed", "timeout", "out_of_memory")
"""Why pairs are rejected that ended their process: nobody may read or decode them again outside of one made for that."""

GIB = 1 << 30
_LOOKS_A_SECOND = 10
_RESIDENT = Path("/proc/self/statm")
_seconds: float | None = None
_least = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one pair at one step in seconds, and of one process in GiB of resident memory; None means no limit.

    Raises:
        UsageError: if that can't be kept here.
    """

    pair_timeout: float | None = None
    worker_memory: float | None = None

    def __post_init__(self) -> None:
        if any(value is not None and not value > 0 for value in (self.pair_timeout, self.worker_memory)):
            raise UsageError("--pair-timeout and --worker-memory must be more than 0")
        if self.worker_memory is not None and not _RESIDENT.exists():
            raise UsageError("--worker-memory needs Linux: this system doesn't say what a process holds (/proc/self/statm)")

    @property
    def on(self) -> bool:
        """Whether anything is limited."""
        return self != Limits()


def allow(pairs: int) -> None:
    """Within `kept`: give what comes next the time of so many pairs. SIGALRM ends the process, also in the midst of a library."""
    if _seconds is not None:
        signal.setitimer(signal.ITIMER_REAL, _seconds * max(pairs, _least))


@contextmanager
def patient() -> Iterator[None]:
    """In here each pair may take as long as a batch: libraries and models are being loaded."""
    global _least
    _least = BATCH_ROWS
    try:
        yield
    finally:
        _least = 1


@contextmanager
def kept(limits: Limits) -> Iterator[None]:
    """In here the process is ended when it breaks a limit: by SIGALRM for time, by SIGKILL, as the system does, for memory."""
    global _seconds
    done = threading.Event()
    if limits.worker_memory is not None:
        threading.Thread(target=_watch, args=(limits.worker_memory * GIB, done), daemon=True).start()
    _seconds = limits.pair_timeout
    allow(BATCH_ROWS)
    try:
        yield
    finally:
        if _seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        _seconds = None
        done.set()


@contextmanager
def deadly_memory_errors() -> Iterator[None]:
    """In here, in a process that may be ended, lacking memory is the same however it shows."""
    try:
        yield
    except MemoryError:
        os.kill(os.getpid(), signal.SIGKILL)
        raise


def _watch(most: float, done: threading.Event) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    while not done.wait(1 / _LOOKS_A_SECOND):
        if int(_RESIDENT.read_text().split()[1]) * page > most:
            os.kill(os.getpid(), signal.SIGKILL)
