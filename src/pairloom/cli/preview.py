"""`pairloom preview`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairloom.cli.app import Device, Encoding, ImageColumn, Input, RecipeName, TextColumn, aligned, app, reading
from pairloom.cli.show import say


@app.command()
def preview(
    input: Input,
    recipe: RecipeName = "default",
    number: Annotated[int, typer.Option("--number", "-n", help="How many pairs, spread over the input.", min=1, max=200)] = 12,
    out: Annotated[Path, typer.Option("--out", "-o", help="The sheet: .html or .png.")] = Path("preview.html"),
    device: Device = None,
    image_column: ImageColumn = None,
    text_column: TextColumn = None,
    encoding: Encoding = "utf-8",
) -> None:
    """Show what a recipe would do to some pairs of INPUT, beside other geometries, before it is run on all."""
    from pairloom.preview import preview as preview_pairs
    from pairloom.report.page import check_sheet

    check_sheet(out)
    found = preview_pairs(input, aligned(recipe, device=device), number, reading(image_column, text_column, encoding), recipe)
    found.save(out)
    say(f"wrote {out}: {len(found.pairs)} pairs, {sum(pair.reject is not None for pair in found.pairs)} of them rejected")
