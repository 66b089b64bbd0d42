"""What Arrow loads."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder

import pyarrow as pa

from pairloom import plugins
from pairloom.step import Step


def spare_pandas(steps: Iterable[Step]) -> None:
    """Keep Arrow from importing pandas in this process, which must be Pairloom's own.

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
