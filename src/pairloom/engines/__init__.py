"""Where shards run. An engine only places `attempt_shard`; the bytes are the same with each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pairloom.engines import local
from pairloom.engines.cluster import connected
from pairloom.engines.ray import Ray
from pairloom.errors import UsageError
from pairloom.outcome import Outcome
from pairloom.readers.model import Shard
from pairloom.run import Job

Execute = Callable[[Job, Sequence[Shard], int | None, local.Hear], Iterator[Outcome]]
"""Runs shards, at most so many at a time, and gives what became of each in the order in which they end."""


@contextmanager
def opened(engine: str | Ray) -> Iterator[Execute]:
    """An engine by its name, ready to work.

    Raises:
        UsageError: if there is no such engine, or it can't be reached.
    """
    if engine == "local":
        yield local.execute
        return
    if isinstance(engine, str) and engine != "ray":
        raise UsageError(f"there is no engine {engine!r}; choose one of local, ray")
    cluster = Ray() if isinstance(engine, str) else engine
    with connected(cluster.address, cluster.takes):
        yield cluster.execute
