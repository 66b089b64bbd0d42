"""`pairloom train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pairloom.choices import Fitting, Loss
from pairloom.cli.app import (
    Bank,
    Device,
    Encoding,
    ImageColumn,
    Input,
    Json,
    ModelName,
    RecipeName,
    Sample,
    TextColumn,
    ViewsName,
    Workers,
    aligned,
    app,
    cores,
    reading,
)
from pairloom.cli.show import ProgressView, say, show_epoch, show_trained


@app.command()
def train(
    input: Input,
    output: Annotated[Path, typer.Option("--out", "-o", help="Folder for the head.")] = Path("head"),
    recipe: RecipeName = "default",
    model: ModelName = None,
    views: ViewsName = None,
    bank: Bank = None,
    device: Device = None,
    loss: Annotated[Loss, typer.Option(help="infonce, or sigmoid as in SigLIP.")] = "infonce",
    epochs: Annotated[int, typer.Option(help="At most so many.", min=1)] = Fitting.epochs,
    batch: Annotated[int, typer.Option(help="Texts in a batch, each the others' negative.", min=2)] = Fitting.batch,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = Fitting.rate,
    structure: Annotated[
        float, typer.Option(help="How firmly similarities are kept as training finds them.")
    ] = Fitting.structure,
    dropout: Annotated[float, typer.Option(help="Share of an embedding's numbers that a batch doesn't see.")] = Fitting.dropout,
    validation: Annotated[float, typer.Option(help="Share of the pairs that says when to stop.")] = Fitting.validation,
    patience: Annotated[int, typer.Option(help="Stop after so many epochs without gain.", min=1)] = Fitting.patience,
    seed: Annotated[int, typer.Option(help="Draws validation and batches.", min=0)] = 0,
    sample: Sample = None,
    workers: Workers = None,
    image_column: ImageColumn = None,
    text_column: TextColumn = None,
    encoding: Encoding = "utf-8",
    restart: Annotated[bool, typer.Option(help="Begin anew instead of going on from the checkpoint.")] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write head.onnx as well, to score elsewhere.")] = False,
    json_: Json = False,
) -> None:
    """Fit the attention head on the pairs of INPUT, for `align: {head: …}`; needs the extra `torch`."""
    from pairloom.train import train as train_head

    with ProgressView(quiet=json_) as view:
        found = train_head(
            input, output, aligned(recipe, model=model, views=views, bank=bank, device=device),
            fitting=Fitting(
                loss, epochs, batch, rate, structure=structure, dropout=dropout, validation=validation, patience=patience,
                seed=seed,
            ),
            workers=workers or cores(), sample=sample, reading=reading(image_column, text_column, encoding), restart=restart,
            onnx=onnx, hear=view, show=(lambda _: None) if json_ else show_epoch,
        )  # fmt: skip
    if json_:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False))
    else:
        show_trained(found)
        say(f"wrote {output}; use it by `align: {{model: '{found.model}', head: {output}}}`")
