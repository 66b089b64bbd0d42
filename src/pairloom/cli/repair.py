"""`pairloom repair`."""

from __future__ import annotations

from typing import Annotated

import typer

from pairloom.cli.app import Json, Workers, app, cores
from pairloom.cli.show import ProgressView, complain, resumable, show_run


@app.command()
def repair(
    output: Annotated[str, typer.Argument(help="Folder or URL that `run` wrote.", show_default=False)],
    workers: Workers = None,
    json_: Json = False,
) -> None:
    """Make again the shards of OUTPUT that `verify` finds fault with, from the same input."""
    from pairloom.repair import repair as make_whole

    with resumable(output), ProgressView(quiet=json_) as view:
        summary = make_whole(output, workers=workers or cores(), say=complain, show=view)
    show_run(summary, json_)
