"""What people see in a terminal: results on standard output, all else on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import wrap
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pairloom.errors import Interrupted

if TYPE_CHECKING:
    from pairloom.compare.result import Comparison
    from pairloom.doctor import Finding
    from pairloom.estimate import Estimate
    from pairloom.explain import Explanation
    from pairloom.progress import Progress as RunProgress
    from pairloom.stats import Summary
    from pairloom.train import Epoch, Trained

_errors = Console(stderr=True, highlight=False)
_results = Console(highlight=False, width=None if sys.stdout.isatty() else 140)  # a file has room for whole tables
_PLAIN_SECONDS = 5.0
_INPUTS = 10  # of more the terminal shows no more; --json has all
_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


def complain(message: str) -> None:
    """Say what went wrong."""
    _errors.print(f"[bold red]pairloom:[/] {escape(message)}", soft_wrap=True)


def say(message: str) -> None:
    """Say something to the person at the terminal."""
    _errors.print(escape(message), soft_wrap=True)


class ProgressView:
    """A bar on a terminal, else a plain line every few seconds."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet, self._start, self._last = quiet, time.monotonic(), 0.0
        self._first: int | None = None
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=_errors, transient=True, disable=quiet or not _errors.is_terminal)
        self._task = self._bar.add_task("pairs", total=None, said="")

    def __call__(self, progress: RunProgress) -> None:
        """Show how far the run is."""
        summary, seconds = progress.summary, time.monotonic() - self._start
        done = summary.pairs_in
        self._first = done if self._first is None else min(self._first, done)  # a shard that is begun again goes back
        speed = (done - self._first) / max(seconds, 1e-9)
        said = f"{speed:,.0f}/s  kept {summary.pairs_out:,}  rejected {summary.pairs_rejected:,}"
        self._bar.update(self._task, total=progress.pairs, completed=done, said=said)
        if not self._quiet and not _errors.is_terminal and seconds - self._last >= _PLAIN_SECONDS:
            self._last = seconds
            left = f"{(progress.pairs - done) / speed:,.0f} s left" if speed else ""
            _errors.print(f"{done:,} of {progress.pairs:,} pairs  {said}  {left}")

    def __enter__(self) -> ProgressView:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()


