"""What a worker on any node of a Ray cluster does with a shard."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from pairloom.attempt import attempt_shard
from pairloom.errors import Interrupted
from pairloom.outcome import Outcome
from pairloom.output import PLAN
from pairloom.plugins import version
from pairloom.process import keep_memory
from pairloom.progress import Seldom
from pairloom.readers.model import Shard
from pairloom.run import Job
from pairloom.stats import StepCount

TELL_SECONDS = 2.0  # a thousand workers must not drown one board


class Board:
    """An actor on which workers write how far they are, for whoever started the run to read, and read whether to stop.

    Ray's own `cancel` is no way to stop them: where a task ends at that moment, it aborts the whole process (seen with 2.60).
    """

    def __init__(self) -> None:
        self._counts: dict[int, Sequence[StepCount]] = {}
        self._stopping = False

    def write(self, shard: int, counts: Sequence[StepCount]) -> bool:
        """Take the counts of a shard so far, and say whether to stop."""
        self._counts[shard] = counts
        return self._stopping

    def stopping(self) -> bool:
        """Whether to stop."""
        return self._stopping

    def stop(self) -> None:
        """Let all stop."""
        self._stopping = True

    def take(self) -> dict[int, Sequence[StepCount]]:
        """What was written since the last time."""
        counts, self._counts = self._counts, {}
        return counts


Shared = tuple[Job, Path, dict[str, str]]
"""What all shards of a run share: the job, the folder that names are relative to, and versions of packages."""


def serve(refs: Sequence[Any], shard: Shard, board: Any) -> Outcome:
    """`work` as a task of Ray; `refs` holds a reference to what is shared, of which each task would else get a copy."""
    return work(_shared(*refs), shard, board)


def work(shared: Shared, shard: Shard, board: Any) -> Outcome:
    """Attempt a shard where that gives the bytes it would give anywhere."""
    fault = _unfit(*shared)
    if fault:  # fatal: a node that fails at once would draw all shards to itself
        return Outcome(shard.index, fault=f"the node {platform.node()} {fault}", fatal=True)
    keep_memory()  # no more: the process may serve other tasks of its program
    _go_on(board.stopping.remote())
    now_and_then = Seldom(TELL_SECONDS)

    def tell(counts: Sequence[StepCount]) -> None:
        now_and_then(lambda: _go_on(board.write.remote(shard.index, deepcopy(counts))))

    return attempt_shard(shared[0], shard, tell)


@lru_cache(maxsize=1)
def _shared(ref: Any) -> Shared:
    """One object for all that this process does of a run, by which readers know that it is the same run."""
    import ray

    found: Shared = ray.get(ref)
    return found


def _go_on(stopping: Any) -> None:
    """Raises `Interrupted` where the board says so."""
    import ray

    with suppress(ray.exceptions.RayError):  # without the board only less is shown
        if ray.get(stopping, timeout=TELL_SECONDS):
            raise Interrupted("stopped")


def _unfit(job: Job, folder: Path, versions: dict[str, str]) -> str:
    """Why this node can't take part, if it can't."""
    try:
        os.chdir(folder)  # names of inputs may be relative, and stand in the ledger as they are
    except OSError as fault:
        return f"has no folder {folder}, where the run was started; all nodes must share its file system ({fault.strerror})"
    if not any((root / PLAN).exists() for root in (job.root, job.root.parent)):
        return f"doesn't see {job.root}; all nodes must share the file system of the output"
    here = {**job.recipe.versions(), **{package: version(package) for package in job.packages}}
    versions = {**versions, **job.packages}
    other = sorted(name for name in here.keys() | versions.keys() if here.get(name) != versions.get(name))
    return f"would make other bytes than where the run was started: {', '.join(other)} differ" if other else ""
