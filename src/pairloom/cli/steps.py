"""`pairloom steps`."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Annotated, Any

import typer

from pairloom.cli import complete
from pairloom.cli.app import app
from pairloom.cli.show import complain
from pairloom.errors import UsageError


@app.command()
def steps(
    name: Annotated[
        str | None, typer.Argument(help="Show one step with its options.", show_default=False, autocompletion=complete.steps)
    ] = None,
) -> None:
    """List all steps and selections, those of installed packages among them, or explain one."""
    from pairloom.registry import REGISTRIES, find, load_plugins

    if name is None:
        for problem in load_plugins():
            complain(problem)
        for part, registry in REGISTRIES.items():
            typer.echo(f"{part}:")
            for key in sorted(registry):
                typer.echo(f"  {key:20} {_first_line(registry[key])}")
        return
    kind = find("steps", name) or find("select", name)
    if kind is None:
        raise UsageError(f"there is no step {name!r}; `pairloom steps` lists them")
    typer.echo(f"{name}\n\n{inspect.getdoc(kind)}\n\noptions:")
    for field in dataclasses.fields(kind):
        default = "required" if field.default is dataclasses.MISSING else f"default {field.default!r}"
        typer.echo(f"  {field.name}: {default}")


def _first_line(kind: type[Any]) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
