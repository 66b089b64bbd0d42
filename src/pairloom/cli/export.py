"""`pairloom export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from pairloom.choices import PROMPT, Layout
from pairloom.cli import complete
from pairloom.cli.app import app
from pairloom.cli.show import say


@app.command()
def export(
    output: Annotated[str, typer.Argument(help="Folder or URL that `run` or `select` wrote.", show_default=False)],
    dest: Annotated[Path, typer.Argument(help="Folder for the export; new or empty.", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            "-t",
            help=f"The layout: {', '.join(get_args(Layout))}, or one of a plugin.",
            show_default=False,
            autocompletion=complete.layouts,
        ),
    ],
    prompt: Annotated[str, typer.Option(help="For llava: what the human asks.")] = PROMPT,
) -> None:
    """Write the pairs of OUTPUT in the layout of another tool; images are copied as they are."""
    from pairloom.export import export as export_pairs

    say(f"wrote {export_pairs(output, dest, to, prompt):,} pairs to {dest}")
