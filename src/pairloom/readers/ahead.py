"""Work that mostly waits for a network, done by threads ahead of who wants its results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_A_TIME = 32


def in_order(things: Iterable[T], work: Callable[[T], R]) -> Iterator[R]:
    """What `work` makes of things, in their order, `AT_A_TIME` at a time; of twice as many at most a result is in memory."""
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(AT_A_TIME, "pairloom-fetch")
    try:
        for thing in things:
            waiting.append(pool.submit(work, thing))
            if len(waiting) == 2 * AT_A_TIME:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
