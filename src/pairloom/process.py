"""How a process that is Pairloom's own is set up: the command, and its workers."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.abc import MetaPathFinder

import pyarrow as pa

from pairloom import plugins
from pairloom.step import Step

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8  # of glibc's mallopt
_LARGE, _SPARE = 32 << 20, 128 << 20  # bytes: 11 megapixels; what may lie unused


def set_up(steps: Iterable[Step]) -> None:
    """Set up this process, which must be Pairloom's own, to run `steps`; only time and memory depend on it."""
    keep_memory()
    spare_pandas(steps)


def keep_memory() -> None:
    """Have glibc keep the memory of pixels for the next ones.

    It would give that of each batch back to the system and ask for it again, page by page, which took up to a quarter of the
    time. And threads get it from one place: of several, each would keep some.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_MMAP_THRESHOLD, _LARGE)
    mallopt(_TRIM_THRESHOLD, _SPARE)
    mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Give what `keep_memory` keeps back to the system."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def spare_pandas(steps: Iterable[Step]) -> None:
    """Keep Arrow from importing pandas in this process.

    Where pandas is installed, Arrow imports it to ask whether the first list that it is given is one of its series. None of
    ours is; but code of others, that of `steps` or of an installed package, may rely on it: then Arrow does as it likes.
    """
    own = all(type(step).__module__.startswith("pairloom.") for step in steps)
    if "pandas" in sys.modules or not own or plugins.installed():
        return
    sys.meta_path.insert(0, _NoPandas())
    try:
        pa.array([])  # here it asks, and never again
    finally:
        sys.meta_path.pop(0)


class _NoPandas(MetaPathFinder):
    """As if pandas were not installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)
