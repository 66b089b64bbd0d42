"""`pairloom run`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Annotated, Literal

import typer

from pairloom.cli import complete
from pairloom.cli.app import (
    Encoding,
    FetchFrom,
    ImageColumn,
    Input,
    Json,
    Limit,
    RecipeName,
    Sample,
    ShardSize,
    TextColumn,
    Workers,
    app,
    cores,
    reading,
)
from pairloom.cli.show import ProgressView, complain, resumable, show_run
from pairloom.errors import UsageError

EngineName = Literal["local", "ray"]


@app.command()
def run(
    input: Input,
    output: Annotated[str, typer.Argument(help="Folder or URL (s3://…) for the shards; made if need be.", show_default=False)],
    recipe: RecipeName = "default",
    workers: Workers = None,
    engine: Annotated[EngineName, typer.Option(help="Where it runs: local (this machine) or ray (a Ray cluster).")] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster: auto, HOST:PORT or ray://HOST:10001.", show_default="this machine's, or a new one"),
    ] = None,
    cpus_per_task: Annotated[int, typer.Option(help="CPUs, and threads, for one shard at a time on Ray.", min=1)] = 1,
    gpus_per_task: Annotated[float, typer.Option(help="GPUs for one shard at a time on Ray, whole or a share.", min=0)] = 0,
    format: Annotated[
        str, typer.Option(help="webdataset or parquet (Hugging Face Image column).", autocompletion=complete.formats)
    ] = "webdataset",
    shard_size: ShardSize = 10_000,
    limit: Limit = None,
    sample: Sample = None,
    image_column: ImageColumn = None,
    text_column: TextColumn = None,
    encoding: Encoding = "utf-8",
    fetch: FetchFrom = "no",
    max_reject: Annotated[
        float, typer.Option(help="Stop when more than this share of pairs fails; filters don't count.", min=0, max=1)
    ] = 0.5,
    pair_timeout: Annotated[
        float | None,
        typer.Option(help="Seconds for one pair at one step; one that takes longer is rejected.", show_default="none"),
    ] = None,
    worker_memory: Annotated[
        float | None, typer.Option(help="GiB for one worker; a pair that takes it over that is rejected.", show_default="none")
    ] = None,
    allow_input_faults: Annotated[bool, typer.Option(help="Exit with 0 though parts of the input could not be read.")] = False,
    restart: Annotated[bool, typer.Option(help="Delete what an earlier run left in OUTPUT and begin anew.")] = False,
    extend: Annotated[bool, typer.Option(help="INPUT has grown: add the new files to OUTPUT.")] = False,
    retry_rejects: Annotated[
        bool, typer.Option(help="Try again, in new shards, what was rejected for reasons that may pass.")
    ] = False,
    json_: Json = False,
) -> None:
    """Prepare the pairs of INPUT into shards in OUTPUT. Run the same again to go on after a stop."""
    workers = workers or (cores() if engine == "local" else None)
    if (workers or 1) > 1:
        from pairloom.child import make_ready

        make_ready()  # first, so that it loads beside what is loaded here
    from pairloom import pipeline
    from pairloom.engines.ray import Ray
    from pairloom.process import set_up
    from pairloom.recipe import Recipe

    cluster = Ray(address, cpus_per_task, gpus_per_task)
    if engine == "local" and cluster != Ray():
        raise UsageError("--address, --cpus-per-task and --gpus-per-task are for --engine ray")
    line = Recipe.load(recipe)
    set_up(line.steps)
    # Ray prints what it notices
    with resumable(output), redirect_stdout(sys.stderr), ProgressView(quiet=json_) as view:
        summary = pipeline.run(
            input, output, line,
            workers=workers,
            engine="local" if engine == "local" else cluster,
            format=format, shard_size=shard_size, limit=limit, sample=sample,
            reading=reading(image_column, text_column, encoding, fetch),
            max_reject=max_reject, pair_timeout=pair_timeout, worker_memory=worker_memory,
            restart=restart, extend=extend, retry_rejects=retry_rejects, show=view,
        )  # fmt: skip
    show_run(summary, json_)
    if summary.faults and not allow_input_faults:
        complain("parts of the input could not be read (see above); all else is committed. --allow-input-faults accepts that.")
        raise typer.Exit(1)
