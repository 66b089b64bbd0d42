"""A Ray cluster: becoming part of it, and what it has room for."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pairloom.errors import UsageError
from pairloom.extras import need

_ANSWER_SECONDS = 5.0


@contextmanager
def connected(address: str | None, takes: Mapping[str, float]) -> Iterator[None]:
    """Be part of a cluster with a node on which a task can have what it `takes`; a connection that is there already stays.

    Raises:
        UsageError: if Ray is not installed, or there is no such cluster or node.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that is started here must not report home
    ray = need("ray", "ray", "the engine ray")
    ours = not ray.is_initialized()
    if ours:
        try:
            _answers(address or "")
            ray.init(address, log_to_driver=False, logging_level="ERROR")
        except (OSError, ValueError, RuntimeError) as fault:
            raise UsageError(f"no Ray cluster can be reached at {address or 'this machine'}: {fault}") from None
    try:
        if not room(ray, takes):
            needs = " and ".join(f"{count:g} {kind}s" for kind, count in takes.items() if count)
            raise UsageError(f"no node of the Ray cluster has the {needs} that a task takes")
        yield
    finally:
        if ours:
            ray.shutdown()


def room(ray: Any, takes: Mapping[str, float]) -> int:
    """How many tasks the nodes that are there now have room for, if each `takes` so much of a node's resources."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(int(min(node.get(kind, 0) / share for kind, share in takes.items() if share)) for node in nodes)


def _answers(address: str) -> None:
    """Raises `OSError` where nobody is: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()
