"""`pairloom check`."""

from __future__ import annotations

import json

import typer

from pairloom.cli.app import Encoding, FetchFrom, ImageColumn, Input, Json, Limit, RecipeName, ShardSize, TextColumn, app, reading
from pairloom.cli.show import show_estimate


@app.command()
def check(
    input: Input,
    recipe: RecipeName = "default",
    shard_size: ShardSize = 10_000,
    limit: Limit = None,
    image_column: ImageColumn = None,
    text_column: TextColumn = None,
    encoding: Encoding = "utf-8",
    fetch: FetchFrom = "no",
    json_: Json = False,
) -> None:
    """Check the recipe, count the pairs of INPUT and try some of them; nothing is written."""
    from pairloom.estimate import estimate
    from pairloom.recipe import Recipe

    found = estimate(input, Recipe.load(recipe), reading(image_column, text_column, encoding, fetch), shard_size, limit)
    if json_:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False))
    else:
        show_estimate(found)
