"""Packages that only some users need, imported where they are used; a missing one says what to type."""

from __future__ import annotations

import importlib
from typing import Any

from pairloom.errors import UsageError


def need(module: str, extra: str, what: str) -> Any:
    """Import a module that comes with `pip install 'pairloom[extra]'`; `what` names the thing that needs it.

    Raises `UsageError` if it is not installed, or if it is but doesn't work here.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as fault:
        name = (fault.name or module).partition(".")[0]
        raise UsageError(f"{what} needs {name}, which is not installed: pip install 'pairloom[{extra}]'") from None
    except (ImportError, RuntimeError, OSError, AttributeError) as fault:  # a torchvision of another torch fails in each way
        raise UsageError(f"{what} needs {module}, which is installed but can't be imported: {fault}") from None
