"""A whole run: plan the input, do what is not done yet, select, and say what happened."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pairloom import readers
from pairloom.engines import opened
from pairloom.engines.ray import Ray
from pairloom.errors import RunError, TooManyRejects, UsageError
from pairloom.output import Output, compile_manifest, locked
from pairloom.readers.model import Plan, ReadOptions, shown
from pairloom.recipe import Recipe
from pairloom.remote import Place, Remote, located
from pairloom.report import write_report
from pairloom.run import Job, Outcome
from pairloom.select import publish
from pairloom.stats import Stats, StepCount, Summary
from pairloom.sums import write_sums
from pairloom.writers.parts import write_json
from pairloom.writers.shard import FORMATS

_ENOUGH = 200  # pairs before the share of failures says anything


@dataclass(slots=True)
class Progress:
    """How far a run is, for whoever shows it: pairs planned, read, kept and rejected so far; raises on too many failures."""

    pairs: int
    max_reject: float
    show: Callable[[Progress], None] | None = None
    _shards: dict[int, Sequence[StepCount]] = field(default_factory=dict)

    @property
    def summary(self) -> Summary:
        """All counts so far, as of a run that ended now."""
        return Summary.of("", (Stats(shard, list(counts)) for shard, counts in self._shards.items()), 0.0)

    def hear(self, shard: int, counts: Sequence[StepCount]) -> None:
        """Take in the counts of a shard, finished or not."""
        self._shards[shard] = counts
        summary = self.summary
        self.check(summary, _ENOUGH)
        if self.show:
            self.show(self)

    def check(self, summary: Summary, enough: int = 1) -> None:
        """Raise `TooManyRejects` if more than the allowed share of at least `enough` pairs failed."""
        failed = sum(step.failures for step in summary.steps)
        if summary.pairs_in < enough or failed <= self.max_reject * summary.pairs_in:
            return
        worst = max(summary.steps, key=lambda step: step.failures)
        reasons = ", ".join(f"{code} {count}" for code, count in worst.reasons.most_common(3))
        raise TooManyRejects(
            f"{failed} of {summary.pairs_in} pairs failed, most in `{worst.name}` ({reasons}). "
            f"Look into rejects/, or allow it with --max-reject {min(1.0, failed / summary.pairs_in + 0.05):.2f}."
        )


def run(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    recipe: str | Recipe = "default",
    *,
    workers: int | None = None,
    engine: str | Ray = "local",
    format: str = "webdataset",
    shard_size: int = 10_000,
    limit: int | None = None,
    sample: int | None = None,
    reading: ReadOptions | None = None,
    max_reject: float = 0.5,
    restart: bool = False,
    extend: bool = False,
    show: Callable[[Progress], None] | None = None,
) -> Summary:
    """Prepare all pairs of `inputs` (folders, tables, WebDataset tars, globs) by `recipe` into shards below `output`.

    Running the same again goes on where it was interrupted. The result is the same with any number of `workers` and with any
    `engine`: `local` has by default one worker, and more than one starts processes, which needs the usual
    `if __name__ == "__main__":` guard in a script; `ray`, or a `Ray` with options, has as many as its cluster has room for.

    Raises:
        RecipeError, UsageError: if it can't work as asked; nothing was written.
        RunError: if shards stayed undone, or more than `max_reject` of the pairs failed; running again goes on.
        Interrupted: after Ctrl-C.
    """
    start = time.perf_counter()
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    reading = reading or ReadOptions()
    _check(format, shard_size, workers, max_reject, extend, limit or sample)
    settings = {"format": format, "shard_size": shard_size, "limit": limit, "sample": sample, **dataclasses.asdict(reading)}
    made = place_of(inputs, located(output), recipe, settings)
    plan = made.plan
    _shared(made.path, workers, engine)
    with opened(engine) as execute, locked(made.path) as still_ours:
        made.begin(restart, extend)
        done = made.done()
        todo = [shard for shard in plan.shards if shard.index not in done]
        progress = Progress(sum(shard.rows for shard in plan.shards), max_reject, show)
        for index, stats in done.items():
            progress.hear(index, stats.steps)

        def hear(shard: int, counts: Sequence[StepCount]) -> None:
            still_ours()
            progress.hear(shard, counts)

        job = Job(recipe.staged(), made.root, shard_size, format, reading)
        failed = _take_in(execute(job, todo, workers, hear), progress, done)
        still_ours()
        if not failed and recipe.select:
            done = publish(made.root, made.path, recipe, format, list(done.values()))
        summary = Summary.of(
            shown(str(made.path)),
            (done[index] for index in sorted(done)),
            time.perf_counter() - start,
            len(plan.shards) - len(todo),
        )
        _record(made.path, summary, {"engine": str(engine), "workers": workers or (1 if engine == "local" else None)}, failed)
        if failed:
            raise RunError(_failures(failed))
        made.tidy()  # a worker that died in a run that went on without it
        compile_manifest(made.path, (done[index] for index in sorted(done)), format)
        write_report(made.path)
        write_sums(made.path, sorted(done))
        progress.check(summary)
    return summary


def place_of(inputs: str | Path | Sequence[str | Path], output: Place, recipe: Recipe, settings: dict[str, Any]) -> Output:
    """The output of a run with these settings, as a plan records them; nothing is written."""
    plan = plan_of(inputs, reading_of(settings), *(settings[name] for name in ("shard_size", "limit", "sample")))
    _apart(plan, output)
    return Output(output, plan, recipe, settings)


def reading_of(settings: dict[str, Any]) -> ReadOptions:
    """The reading options among the settings."""
    return ReadOptions(**{one.name: settings[one.name] for one in dataclasses.fields(ReadOptions)})


def plan_of(
    inputs: str | Path | Sequence[str | Path], reading: ReadOptions, shard_size: int, limit: int | None, sample: int | None
) -> Plan:
    """Find the pairs of an input and cut them into shards."""
    try:
        "".encode(reading.encoding)
    except (LookupError, ValueError):
        raise UsageError(
            f"there is no text encoding {reading.encoding!r}; usual ones are utf-8, gb18030, big5, latin-1"
        ) from None
    names = [str(inputs)] if isinstance(inputs, str | Path) else [str(one) for one in inputs]
    return readers.plan(names, reading, shard_size=shard_size, limit=limit, sample=sample)


def _take_in(running: Iterator[Outcome], progress: Progress, done: dict[int, Stats]) -> list[Outcome]:
    failed: list[Outcome] = []
    with closing(running) as outcomes:  # type: ignore[type-var]
        for outcome in outcomes:
            if outcome.stats is not None:
                done[outcome.shard] = outcome.stats
                progress.hear(outcome.shard, outcome.stats.steps)
                continue
            failed.append(outcome)
            if outcome.fatal:
                break
    return failed


def _failures(failed: list[Outcome]) -> str:
    lines = "\n".join(f"  shard {outcome.shard}: {outcome.fault}" for outcome in failed[:10])
    more = f"\n  and {len(failed) - 10} more" if len(failed) > 10 else ""
    count = "1 shard" if len(failed) == 1 else f"{len(failed)} shards"
    return f"{count} stayed undone:\n{lines}{more}\nDone shards are kept; mend the cause and run the same again."


def _record(path: Place, summary: Summary, how: dict[str, Any], failed: list[Outcome]) -> None:
    """Keep what differs from run to run (times, host, faults) apart from what is digested."""
    about = {"host": platform.node(), "python": platform.python_version(), **how, **summary.to_json()}
    about["failed"] = [dataclasses.asdict(outcome) for outcome in failed]
    write_json(path / "runs" / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.json", about)


def _check(format: str, shard_size: int, workers: int | None, max_reject: float, extend: bool, part: int | None) -> None:
    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}; choose one of {', '.join(FORMATS)}")
    if shard_size < 1 or (workers or 1) < 1 or not 0 <= max_reject <= 1:
        raise UsageError("--shard-size and --workers must be at least 1, --max-reject between 0 and 1")
    if extend and part:
        raise UsageError("--extend goes on with the whole input: leave out --limit and --sample")


def _shared(output: Place, workers: int | None, engine: str | Ray) -> None:
    """Whether all who work see the same place."""
    if isinstance(output, Remote) and output.url.startswith("memory://") and ((workers or 1) > 1 or engine != "local"):
        raise UsageError("memory:// is the memory of one process: work with one worker")


def _apart(plan: Plan, output: Place) -> None:
    """Writing into the folder that is read would feed the output back into the next run, and a restart delete the input."""
    if isinstance(output, Remote):
        for container in plan.containers:
            if container.name.startswith(f"{output.url}/"):
                raise UsageError(f"the input {shown(container.name)} lies inside {output}; choose another place to write to")
        return
    place = output.resolve()
    for container in plan.containers:
        source = Path(container.name.removeprefix("file://")).resolve()
        if container.kind == "folder" and (source == place or source in place.parents):
            raise UsageError(f"{output} lies inside the input {container.name}; choose a folder beside it")
        if place in source.parents and source.exists():
            raise UsageError(f"the input {container.name} lies inside {output}; choose another folder to write to")
