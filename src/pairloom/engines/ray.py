"""Shards on the nodes of a Ray cluster that share one file system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pairloom.engines.cluster import room
from pairloom.engines.local import Hear
from pairloom.engines.node import TELL_SECONDS, Board, serve
from pairloom.errors import Interrupted, UsageError
from pairloom.outcome import Outcome
from pairloom.readers.model import Shard
from pairloom.run import Job

_RETRIES = 3  # of a shard whose worker or node died; one that kills its workers must not kill them all
_STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Ray:
    """A Ray cluster, and what one shard at a time gets of it; a shard works with as many threads as it has CPUs.

    `address` is that of a running cluster: auto, HOST:PORT or ray://HOST:10001. Without it the cluster that this machine
    belongs to is used, or else one is started here for the time of the run. GPUs are whole, or a share below 1.

    Raises:
        UsageError: if no task can be given that.
    """

    address: str | None = None
    cpus_per_task: int = 1
    gpus_per_task: float = 0

    def __post_init__(self) -> None:
        if self.cpus_per_task < 1 or self.gpus_per_task < 0 or (self.gpus_per_task > 1 and self.gpus_per_task % 1):
            raise UsageError("a task takes at least 1 CPU; GPUs are whole, or a share below 1")

    @property
    def takes(self) -> dict[str, float]:
        """What a task takes of the resources of a node."""
        return {"CPU": self.cpus_per_task, "GPU": self.gpus_per_task}

    def execute(self, job: Job, shards: Sequence[Shard], workers: int | None, hear: Hear) -> Iterator[Outcome]:
        """Run shards, at most `workers` at a time, by default as many as the cluster has room for.

        Raises:
            Interrupted: after Ctrl-C, once every worker has stopped.
        """
        import ray

        # max_calls=0 lets a worker that had a GPU live on, with the models it has loaded.
        needs = {"num_cpus": self.cpus_per_task, "num_gpus": self.gpus_per_task, "max_calls": 0, "max_retries": _RETRIES}
        task, board = ray.remote(**needs)(serve), ray.remote(num_cpus=0, max_restarts=-1)(Board).remote()
        shared = ray.put((replace(job, threads=self.cpus_per_task), Path.cwd(), job.recipe.versions()))
        waiting, running = iter(shards), dict[Any, Shard]()
        try:
            while True:
                # One for each place is on its way when the one there ends; without any place all wait for one.
                most = workers or max(1, 2 * room(ray, self.takes))
                running |= {task.remote([shared], shard, board): shard for shard in islice(waiting, max(0, most - len(running)))}
                if not running:
                    return
                done, _ = ray.wait(list(running), timeout=TELL_SECONDS)
                there = {shard.index for shard in running.values()}
                with suppress(ray.exceptions.RayError):  # without the board only less is shown
                    for index, counts in ray.get(board.take.remote(), timeout=TELL_SECONDS).items():
                        if index in there:
                            hear(index, counts)
                for ref in done:
                    yield _outcome(ray, ref, running.pop(ref))
        except KeyboardInterrupt:
            raise Interrupted("stopped") from None
        finally:
            _stop(ray, board, list(running))


def _outcome(ray: Any, ref: Any, shard: Shard) -> Outcome:
    try:
        found: Outcome = ray.get(ref)
        return found
    except ray.exceptions.RayError as fault:  # its workers or nodes died too often, or can't import what it takes
        cause = getattr(fault, "cause", None) or fault
        return Outcome(shard.index, fault=f"{type(cause).__name__}: {str(cause).splitlines()[0]}", trace=str(fault))


def _stop(ray: Any, board: Any, running: list[Any]) -> None:
    """Nobody may write on when the run is over: workers stop and delete what they have begun, else they are ended."""
    board.stop.remote()
    running = ray.wait(running, num_returns=len(running), timeout=_STOP_SECONDS)[1] if running else []
    for ref in running:
        ray.cancel(ref, force=True)
    if running:
        ray.wait(running, num_returns=len(running), timeout=_STOP_SECONDS)
