"""`pairloom models`."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer

from pairloom.cli import complete
from pairloom.cli.app import Device, Json, app

if TYPE_CHECKING:
    from pairloom.models.catalogue import Listing


@app.command()
def models(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models to try.", show_default="mini", autocompletion=complete.models)
    ] = None,
    device: Device = None,
    json_: Json = False,
) -> None:
    """Show what models there are, and whether each can be opened here."""
    from pairloom.models.catalogue import forms, listing

    found = [listing(name, device or "auto") for name in names or ["mini"]]
    if json_:
        there = [{"form": form, "meaning": meaning, "missing": missing} for form, (meaning, missing) in forms().items()]
        said = {"models": [dataclasses.asdict(one) for one in found], "forms": there}
        typer.echo(json.dumps(said, ensure_ascii=False))
    else:
        for one in found:
            typer.echo(_line(one))
        typer.echo("\nnames:")
        for form, (meaning, missing) in forms().items():
            typer.echo(f"  {form:26} {meaning}" + (f"\n{'':29}{_said(missing)}" if missing else ""))
    if names and any(one.problem for one in found):
        raise typer.Exit(2)


def _said(missing: str) -> str:
    return f"not installed: {missing}" if missing.startswith("pip ") else missing


def _line(one: Listing) -> str:
    if one.problem:
        return f"{one.name}: can't be opened: {one.problem}"
    parts = [f"{one.bytes / 1e6:,.1f} MB", ", ".join(one.languages), one.license, f"{one.dimension} dimensions",
             f"{one.context_length} tokens", f"on {one.device}"]  # fmt: skip
    return f"{one.name}: {'; '.join(part for part in parts if part)}"
