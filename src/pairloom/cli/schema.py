"""`pairloom schema`."""

from __future__ import annotations

import json

import typer

from pairloom.cli.app import app


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors and validators."""
    from pairloom import recipe

    typer.echo(json.dumps(recipe.schema(), indent=2))
