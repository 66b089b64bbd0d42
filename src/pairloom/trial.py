"""Which pair was it? Those that an attempt was at when its process died, one by one in a process of their own."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

from pairloom import readers
from pairloom.batch import Batch, Row
from pairloom.child import PULSE, Child
from pairloom.crumbs import read_known, write_known
from pairloom.errors import Reject, Unfit
from pairloom.limits import BATCH_ROWS, Limits, allow, deadly_memory_errors, kept, patient
from pairloom.outcome import Outcome, told
from pairloom.readers.model import Shard, shown
from pairloom.run import Job, make_key, run_steps

_DONE = "done"


def blame(job: Job, runs: Path, shard: Shard, rows: int, pulse: Callable[[], None]) -> int:
    """Try each pair of the batch that follows on `rows` alone; those that end their process are remembered. Gives how many.

    `pulse` is called all the while, and may raise to stop.

    Raises:
        Unfit: if even a small picture with a short text ends its process: no pair is to blame, then.
    """
    known = read_known(runs, shard.index)
    waiting = [number for number in shard.numbers[rows : rows + BATCH_ROWS] if number not in known]
    found = 0
    while waiting:
        number, row, fate = _first_death(job, shard, waiting, pulse)
        if row is None:
            break
        found += 1
        known[number] = replace(row, reject=_reason(fate, job.limits))
        write_known(runs, shard.index, known)
        waiting = waiting[waiting.index(number) + 1 :]
    return found


def _first_death(job: Job, shard: Shard, numbers: Sequence[int], pulse: Callable[[], None]) -> tuple[int, Row | None, str]:
    """The first of the rows that ends its process, with what could be read of it, and how it ended; no row if none does."""
    child = Child(_one_by_one, job, shard, tuple(numbers))
    number, row = -1, None
    try:
        while True:
            pulse()
            thing = child.take() if child.connection.poll(PULSE) else None
            if thing == _DONE:
                return -1, None, ""
            number, row = thing or (number, row)
    except EOFError:
        fate = child.fate()
    finally:
        child.end()
    if row is None:
        raise Unfit(f"even a small picture with a short text fails: {_reason(fate, job.limits).message}")
    return number, row, fate


def _reason(fate: str, limits: Limits) -> Reject:
    if fate == "SIGALRM" and limits.pair_timeout is not None:
        return Reject("timeout", f"alone takes more than {limits.pair_timeout:g} s")
    if fate == "SIGKILL" and limits.worker_memory is not None:
        return Reject("out_of_memory", f"alone takes more than {limits.worker_memory:g} GiB")
    if fate == "SIGKILL":
        return Reject("out_of_memory", "its process is killed also when alone, as the system does for want of memory")
    return Reject("crashed", f"its process ends with {fate} also when alone")


def _one_by_one(connection: Connection, job: Job, shard: Shard, numbers: tuple[int, ...]) -> None:
    """Put a harmless pair through the steps, and then the rows, saying before each which it is."""

    places = {number: place for place, number in enumerate(shard.numbers)}

    @deadly_memory_errors()
    def work() -> Outcome:
        warm_up(job)
        rows = iter(readers.read(replace(shard, rows=len(numbers), picks=numbers), job.reading))
        for number in numbers:
            allow(BATCH_ROWS)
            connection.send((number, Row("", shown(shard.container))))
            row = next(rows, None)
            if row is None:
                break
            connection.send((number, replace(row, image=None)))
            _alone(job, make_key(shard.index, places[number], job.shard_size), row)
        return Outcome(shard.index)

    with kept(job.limits):
        told(shard.index, work)  # what is wrong without ending the process, the attempt will meet, too
    connection.send(_DONE)


def _alone(job: Job, key: str, row: Row) -> None:
    @deadly_memory_errors()
    def work() -> Outcome:
        run_steps([lambda read: read, *job.recipe.bound()], Batch.read([key], [row]), job.counts()[:-1], lambda bad, step: None)
        return Outcome(0)

    told(0, work)


def warm_up(job: Job) -> None:
    """Put a harmless pair through the steps, so that what is loaded is loaded and no other pair has to answer for it."""
    with patient():
        _alone(job, "harmless", _harmless())


def _harmless() -> Row:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (120, 140, 160)).save(file, "JPEG")
    return Row("harmless", "harmless", file.getvalue(), ("A grey square.",))
