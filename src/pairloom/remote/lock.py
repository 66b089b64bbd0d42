"""Who may write below a URL: a lock object that its owner renews, and that another takes over once nobody does."""

from __future__ import annotations

import json
import logging
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pairloom.errors import RunError, UsageError
from pairloom.remote.files import Remote

BEAT, LEASE = 5.0, 30.0
"""Seconds between two signs of life, and seconds without any after which an owner is taken for dead."""
_log = logging.getLogger(__name__)


class Lease:
    """A lock that is held; `check` raises once it may no longer be."""

    def __init__(self, file: Remote) -> None:
        self._file, self._owner, self._beats = file, secrets.token_hex(8), 0
        self._lost, self._ended = False, threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def take(self) -> bool:
        """Take the lock if nobody has it."""
        if not self._file.put_if_absent(self._sign()):
            return False
        self._thread.start()
        return True

    def check(self) -> None:
        """Raise `RunError` if another run took the lock over, as it may where this one gave no sign of life for so long."""
        if self._lost:
            raise RunError(f"another run has taken over {self._file.parent}; this one has stopped")

    def give_back(self) -> None:
        """Let others write."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError):  # it lapses by itself
            if self._ours():
                self._file.unlink(missing_ok=True)

    def _live(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(OSError):
                if not self._ours():
                    self._lost = True
                    return
                self._beats += 1
                self._file.write_bytes(self._sign())

    def _ours(self) -> bool:
        try:
            return bool(json.loads(self._file.read_bytes())["owner"] == self._owner)
        except FileNotFoundError:
            return False

    def _sign(self) -> bytes:
        return json.dumps({"owner": self._owner, "host": platform.node(), "beats": self._beats}).encode()


@contextmanager
def leased(folder: Remote) -> Iterator[Callable[[], None]]:
    """Hold what is below a URL; gives the `check` of the lock.

    Nobody's clock is asked: a lock that was left is one that doesn't change while it is looked at for `LEASE` seconds.

    Raises:
        UsageError: if another run holds it, or it can't be written to.
    """
    file = folder / ".lock"
    lease = Lease(file)
    try:
        while not lease.take():
            _wait_until_left(folder, file)
    except PermissionError as fault:
        raise UsageError(f"can't write to {folder}: {fault.strerror}") from None
    except FileNotFoundError:
        raise UsageError(f"can't write to {folder}: there is no such bucket") from None
    try:
        yield lease.check
    finally:
        lease.give_back()


def _wait_until_left(folder: Remote, file: Remote) -> None:
    """Remove the lock if it was left by a run that died; raise `UsageError` as soon as its owner gives a sign of life.

    Who waits for longer than an owner that lives would let it is told why.
    """
    start, told = time.monotonic(), False
    with suppress(FileNotFoundError):  # its owner ended
        seen = file.read_bytes()
        while (waited := time.monotonic() - start) < LEASE:
            if waited > 1.5 * BEAT and not told:
                told = True
                _log.warning(
                    "%s is held by a run on %s that gives no sign of life; if none comes in %.0f s, it is taken for dead "
                    "and this run goes on",
                    file, _host(seen), LEASE - waited,
                )  # fmt: skip
            time.sleep(BEAT / 4)
            if file.read_bytes() != seen:
                raise UsageError(f"another run is writing to {folder}")
        file.unlink(missing_ok=True)


def _host(sign: bytes) -> str:
    try:
        return str(json.loads(sign)["host"])
    except (ValueError, LookupError, TypeError):
        return "a machine that it does not name"
