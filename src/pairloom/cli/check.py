"""`pairloom check`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pairloom.cli.app import (
    Encoding,
    FetchFrom,
    ImageColumn,
    Input,
    Json,
    Limit,
    RecipeName,
    ShardSize,
    TextColumn,
    Workers,
    app,
    cores,
    reading,
)
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
    workers: Workers = None,
    core_hour: Annotated[float | None, typer.Option(help="Price of one core for an hour.", min=0, show_default=False)] = None,
    gb_month: Annotated[
        float | None, typer.Option(help="Price of a gigabyte kept for a month.", min=0, show_default=False)
    ] = None,
    json_: Json = False,
) -> None:
    """Check the recipe, count the pairs of INPUT and try some of them; nothing is written."""
    from pairloom.estimate import estimate
    from pairloom.recipe import Recipe

    found = estimate(input, Recipe.load(recipe), reading(image_column, text_column, encoding, fetch), shard_size, limit)
    if json_:
        compute, storage = found.cost(core_hour or 0, gb_month or 0)
        cost = {"compute": None if core_hour is None else compute, "storage_month": None if gb_month is None else storage}
        typer.echo(json.dumps({**found.to_json(), "cost": cost}, ensure_ascii=False))
    else:
        show_estimate(found, workers or cores(), core_hour, gb_month)
