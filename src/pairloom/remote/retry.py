"""Patience with a network: what may go away by itself is tried again, with pauses that grow, for a limited time."""

from __future__ import annotations

import errno
import random
import sys
import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from pairloom.remote.names import secretless

T = TypeVar("T")

PATIENCE = 120.0  # seconds for all tries of one request
_FIRST, _LONGEST = 0.5, 15.0
_LASTING = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
_LASTING_CODES = {errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ENAMETOOLONG, errno.ENOSPC, errno.EDQUOT}
# What libraries raise that is no OSError, looked up only where the library is in use.
_FOREIGN = (("aiohttp", "ClientError"), ("botocore.exceptions", "BotoCoreError"), ("gcsfs.retry", "HttpError"))
_PASSING = {"HTTPClientError", "ConnectionError", "IncompleteReadError", "ResponseStreamingError"}


class Unreachable(OSError):
    """A server that did not answer, or not whole, however often it was asked."""

    def __str__(self) -> str:
        return str(self.strerror)


def patiently(action: Callable[[], T], name: str) -> T:
    """What `action`, which asks for `name`, gives; tried for `PATIENCE` seconds, half a second apart at first.

    Raises:
        Unreachable: if it fails to the end.
        OSError: at once, if trying again can't help: nothing is there, or it may not be had.
    """
    start, jitter = time.monotonic(), random.Random(name)  # so that workers that fail together don't return together
    for tries in count(1):
        try:
            return action()
        except _caught() as fault:
            found = _lasting(fault, name)
            if found is not None:
                raise found from None
            pause = min(_LONGEST, _FIRST * 2 ** (tries - 1)) * (0.5 + jitter.random() / 2)
            taken = time.monotonic() - start
            if taken + pause > PATIENCE:
                why = "no answer" if isinstance(fault, TimeoutError) else _said(fault)
                raise Unreachable(
                    errno.EIO, f"{secretless(name)} failed to the last of {tries} tries in {taken:.0f} s: {why}"
                ) from None
        time.sleep(pause)
    raise AssertionError


def _lasting(fault: BaseException, name: str) -> OSError | None:
    """The fault that is told, if it won't go away; fsspec says that nothing is there where a server only erred."""
    beneath = fault.__cause__
    cause = beneath if isinstance(fault, FileNotFoundError) and beneath is not None and _of_network(beneath) else fault
    status = getattr(cause, "status", None) or (None if _of_network(cause) else getattr(cause, "code", None))
    if isinstance(status, int):
        if status in (408, 425, 429) or status >= 500:
            return None
        kind: type[OSError] = {404: FileNotFoundError, 410: FileNotFoundError, 401: PermissionError, 403: PermissionError}.get(
            status, OSError
        )
        return kind(errno.EIO, f"{secretless(name)}: the server says {status}")
    if isinstance(cause, _LASTING) or (isinstance(cause, OSError) and cause.errno in _LASTING_CODES):
        return type(cause)(cause.errno or errno.EIO, f"{secretless(name)}: {_said(cause)}")
    if isinstance(cause, OSError) and cause.errno is None and str(cause).startswith("Forbidden"):  # gcsfs says 403 so
        return PermissionError(errno.EIO, f"{secretless(name)}: the server says 403")
    if isinstance(cause, OSError) or _of_network(cause):
        return None
    if _PASSING & {kind.__name__ for kind in type(cause).__mro__}:
        return None
    return OSError(errno.EINVAL, f"{secretless(name)}: {_said(cause)}")


def _of_network(fault: BaseException) -> bool:
    return isinstance(fault, TimeoutError | ConnectionError) or type(fault).__module__.startswith("aiohttp")


def _said(fault: BaseException) -> str:
    text = (fault.strerror or "") if isinstance(fault, OSError) else ""
    return secretless(text or str(fault) or type(fault).__name__)


def _caught() -> tuple[type[Exception], ...]:
    return (OSError, *(getattr(sys.modules[module], name) for module, name in _FOREIGN if module in sys.modules))
