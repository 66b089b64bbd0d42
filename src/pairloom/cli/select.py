"""`pairloom select`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairloom.cli import complete
from pairloom.cli.app import Json, app
from pairloom.cli.show import show_run


@app.command()
def select(
    output: Annotated[str, typer.Argument(help="Folder or URL that `run` wrote.", show_default=False)],
    new: Annotated[str, typer.Argument(help="Folder or URL for the new selection; made if need be.", show_default=False)],
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            help="Recipe whose `select:` counts.",
            show_default="that of OUTPUT",
            autocompletion=complete.recipes,
        ),
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Parquet or CSV table with a `key` column and columns to select by.")
    ] = None,
    json_: Json = False,
) -> None:
    """Select anew among the pairs that `run` prepared, without preparing any of them again."""
    from pairloom.reselect import reselect

    summary = reselect(output, new, recipe, scores)
    show_run(summary, json_)