@contextmanager
def resumable(output: str) -> Iterator[None]:
    """Ctrl-C in here says how to go on."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        raise Interrupted(f"stopped; done shards are kept in {output}. Run the same command again to go on.") from None


def show_run(summary: Summary, json_: bool) -> None:
    """What a run did, as one JSON object or as a table with the places of its results."""
    if json_:
        print(json.dumps(summary.to_json(), ensure_ascii=False))
    else:
        show_summary(summary)
        show_places(summary)


def show_summary(summary: Summary) -> None:
    """A table of steps, and where everything is."""
    table = Table("step", title="", box=None, pad_edge=False)
    for title in ("in", "out", "seconds"):
        table.add_column(title, justify="right")
    table.add_column("rejected because")
    for step in summary.steps:
        reasons = _reasons(step.reasons)
        seconds = f"{step.seconds:,.1f}" if step.seconds else ""
        table.add_row(step.name, f"{step.pairs_in:,}", f"{step.pairs_out:,}", seconds, reasons)
    _errors.print(table)
    for fault in summary.faults:
        where = f"{escape(fault.source)} at {fault.offset}: {escape(fault.code)} ({escape(fault.message)})"
        _errors.print(f"[yellow]input fault[/] {where}; {fault.pairs_before:,} pairs before it were read", soft_wrap=True)
    resumed = f", {summary.resumed} of them from before" if summary.resumed else ""
    shards = _counted(summary.shards, "shard")
    _errors.print(
        f"\n[bold]{summary.pairs_in:,} pairs in = {summary.pairs_out:,} ready + {summary.pairs_rejected:,} rejected[/]  "
        f"({shards}{resumed}, {summary.seconds:,.1f} s)"
    )


def show_places(summary: Summary) -> None:
    """Where the shards and the report of a run are."""
    _errors.print(f"shards {escape(summary.output)}   report {escape(summary.output)}/report.html", soft_wrap=True)


def show_estimate(found: Estimate, workers: int, core_hour: float | None, gb_month: float | None) -> None:
    """What `check` found."""
    from pairloom.doctor.finding import size

    for one in found.inputs[:_INPUTS]:
        say(str(one))
    say(f"… and {len(found.inputs) - _INPUTS} more\n" if len(found.inputs) > _INPUTS else "")
    _errors.print(
        f"{_counted(found.pairs, 'pair')} in {_counted(len(found.containers), 'container')}, {_counted(found.shards, 'shard')}"
    )
    for fault in found.faults:
        _errors.print(f"[yellow]input fault[/] {escape(fault.source)} at {fault.offset}: {escape(fault.message)}", soft_wrap=True)
    tried = found.tried
    _errors.print(
        f"tried {tried.pairs_in:,}: {tried.pairs_out:,} ready, {tried.pairs_rejected:,} rejected {_reasons(tried.reasons)}"
    )
    few, most = found.texts
    texts = _counted(most, "text") if few == most else f"{few} to {most} texts"
    say(f"{texts} a pair" + (f"; kept beside them, in `extra`: {', '.join(found.extra)}" if found.extra else ""))
    _errors.print(
        f"about {_size(found.bytes_out)} of output and {_duration(found.seconds)} of work, with "
        f"{_counted(workers, 'worker')} at best {_duration(found.planning + found.seconds / workers)}"
    )
    _errors.print(f"{size(found.memory)} of memory a worker, going by what the pairs tried took here")
    compute, storage = found.cost(core_hour or 0, gb_month or 0)
    costs = [f"{compute:,.3g} for the cores"] if core_hour is not None else []
    costs += [f"{storage:,.3g} a month for the output"] if gb_month is not None else []
    if costs:
        _errors.print(f"cost: {', '.join(costs)}")
    _errors.print("nothing was written")


def _size(count: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"


def _duration(seconds: float) -> str:
    for length, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.1f} s"


def show_comparison(found: Comparison) -> None:
    """A table of policies, each against the first."""
    table = Table("policy", box=None, pad_edge=False)
    for title in ("10-way %", "95 %", "difference", "95 %", "p", "errors cut", "hard 10-way %", "t→i R@1 %", "text lost %"):
        table.add_column(title, justify="right", no_wrap="95" in title)
    for name, one in {**found.policies, **found.controls}.items():
        m, d = one.metrics, found.against_first.get(name, {}).get("match10")
        against = ("", "", "", "")
        if d:
            p = "<0.001" if d.p_value < 0.001 else f"{d.p_value:.3f}"
            against = (f"{d.difference:+.1%}"[:-1], f"{d.low * 100:+.1f} to {d.high * 100:+.1f}", p, f"{d.error_reduction:.0%}")
        own = m["match10"]
        values = (f"{own.value * 100:.1f}", f"{own.low * 100:.1f}–{own.high * 100:.1f}", *against)
        rest = (m["match10_hard"], m["t2i_r1"], one.text_lost)
        style = None if name in found.policies else "dim"
        table.add_row(escape(name), *values, *(f"{each.value * 100:.1f}" for each in rest), style=style)
    _results.print(table)
    head = f" with a {found.head} head" if found.head else ""
    left = ", ".join(f"{name} {count}" for name, count in found.left_out.items() if count)
    rejected = f"; not {'learnt from' if found.test else 'compared'} because rejected: {left}" if left else ""
    tested = f", measured on what {escape(found.test)} makes" if found.test else ""
    _results.print(
        f"{found.gallery:,} pairs in {found.groups:,} groups, regime {found.regime}{head}{tested}, "
        f"model {escape(found.model)}; p corrected for {found.comparisons} comparisons{rejected}",
        soft_wrap=True,
    )


def show_epoch(epoch: Epoch) -> None:
    """What an epoch of training came to."""
    loss = "untrained  " if epoch.loss is None else f"loss {epoch.loss:6.3f}"
    found = f"validation: reciprocal rank {epoch.reciprocal_rank:.3f}, R@1 {epoch.recall * 100:.1f} %"
    say(f"epoch {epoch.number:3}  {loss}  {found}{'  best' if epoch.best else ''}")


def show_trained(found: Trained) -> None:
    """What training came to."""
    first, best = found.epochs[0], found.best
    say(f"{_counted(found.images, 'image')}, {_counted(found.texts, 'text')} in {_counted(found.groups, 'group')} of duplicates")
    if not best.number:
        say("nothing learnt was better on validation than untrained attention: the head is where it began")
    else:
        was, now = first.reciprocal_rank, best.reciprocal_rank
        say(f"epoch {best.number} is the best: reciprocal rank on validation {now:.3f}, untrained {was:.3f}")


def show_explanation(found: Explanation) -> None:
    """One pair: its text with the weight of each segment, and its views."""
    _results.print(f"[bold]{escape(found.source_key)}[/]  alignment {found.alignment:.3f}  similarity {found.similarity:.3f}")
    table = Table("", "weight", "score", "segment", box=None, pad_edge=False)
    for part in found.parts:
        if part.weight is not None:
            score = "" if part.score is None else f"{part.score:.3f}"
            bar = "█" * round(part.weight * 20)
            table.add_row(f"[blue]{bar}[/]", f"{part.weight:.0%}", score, escape(part.text), style="bold" if part.best else None)
    _results.print(table)
    for number, view in enumerate(found.views):
        box = ", ".join(f"{side:.0f}" for side in view.box)
        what = f"view {number} ({box})" if number else "whole image"
        _results.print(f"{what}: {view.score:.3f}{'  best' if view.best and len(found.views) > 1 else ''}")


def show_findings(findings: list[Finding]) -> None:
    """What `doctor` found; the lines to type stand alone, unbroken, so that they can be copied."""
    column = max(len(one.what) for one in findings) + 11
    for one in findings:
        level = f"[{_STYLES[one.level]}]{one.level:8}[/] {one.what}"
        lines = wrap(one.said, max(40, _results.width - column)) or [""]
        pad = " " * (column - 9 - len(one.what))
        _results.print(f"{level}{pad}" + f"\n{' ' * column}".join(map(escape, lines)), soft_wrap=True)
        if one.fix:
            _results.print(f"{' ' * column}[bold]{escape(one.fix)}[/]", soft_wrap=True)
    counts = Counter(one.level for one in findings)
    _results.print(f"\n{_counted(counts['problem'], 'problem')}, {_counted(counts['note'], 'note')}")


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _reasons(reasons: Counter[str]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in reasons.most_common(5))
