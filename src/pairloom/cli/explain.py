"""`pairloom explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pairloom.cli.app import (
    Bank,
    Device,
    Encoding,
    HeadName,
    ImageColumn,
    Input,
    ModelName,
    Pooling,
    RecipeName,
    ShardSize,
    TextColumn,
    ViewsName,
    aligned,
    app,
    reading,
)
from pairloom.cli.show import say, show_explanation


@app.command()
def explain(
    input: Input,
    key: Annotated[str, typer.Option("--key", "-k", help="The pair's key or source key.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write a sheet as well: .html or .png.", show_default=False)
    ] = None,
    recipe: RecipeName = "default",
    model: ModelName = None,
    pooling: Pooling = None,
    views: ViewsName = None,
    bank: Bank = None,
    head: HeadName = None,
    device: Device = None,
    shard_size: ShardSize = 10_000,
    image_column: ImageColumn = None,
    text_column: TextColumn = None,
    encoding: Encoding = "utf-8",
) -> None:
    """Show which segments of one pair's text carried the match with its image, and which view."""
    from pairloom.explain import explain as explain_pair
    from pairloom.report.page import check_sheet

    if out:
        check_sheet(out)
    chosen = aligned(recipe, model=model, pooling=pooling, views=views, bank=bank, head=head, device=device)
    found = explain_pair(input, key, chosen, reading(image_column, text_column, encoding), shard_size)
    show_explanation(found)
    if out:
        found.save(out)
        say(f"wrote {out}")
