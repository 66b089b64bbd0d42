"""Shards on the processes of this machine."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Any

from pairloom.attempt import FRUITLESS, attempt_shard, killed
from pairloom.child import PULSE, Child
from pairloom.errors import Interrupted, RunError
from pairloom.outcome import Outcome
from pairloom.process import set_up
from pairloom.progress import Seldom
from pairloom.readers import let_go
from pairloom.readers.model import Shard
from pairloom.run import Job
from pairloom.stats import StepCount
from pairloom.step import use_threads

Hear = Callable[[int, Sequence[StepCount]], None]
"""Hears how far a shard is; may raise to stop the run."""

_STOP_SECONDS = 60.0  # for a batch to end; what takes longer is killed, and leaves nothing that counts
_TELL_SECONDS = 0.1  # who hears of each batch has less time for the next
_log = logging.getLogger(__name__)


def execute(job: Job, shards: Sequence[Shard], workers: int | None, hear: Hear) -> Iterator[Outcome]:
    """Run shards, at most `workers` at a time, by default one; with fewer shards than workers, as at the end of a run, those that
    are under way work with several threads.

    A worker process that dies is replaced, and its shard begun again, `FRUITLESS` times at most.

    Raises:
        Interrupted: after Ctrl-C, once every worker has stopped at the end of its batch.
        RunError: if worker processes can't begin.
    """
    workers = workers or 1
    processes = max(1, min(workers, len(shards)))
    job = replace(job, threads=max(1, workers // processes))
    try:
        if processes == 1 and not job.limits.on:  # a process can be ended, a thread starts in no time
            yield from _in_thread(job, shards, hear)
        else:
            yield from _Crew(job, shards, hear, workers).work(processes)
    except KeyboardInterrupt:
        raise Interrupted("stopped") from None


def _in_thread(job: Job, shards: Sequence[Shard], hear: Hear) -> Iterator[Outcome]:
    """Ctrl-C only ever reaches the main thread, so that none falls into a library that would make another error of it."""
    told: queue.SimpleQueue[tuple[int, Sequence[StepCount]]] = queue.SimpleQueue()
    stop = threading.Event()

    def work(shard: Shard) -> Outcome:
        now_and_then = Seldom(_TELL_SECONDS)

        def tell(counts: Sequence[StepCount]) -> None:
            if stop.is_set():
                raise Interrupted("stopped")
            now_and_then(lambda: told.put((shard.index, deepcopy(counts))))  # they count on while this one is heard

        return attempt_shard(job, shard, tell)

    pool = ThreadPoolExecutor(1)
    try:
        left, waiting = iter(shards), set[Future[Outcome]]()
        while True:
            waiting |= {pool.submit(work, shard) for shard in islice(left, 2 - len(waiting))}  # the next is always there
            if not waiting:
                return
            done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            while not told.empty():
                hear(*told.get())
            for future in done:
                yield future.result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        let_go()


class _Crew:
    """Worker processes, each at one shard at a time."""

    def __init__(self, job: Job, shards: Sequence[Shard], hear: Hear, cores: int) -> None:
        self._job, self._hear, self._cores = job, hear, cores
        self._waiting = deque(shards)
        self._workers: dict[Any, tuple[Child, Shard]] = {}
        self._fates: dict[int, list[str]] = {}

    def work(self, processes: int) -> Iterator[Outcome]:
        """Give out all shards, and what became of each."""
        try:
            while True:
                while self._waiting and len(self._workers) < processes:
                    self._give(Child(_serve, self._job))
                if not self._workers:
                    return
                for connection in wait_for(list(self._workers), PULSE):
                    yield from self._take(*self._workers[connection])
        finally:
            self._stop()

    def _give(self, child: Child) -> None:
        """Hand the next shard to a worker, or let it go."""
        if self._waiting:
            shard = self._waiting.popleft()
            self._workers[child.connection] = child, shard
            child.tell(shard)
        else:
            self._workers.pop(child.connection, None)
            child.end()
            self._share()

    def _share(self) -> None:
        """Let those that are still at work have the cores of those that are not; more threads take more memory, though."""
        if self._workers and self._job.limits.worker_memory is None:
            for child, _ in self._workers.values():
                child.tell(self._cores // len(self._workers))

    def _take(self, child: Child, shard: Shard) -> Iterator[Outcome]:
        try:
            thing = child.take()
        except EOFError:
            del self._workers[child.connection]
            yield from self._died(shard, child.fate())
            return
        if isinstance(thing, Outcome):
            self._give(child)
            yield thing
        elif thing is not None:
            self._hear(shard.index, thing)

    def _died(self, shard: Shard, fate: str) -> Iterator[Outcome]:
        fates = self._fates.setdefault(shard.index, [])
        fates.append(fate)
        if len(fates) == FRUITLESS:
            yield killed(shard.index, fates)
            return
        _log.warning("a worker process died (%s) at shard %d, which is begun again", fate, shard.index)
        self._waiting.appendleft(shard)

    def _stop(self) -> None:
        """Nobody may write on when the run is over. A second Ctrl-C doesn't wait for the end of batches."""
        left = {connection: child for connection, (child, _) in self._workers.items()}
        try:
            for child in left.values():
                child.tell(None)
            until = time.monotonic() + _STOP_SECONDS
            while left and time.monotonic() < until:
                for connection in wait_for(list(left), PULSE):
                    try:
                        left[connection].take()  # what is not read would keep it waiting
                    except (EOFError, RunError):
                        del left[connection]
        finally:
            for child, _ in self._workers.values():
                child.end()


def _serve(connection: Connection, job: Job) -> None:
    """One shard after the other, until told to stop by None; a number says how many threads to use."""

    now_and_then = Seldom(_TELL_SECONDS)

    def tell(counts: Sequence[StepCount]) -> None:
        while connection.poll():
            if (count := connection.recv()) is None:
                raise Interrupted("stopped")
            use_threads(count)
        now_and_then(lambda: connection.send(counts))

    set_up(job.recipe.steps)
    with suppress(Interrupted, EOFError):
        while (thing := connection.recv()) is not None:
            if isinstance(thing, Shard):  # else it came too late for the last one
                connection.send(attempt_shard(job, thing, tell))
