"""The command: one file a verb, and the one place where errors become exit codes.

A verb imports what it works with when it runs, so that `--help` comes at once.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pairloom.cli.app import app
from pairloom.cli.show import complain
from pairloom.errors import Interrupted, PairloomError, RecipeError, RunError, UsageError


def main() -> None:
    """Run the command. Exit codes: 0 done, 1 failed or incomplete, 2 wrong usage or recipe, 130 interrupted."""
    from pairloom.cli import (  # noqa: F401 - each registers its verb
        check,
        compare,
        doctor,
        explain,
        export,
        init,
        models,
        preview,
        repair,
        report,
        run,
        schema,
        score,
        select,
        steps,
        train,
        verify,
    )

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter is no reason to fail
    try:
        with _interrupts_remembered():
            app()
    except (RecipeError, UsageError) as fault:
        complain(str(fault))
        sys.exit(2)
    except Interrupted as fault:
        complain(f"{fault}")
        sys.exit(130)
    except KeyboardInterrupt:
        complain("stopped")
        sys.exit(130)
    except (RunError, PairloomError, OSError) as fault:
        complain(str(fault))
        sys.exit(1)


@contextmanager
def _interrupts_remembered() -> Iterator[None]:
    """Ctrl-C that falls into a library may come out as some other error: it is still Ctrl-C. It waits for the end of an import,
    out of whose middle libraries written in C print tracebacks."""
    came = False

    def remember(signum: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        if not _importing(frame):
            raise KeyboardInterrupt
        again = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    except Interrupted:
        raise
    except BaseException:
        if came:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _importing(frame: FrameType | None) -> bool:
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
