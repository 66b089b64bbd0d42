"""A process of its own, for work beside other work or for work that may end it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from pairloom.crumbs import pick_up
from pairloom.errors import Unfit

PULSE = 0.5
"""Seconds after which one that waits for a child looks up."""

_FORKS = sys.platform == "linux"  # elsewhere system libraries don't bear it
_context: Any = multiprocessing.get_context("forkserver" if _FORKS else "spawn")
_LOADED = ["pairloom.engines.local"]


def make_ready() -> None:
    """Start, unless it is there, the process that loads once what children need, and that they are forked from.

    Called early it does so beside other work. Without it the first child does it.
    """
    if _FORKS:
        _context.set_forkserver_preload(_LOADED)
        with _no_interrupt():
            forkserver.ensure_running()


class Child:
    """A process that does `work(connection, *args)` and ends when its parent does, however that ends.

    No lock is shared with it, which it could hold when it is killed: both sides have one end of a pipe, and that is all.
    """

    def __init__(self, work: Callable[..., None], *args: Any) -> None:
        make_ready()
        self.connection, theirs = _context.Pipe()
        told = (theirs, dict(os.environ), work, args)
        self._process = _context.Process(target=_serve, args=told)  # not a daemon: those may have no children
        with _no_interrupt():
            self._process.start()
        theirs.close()
        self._begun = False

    def tell(self, thing: Any) -> None:
        """Send it something; lost if it has ended."""
        with suppress(OSError):
            self.connection.send(thing)

    def take(self) -> Any:
        """What it sent next, None for the sign that it has begun.

        Raises:
            EOFError: if it has ended.
            Unfit: if it could not even begin.
        """
        try:
            thing = self.connection.recv()
        except (EOFError, OSError):
            if self._begun:
                raise EOFError from None
            raise Unfit(
                f"a worker process could not begin ({self.fate()}); a script that starts workers needs the usual "
                'if __name__ == "__main__": around what it does'
            ) from None
        self._begun = True
        return thing

    def fate(self) -> str:
        """How it ended: the name of a signal, or an exit code. Waits for that."""
        self._process.join()
        status = self._process.exitcode or 0
        return signal.Signals(-status).name if status < 0 else f"exit code {status}"

    def end(self) -> None:
        """Kill it if it is still there."""
        self._process.kill()
        self._process.join()
        self.connection.close()


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Processes that start in here never see Ctrl-C, which reaches the whole group: the parent alone decides. It hears of it at
    the end, as a process that was told only half of what it needs ends with a traceback."""
    resource_tracker.ensure_running()  # which would else be started with the first process, and allow Ctrl-C again
    came: list[int] = []  # another thread, of a library, may take the signal that is blocked in this one
    handler = signal.getsignal(signal.SIGINT)
    ours = handler is not None and threading.current_thread() is threading.main_thread()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if ours:
        signal.signal(signal.SIGINT, lambda signum, _: came.append(signum))
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def _serve(connection: Connection, environment: dict[str, str], work: Callable[..., None], args: tuple[Any, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)  # as it is now, not as it was when the process began that all children come from
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(BrokenPipeError):
        connection.send(None)
        work(connection, *args)


def _end_with_parent() -> None:
    """A process whose parent was killed would write on for ever beside the next run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        with suppress(OSError):
            pick_up()
        os._exit(1)
