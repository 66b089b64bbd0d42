"""`pairloom compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pairloom.choices import Heads, Regime
from pairloom.cli import complete
from pairloom.cli.app import Device, Encoding, ImageColumn, Input, Json, Sample, TextColumn, Workers, app, cores, reading
from pairloom.cli.show import say, show_comparison


@app.command()
def compare(
    input: Input,
    policy: Annotated[
        list[str],
        typer.Option(
            "--policy",
            "-p",
            help="Recipe by name or file, once for each.",
            show_default=False,
            autocompletion=complete.recipes,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("comparison"),
    model: Annotated[
        str, typer.Option("--model", "-m", help="A model as `pairloom models` lists them.", autocompletion=complete.models)
    ] = "mini",
    regime: Annotated[Regime, typer.Option(help="fixed: the model as it is; refit: a head for each policy.")] = "fixed",
    head: Annotated[Heads, typer.Option(help="What refit fits: a closed form, or the attention head of `train`.")] = "closed",
    test: Annotated[
        str | None,
        typer.Option(
            help="With refit: measure all heads on what this recipe makes; the policies prepare what they learn from.",
            show_default=False,
            autocompletion=complete.recipes,
        ),
    ] = None,
    sample: Sample = None,
    seed: Annotated[int, typer.Option(help="Draws rivals and splits.")] = 0,
    controls: Annotated[bool, typer.Option(help="Measure chance, shuffled pairs, blank images and shuffled tiles, too.")] = False,
    device: Device = None,
    workers: Workers = None,
    image_column: ImageColumn = None,
    text_column: TextColumn = None,
    encoding: Encoding = "utf-8",
    json_: Json = False,
) -> None:
    """Compare whole preprocessing policies on the pairs of INPUT: which one helps text and image find each other."""
    from pairloom.compare import compare as compare_policies

    found = compare_policies(
        input, policy, out,
        model=model, regime=regime, head=head, test=test, sample=sample, seed=seed, controls=controls, device=device or "auto",
        workers=workers or cores(), reading=reading(image_column, text_column, encoding), say=(lambda _: None) if json_ else say,
    )  # fmt: skip
    if json_:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False))
    else:
        show_comparison(found)
        say(f"wrote {out}/comparison.html, comparison.json and queries.parquet")
