"""`pairloom init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairloom.cli import complete
from pairloom.cli.app import app
from pairloom.cli.show import say
from pairloom.errors import UsageError


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("recipe.yaml"),
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help="The shipped recipe to start from.", autocompletion=complete.recipes)
    ] = "default",
    list_: Annotated[bool, typer.Option("--list", help="List the shipped recipes and write nothing.")] = False,
) -> None:
    """Write a shipped recipe to a file, to change it."""
    from pairloom.choices import shipped_recipes
    from pairloom.recipe import recipe_text

    if list_:
        for name in shipped_recipes():
            typer.echo(recipe_text(name).splitlines()[0].removeprefix("# "))
        return
    if recipe not in shipped_recipes():
        raise UsageError(f"there is no shipped recipe {recipe!r}; there are {', '.join(shipped_recipes())}")
    if path.exists():
        raise UsageError(f"{path} exists already; choose another name")
    path.write_text(recipe_text(recipe), "utf-8")
    say(f"wrote {path}; try it with: pairloom check INPUT --recipe {path}")
