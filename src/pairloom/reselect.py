"""Selecting anew: other thresholds, or a user's own scores, over pairs that are prepared already."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from pairloom.errors import Problem, RecipeError, RunError, UsageError
from pairloom.output import PLAN, STAGED, SUMS, compile_manifest, locked, read_plan
from pairloom.readers.model import Plan, shown
from pairloom.recipe import Recipe, not_numbers
from pairloom.remote import Place, located
from pairloom.report import write_report
from pairloom.select import publish
from pairloom.stats import Summary
from pairloom.step import Selection
from pairloom.sums import write_sums
from pairloom.writers.parts import remove_leftovers, write_json, write_whole
from pairloom.writers.shard import all_committed

_SCORES = "scores"  # among the settings of a plan: it is that of a selection


def reselect(source: str | Path, target: str | Path, recipe: str | None = None, scores: str | Path | None = None) -> Summary:
    """Publish below `target` what the `select:` of `recipe` keeps of the pairs that a run prepared in `source`.

    `scores` is a Parquet or CSV table with a `key` column, whose other columns a selection may read.

    Raises:
        UsageError, RecipeError: if it can't work as asked; nothing was written.
        RunError: if `source` is not complete.
    """
    start = time.perf_counter()
    output, new = located(source), located(target)
    plan = read_plan(output)
    if plan is None:
        raise UsageError(f"{output} is no output of Pairloom: it holds no {PLAN}")
    if _SCORES in plan["settings"]:
        raise UsageError(f"{output} is a selection itself; select from the folder that `run` wrote")
    made = Recipe.from_yaml(json.dumps(plan["recipe"]), f"{output}/{PLAN}")
    staged = output / STAGED if (output / STAGED).is_dir() else output
    select = Recipe.selection(recipe) if recipe else made.select
    table = _scores(Path(scores)) if scores else None
    _readable(select, made.columns() | ({field.name: field.type for field in table.schema} if table is not None else {}))
    shards = range(len(plan["shards"]))
    if sum(1 for _ in all_committed(staged, made.staged().fingerprint(), len(shards))) < len(shards):
        raise RunError(f"{output} is not complete, or was made with other versions of the libraries: run it to its end first")
    chosen = Recipe.unchecked(made.steps, select)
    with locked(new):
        _begin(new, plan | {"recipe": chosen.to_literal(), "settings": plan["settings"] | {_SCORES: _digest(scores)}})
        write_whole(new / "recipe.yaml", chosen.to_yaml().encode())
        done = publish(staged, new, chosen, plan["settings"]["format"], shards, table)
        summary = Summary.of(shown(str(new)), done, 0.0, again=Plan.from_json(plan).again)
        compile_manifest(new, shards, plan["settings"]["format"])
        write_report(new)
        write_sums(new, shards)
    return replace(summary, seconds=time.perf_counter() - start)


def _begin(new: Place, said: dict[str, Any]) -> None:
    known = read_plan(new)
    if known is not None and known != said:
        raise UsageError(f"{new} holds another selection; choose a new folder")
    remove_leftovers(new)
    (new / SUMS).unlink(missing_ok=True)
    write_json(new / PLAN, said)


def _readable(select: Sequence[Selection], columns: dict[str, pa.DataType]) -> None:
    problems = []
    for number, one in enumerate(select):
        faults = [f"reads `{name}`, which neither the ledger nor --scores has" for name in one.reads if name not in columns]
        problems += [Problem(f"select[{number}].{one.name}", text) for text in [*faults, *not_numbers(one, columns)]]
    if problems:
        raise RecipeError(problems)


def _scores(path: Path) -> pa.Table:
    try:
        table = pc.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    except (OSError, pa.ArrowException) as fault:
        raise UsageError(f"{path} is not a Parquet or CSV table: {fault}") from None
    if "key" not in table.column_names:
        raise UsageError(f"{path} has no column `key`; there are {', '.join(table.column_names)}")
    if pa.types.is_integer(table["key"].type):
        raise UsageError(f"the keys in {path} are numbers; store them as text, with their leading zeros")
    return table


def _digest(path: str | Path | None) -> str | None:
    return None if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()
