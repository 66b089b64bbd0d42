"""One attempt at a shard, wherever it runs. What ends processes is found out, and costs the pairs that do it alone.

An attempt that follows on one whose process died looks where that one stood, and puts the pairs there through the steps one
by one in a process of its own (`trial`). A pair that ends even that is rejected; it is known from then on and never read
again. A shard with such a pair is made in a process of its own, as more may come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from pairloom.batch import Row
from pairloom.child import PULSE, Child
from pairloom.crumbs import Crumb, dead, read_known
from pairloom.limits import BATCH_ROWS, DEADLY, allow, deadly_memory_errors, kept
from pairloom.outcome import Outcome, told
from pairloom.readers.model import Shard
from pairloom.run import Job, Tell, run_shard
from pairloom.stats import StepCount
from pairloom.trial import blame, warm_up

FRUITLESS = 3
"""So many deaths at one shard without a pair to blame end the tries, in one run."""


def attempt_shard(job: Job, shard: Shard, tell: Tell) -> Outcome:
    """Run a shard; what goes wrong with it as a whole is told, not raised, so that the other shards go on."""
    return told(shard.index, lambda: _attempt(job, job.runs, shard, tell) if job.runs else _run(job, shard, tell))


def killed(shard: int, fates: Sequence[str]) -> Outcome:
    """What became of a shard whose processes died too often; `fates` are the names of the signals."""
    said = f"its process died {len(fates)} times ({', '.join(sorted(set(fates)))}), and no pair alone is to blame"
    return Outcome(shard, fault=f"{said}; give it more memory or time, or fewer workers")


def _attempt(job: Job, runs: Path, shard: Shard, tell: Tell) -> Outcome:
    """Find out what ended former attempts, and leave behind where this one stands should it end, too."""
    with dead(runs, shard.index) as stood:
        for rows in stood:
            blame(job, runs, shard, rows, lambda: tell(job.counts()))
    crumb, counts = Crumb(runs, shard.index), job.counts()

    def hear(now: Sequence[StepCount]) -> None:
        nonlocal counts
        counts = list(now)
        crumb.write(counts[0].pairs_in)
        tell(counts)

    try:
        if not read_known(runs, shard.index) and not set(DEADLY).intersection(dict(shard.again)):
            try:
                return _run(job, shard, hear)
            except MemoryError:
                if not blame(job, runs, shard, counts[0].pairs_in, lambda: tell(counts)):
                    raise
        return _apart(job, runs, shard, hear)
    finally:
        crumb.remove()


def _run(job: Job, shard: Shard, tell: Tell, known: Mapping[int, Row] | None = None) -> Outcome:
    def hear(counts: Sequence[StepCount]) -> None:
        allow(BATCH_ROWS)  # to read the next batch
        tell(counts)

    with kept(job.limits):
        if job.limits.pair_timeout is not None:
            warm_up(job)
        return Outcome(shard.index, run_shard(job, shard, hear, known or {}))


def _apart(job: Job, runs: Path, shard: Shard, hear: Tell) -> Outcome:
    """Run a shard in a process of its own, again and again for as long as each death leads to a pair that is to blame."""
    fates: list[str] = []
    while len(fates) < FRUITLESS:
        child = Child(_serve, job, shard, read_known(runs, shard.index))
        counts: Sequence[StepCount] = job.counts()
        try:
            while True:
                thing = child.take() if child.connection.poll(PULSE) else None
                if isinstance(thing, Outcome):
                    return thing
                counts = thing or counts
                hear(counts)
        except EOFError:
            fate = child.fate()
        finally:
            child.end()
        if not blame(job, runs, shard, counts[0].pairs_in, lambda now=counts: hear(now)):  # type: ignore[misc]
            fates.append(fate)
    return killed(shard.index, fates)


def _serve(connection: Connection, job: Job, shard: Shard, known: Mapping[int, Row]) -> None:
    @deadly_memory_errors()
    def work() -> Outcome:
        return _run(job, shard, connection.send, known)

    connection.send(told(shard.index, work))
