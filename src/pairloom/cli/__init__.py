"""The command: one file a verb, and the one place where errors become exit codes."""

from __future__ import annotations

import io
import sys

from pairloom.cli.app import app
from pairloom.cli.show import complain
from pairloom.errors import Interrupted, PairloomError, RecipeError, RunError, UsageError


def main() -> None:
    """Run the command. Exit codes: 0 done, 1 failed or incomplete, 2 wrong usage or recipe, 130 interrupted."""
    from pairloom.cli import (  # noqa: F401 - each registers its verb
        check,
        compare,
        explain,
        init,
        models,
        run,
        schema,
        score,
        select,
        steps,
        verify,
    )

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter is no reason to fail
    try:
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
