"""`pairloom report`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairloom.cli.app import app
from pairloom.cli.show import say


@app.command()
def report(
    output: Annotated[str, typer.Argument(help="Folder or URL that `run` or `select` wrote.", show_default=False)],
) -> None:
    """Write report.html of OUTPUT again, from what is committed there; nothing is prepared again."""
    from pairloom.report import write_report

    say(f"wrote {write_report(output)}")
