"""A run as one HTML page that needs nothing else: what went where and why, what the pairs are like, and some of them."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from typing import Any

from pairloom.errors import RunError
from pairloom.finished import Finished
from pairloom.remote import Place
from pairloom.report import measures
from pairloom.report.page import page, template, whole_bytes
from pairloom.report.pictures import extreme_pairs, some_pairs
from pairloom.report.rejected import rejected
from pairloom.steps.text import DetectLanguage
from pairloom.writers.parts import write_whole

_PAIRS, _EXTREMES, _FAULTS, _INPUTS, _LANGUAGES = 18, 8, 50, 12, 8


def write_report(output: str | Place) -> Place:
    """Write `report.html` below `output` from what is committed there; nothing is prepared again.

    Of a run that has not ended it tells as much as is done, and says so. It stays under 3 MB, whatever the run's size:
    charts are made of at most 20 shards, pictures of about a hundred pairs.

    Raises:
        UsageError: if there is no output of Pairloom.
        RunError: if a ledger that a manifest names can't be read.
    """
    run = Finished.read(output)
    try:
        html = page("report.html.j2", **_content(run))
    except (OSError, ValueError, LookupError) as fault:
        raise RunError(f"{output} can't be read, `pairloom verify` says more: {fault}") from None
    path = run.path / "report.html"
    write_whole(path, whole_bytes(html))
    return path


def make_ready() -> None:
    """Load what `write_report` takes time to load, for whoever has some to spare before; it raises nothing."""
    with suppress(Exception):
        template("report.html.j2")
        DetectLanguage().text("")


def _content(run: Finished) -> dict[str, Any]:
    """All that the template shows."""
    recipe, summary, lost = run.plan["recipe"], run.summary(), rejected(run)
    values = measures.read_values(run, recipe)
    told, guessed = measures.languages(run)
    return {
        "run": run,
        "summary": summary,
        "name": run.path.resolve().name,
        "planned": len(run.planned),
        "faults": summary.faults[:_FAULTS],
        "lost": lost,
        "charts": measures.charts(values, measures.dropped_values(lost.messages), recipe),
        "numbers": measures.numbers(values),
        "languages": _commonest(told),
        "languages_guessed": guessed,
        "heaviest": measures.heaviest(values, run),
        "extremes": extreme_pairs(run, _EXTREMES),
        "pairs": some_pairs(run, _PAIRS),
        "recipe": _recipe(run),
        "inputs": run.plan["containers"][:_INPUTS],
        "workers": sorted({one["workers"] for one in run.runs if one["workers"]}),  # on Ray there may be any number
        "pythons": sorted({run["python"] for run in run.runs}),
    }


def _commonest(counts: Counter[str]) -> list[tuple[str, int]]:
    """The commonest languages, and all others as one."""
    first = counts.most_common(_LANGUAGES)
    others = counts.total() - sum(count for _, count in first)
    return [*first, ("others", others)] if others else first


def _recipe(run: Finished) -> str:
    try:
        return (run.path / "recipe.yaml").read_text("utf-8")
    except OSError:  # it is in the plan as well
        return json.dumps(run.plan["recipe"], indent=1, ensure_ascii=False)
