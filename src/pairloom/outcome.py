"""What becomes of a shard, and the boundary at which what goes wrong with it stops."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from pairloom.errors import Interrupted, PairloomError, TooManyRejects, Unfit
from pairloom.stats import Stats


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a shard: its counts, or what kept it from being done. `fatal` means that others would fare alike."""

    shard: int
    stats: Stats | None = None
    fault: str = ""
    trace: str = ""
    fatal: bool = False


def told(shard: int, work: Callable[[], Outcome]) -> Outcome:
    """Do some work on a shard; what goes wrong with it as a whole is told, not raised, so that the other shards go on."""
    try:
        return work()
    except (PairloomError, OSError, MemoryError) as fault:
        if isinstance(fault, Interrupted | TooManyRejects):
            raise
        full = isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        return Outcome(shard, fault=str(fault) or type(fault).__name__, fatal=full or isinstance(fault, Unfit))
    except Exception as fault:  # noqa: BLE001 - the shard's boundary: a bug costs one shard and is reported whole
        return Outcome(shard, fault=f"{type(fault).__name__}: {fault}", trace=traceback.format_exc())
