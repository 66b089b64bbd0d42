"""The command itself, and the options that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

from pairloom import __version__
from pairloom.readers.model import ReadOptions

app = typer.Typer(
    name="pairloom",
    help="Turn raw image–text pairs into training-ready pairs that are measurably better aligned.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Input = Annotated[
    list[str],
    typer.Argument(
        help="Folder of images with sidecar texts, folder with metadata.*, CSV/TSV/JSONL/Parquet, WebDataset tars; "
        "globs, {00000..00041} braces, several at once.",
        show_default=False,
    ),
]
RecipeName = Annotated[
    str, typer.Option("--recipe", "-r", help="A shipped recipe (`pairloom init --list`) or the path of a YAML file.")
]
ImageColumn = Annotated[
    str | None, typer.Option(help="Column of a table that holds image paths or bytes.", show_default="by name")
]
TextColumn = Annotated[str | None, typer.Option(help="Column of a table that holds the text or texts.", show_default="by name")]
Encoding = Annotated[str, typer.Option(help="Encoding of text files and tables, for example gb18030.")]
ShardSize = Annotated[int, typer.Option(help="Most pairs in a shard.", min=1)]
Limit = Annotated[int | None, typer.Option(help="Only the first N pairs.", min=1, show_default=False)]
Sample = Annotated[int | None, typer.Option(help="Only N pairs spread evenly over the input.", min=1, show_default=False)]
Device = Annotated[str, typer.Option(help="Where the model computes: auto, cpu, cuda, cuda:N or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else there.")]


def reading(image_column: str | None, text_column: str | None, encoding: str) -> ReadOptions:
    """The reading options as given on the command line."""
    return ReadOptions(image_column, text_column, encoding)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"pairloom {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass
