"""`pairloom verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairloom.cli.app import app
from pairloom.cli.show import complain, say


@app.command()
def verify(output: Annotated[str, typer.Argument(help="Folder or URL that `run` wrote.", show_default=False)]) -> None:
    """Read all of OUTPUT: digests, every pair accounted for, every member readable."""
    from pairloom.verify import verify as find_faults

    faults = find_faults(output)
    for fault in faults:
        complain(fault)
    if faults:
        raise typer.Exit(1)
    say(f"{output} is whole")
