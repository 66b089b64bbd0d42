"""The command itself, and the options that several verbs share."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairloom import __version__
from pairloom.choices import Fetch, Kind, Views
from pairloom.cli import complete

if TYPE_CHECKING:
    from pairloom.readers.model import ReadOptions
    from pairloom.recipe import Recipe

app = typer.Typer(
    name="pairloom",
    help="Turn raw image–text pairs into training-ready pairs that are measurably better aligned.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Input = Annotated[
    list[str],
    typer.Argument(
        help="Folder of images with sidecar texts, folder with metadata.*, CSV/TSV/JSONL/Parquet, WebDataset tars; "
        "globs, {00000..00041} braces, several at once; here or behind URLs.",
        show_default=False,
    ),
]
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe",
        "-r",
        help="A shipped recipe (`pairloom init --list`) or the path of a YAML file.",
        autocompletion=complete.recipes,
    ),
]
ImageColumn = Annotated[
    str | None, typer.Option(help="Column of a table that holds image paths or bytes.", show_default="by name")
]
TextColumn = Annotated[str | None, typer.Option(help="Column of a table that holds the text or texts.", show_default="by name")]
Encoding = Annotated[str, typer.Option(help="Encoding of text files and tables, for example gb18030.")]
FetchFrom = Annotated[
    Fetch,
    typer.Option(help="Fetch images that a table gives as URLs: from public addresses only, or from any.", show_default="no"),
]
ShardSize = Annotated[int, typer.Option(help="Most pairs in a shard.", min=1)]
Limit = Annotated[int | None, typer.Option(help="Only the first N pairs.", min=1, show_default=False)]
Sample = Annotated[int | None, typer.Option(help="Only N pairs spread evenly over the input.", min=1, show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else there.")]
Workers = Annotated[
    int | None, typer.Option("--workers", "-w", help="How many to work at a time.", min=1, show_default="all cores")
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="A model as `pairloom models` lists them.",
        show_default="that of the recipe",
        autocompletion=complete.models,
    ),
]
Pooling = Annotated[Kind | None, typer.Option(help="How segments become one score.", show_default="that of the recipe")]
ViewsName = Annotated[
    Views | None,
    typer.Option(help="What is looked at: whole, long (squares along long ones), tiles.", show_default="that of the recipe"),
]
Bank = Annotated[
    str | None,
    typer.Option(help="Folder of images of your own, and a prose.txt, as the bank.", show_default="that of the recipe"),
]
HeadName = Annotated[
    str | None, typer.Option("--head", help="A head that `pairloom train` wrote.", show_default="that of the recipe")
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Where the model computes: auto, cpu, cuda, cuda:N or mps.",
        show_default="that of the recipe, or auto",
        autocompletion=complete.devices,
    ),
]


def aligned(recipe: str, **options: Any) -> Recipe:
    """A recipe whose `align` step has the options that were given on the command line."""
    from pairloom.recipe import Recipe
    from pairloom.steps.align import Align

    found = Recipe.load(recipe)
    given = {name: value for name, value in options.items() if value is not None}
    steps = tuple(dataclasses.replace(step, **given) if isinstance(step, Align) else step for step in found.steps)
    return Recipe(steps, found.select)


def cores() -> int:
    """The cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def reading(image_column: str | None, text_column: str | None, encoding: str, fetch: Fetch = "no") -> ReadOptions:
    """The reading options as given on the command line."""
    from pairloom.readers.model import ReadOptions

    return ReadOptions(image_column, text_column, encoding, fetch)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"pairloom {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass
