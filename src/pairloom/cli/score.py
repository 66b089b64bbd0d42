"""`pairloom score`."""

from __future__ import annotations

import json
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
    Json,
    Limit,
    ModelName,
    Pooling,
    RecipeName,
    Sample,
    ShardSize,
    TextColumn,
    ViewsName,
    Workers,
    aligned,
    app,
    cores,
    reading,
)
from pairloom.cli.show import ProgressView, say, show_summary


@app.command()
def score(
    input: Input,
    output: Annotated[Path, typer.Option("--out", "-o", help="The Parquet file to write.")] = Path("scores.parquet"),
    recipe: RecipeName = "default",
    model: ModelName = None,
    pooling: Pooling = None,
    views: ViewsName = None,
    bank: Bank = None,
    head: HeadName = None,
    device: Device = None,
    workers: Workers = None,
    shard_size: ShardSize = 10_000,
    limit: Limit = None,
    sample: Sample = None,
    image_column: ImageColumn = None,
    text_column: TextColumn = None,
    encoding: Encoding = "utf-8",
    json_: Json = False,
) -> None:
    """Score how well image and text of each pair of INPUT fit, one row a pair; nothing is prepared."""
    from pairloom.score import score as write_scores

    with ProgressView(quiet=json_) as view:
        summary = write_scores(
            input, output, aligned(recipe, model=model, pooling=pooling, views=views, bank=bank, head=head, device=device),
            workers=workers or cores(), shard_size=shard_size, limit=limit, sample=sample,
            reading=reading(image_column, text_column, encoding), show=view,
        )  # fmt: skip
    if json_:
        typer.echo(json.dumps(summary.to_json(), ensure_ascii=False))
    else:
        show_summary(summary)
        say(f"scores {output}")
