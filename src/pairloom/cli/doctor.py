"""`pairloom doctor`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from pairloom.cli.app import Json, app
from pairloom.cli.show import show_findings


@app.command()
def doctor(
    path: Annotated[Path, typer.Argument(help="Where an output is to go: its free space is told.", show_default="here")] = Path(),
    json_: Json = False,
) -> None:
    """Look at what is installed and at the machine, and say what to type where something is missing."""
    from pairloom.doctor import examine

    findings = examine(path)
    if json_:
        typer.echo(json.dumps({"findings": [dataclasses.asdict(one) for one in findings]}, ensure_ascii=False))
    else:
        show_findings(findings)
    if any(one.level == "problem" for one in findings):
        raise typer.Exit(1)
