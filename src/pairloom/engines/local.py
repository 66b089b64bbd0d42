"""Shards on the processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

from pairloom.errors import Interrupted, RunError
from pairloom.readers.model import Shard
from pairloom.run import Job, Outcome, attempt_shard
from pairloom.stats import StepCount

Hear = Callable[[int, Sequence[StepCount]], None]
"""Hears how far a shard is; may raise to stop the run."""


def execute(job: Job, shards: Sequence[Shard], workers: int | None, hear: Hear) -> Iterator[Outcome]:
    """Run shards, at most `workers` at a time, by default one; with fewer shards than workers each works with several threads.

    Raises:
        Interrupted: after Ctrl-C, once every worker has stopped at the end of its batch.
        RunError: if a worker process dies.
    """
    workers = workers or 1
    processes = max(1, min(workers, len(shards)))
    job = replace(job, threads=max(1, workers // processes))
    try:
        yield from _in_thread(job, shards, hear) if processes == 1 else _spread(job, shards, processes, hear)
    except KeyboardInterrupt:
        raise Interrupted("stopped") from None


def _in_thread(job: Job, shards: Sequence[Shard], hear: Hear) -> Iterator[Outcome]:
    """Ctrl-C only ever reaches the main thread, so that none falls into a library that would make another error of it."""
    told: queue.Queue[Any] = queue.Queue()
    stop = threading.Event()
    pool = ThreadPoolExecutor(1)
    try:
        yield from _collect({pool.submit(_work, job, shard, (told, stop)) for shard in shards}, told, hear)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _spread(job: Job, shards: Sequence[Shard], processes: int, hear: Hear) -> Iterator[Outcome]:
    context = multiprocessing.get_context("spawn")
    told, stop = context.Queue(), context.Event()
    pool = ProcessPoolExecutor(processes, context, _begin, (told, stop))
    try:
        with _no_interrupt():
            waiting = {pool.submit(_work, job, shard) for shard in shards}
        yield from _collect(waiting, told, hear)
    except BrokenProcessPool:
        raise RunError("a worker process died, probably for want of memory; run again with fewer --workers to go on") from None
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Processes that start in here never see Ctrl-C, which reaches the whole group: the parent alone decides."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _collect(waiting: set[Future[Outcome]], told: Any, hear: Hear) -> Iterator[Outcome]:
    while waiting:
        done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
        _pass_on(told, hear)
        for future in done:
            yield future.result()


def _pass_on(told: Any, hear: Hear) -> None:
    while True:
        try:
            hear(*told.get_nowait())
        except queue.Empty:
            return


# In a worker process: where to tell how far it is, and whether to stop, which can't travel with a shard.
_links: tuple[Any, Any]


def _begin(told: Any, stop: Any) -> None:
    global _links
    _links = told, stop
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would write on for ever beside the next run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(job: Job, shard: Shard, links: tuple[Any, Any] | None = None) -> Outcome:
    told, stop = links or _links

    def tell(counts: Sequence[StepCount]) -> None:
        if stop.is_set():
            raise Interrupted("stopped")
        told.put((shard.index, deepcopy(counts)))  # they count on while this one is heard

    return attempt_shard(job, shard, tell)
