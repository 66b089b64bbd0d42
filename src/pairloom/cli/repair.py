"""`pairloom repair`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pairloom.cli.app import Json, Workers, app, cores
from pairloom.cli.show import ProgressView, complain, show_places, show_summary
from pairloom.errors import Interrupted


@app.command()
def repair(
    output: Annotated[Path, typer.Argument(help="Folder that `run` wrote.", show_default=False)],
    workers: Workers = None,
    json_: Json = False,
) -> None:
    """Make again the shards of OUTPUT that `verify` finds fault with, from the same input."""
    from pairloom.repair import repair as make_whole

    try:
        with ProgressView(quiet=json_) as view:
            summary = make_whole(output, workers=workers or cores(), say=complain, show=view)
    except (Interrupted, KeyboardInterrupt):
        raise Interrupted(f"stopped; done shards are kept in {output}. Run the same command again to go on.") from None
    if json_:
        typer.echo(json.dumps(summary.to_json(), ensure_ascii=False))
    else:
        show_summary(summary)
        show_places(summary)
