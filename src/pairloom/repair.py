"""Mending an output: the shards that fail `verify` are made again from the input, the others stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pairloom import pipeline
from pairloom.engines.ray import Ray
from pairloom.errors import RunError, UsageError
from pairloom.output import PLAN, locked, read_plan
from pairloom.progress import Progress
from pairloom.recipe import Recipe
from pairloom.remote import located
from pairloom.stats import Summary
from pairloom.verify import examine


def repair(
    output: str | Path,
    *,
    workers: int | None = None,
    engine: str | Ray = "local",
    say: Callable[[str], None] = lambda fault: None,
    show: Callable[[Progress], None] | None = None,
) -> Summary:
    """Make again the shards of `output` that `verify` finds fault with; `say` hears every fault.

    The input must be what it was, under the same names: call it in the folder in which the run was started, if they are
    relative. Files that don't belong to the output are told of and left alone.

    Raises:
        UsageError: if it is no output of `run`, or the input, the recipe or the versions are not those it was made with;
            nothing was changed.
        RunError: if the plan itself is damaged, or shards stayed undone.
        Interrupted: after Ctrl-C; calling it again goes on.
    """
    path = located(output)
    faults = examine(path)
    for fault in faults:
        say(str(fault))
    if any(fault.file == PLAN for fault in faults):
        raise RunError(f"{path / PLAN} is damaged, which says what the output was made from; run the same `pairloom run` again")
    plan = read_plan(path) or {}
    settings = plan["settings"]
    if "scores" in settings:
        raise UsageError(f"{path} is a selection: make it anew with `pairloom select`")
    inputs, recipe = [one["name"] for one in plan["containers"]], Recipe.from_literal(plan["recipe"])
    made = pipeline.place_of(inputs, path, recipe, settings)
    with locked(path):
        made = made.begin()
        if faults:
            made.claim()
        made.discard({fault.shard for fault in faults if fault.shard is not None})
    same = {name: settings[name] for name in ("format", "shard_size", "limit", "sample")}
    reading = pipeline.reading_of(settings)
    return pipeline.run(
        inputs, output, recipe, **same, reading=reading, workers=workers, engine=engine, max_reject=1.0, show=show
    )
