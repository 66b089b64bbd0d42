"""A whole run: plan the input, do what is not done yet, select, and say what happened."""

from __future__ import annotations

import dataclasses
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pairloom import readers
from pairloom.crumbs import forget
from pairloom.engines import opened
from pairloom.engines.ray import Ray
from pairloom.errors import RunError, UsageError
from pairloom.limits import Limits
from pairloom.outcome import Outcome
from pairloom.output import RUNS, Output, compile_manifest, locked
from pairloom.process import give_back
from pairloom.progress import Progress
from pairloom.readers.model import Plan, ReadOptions, shown
from pairloom.recipe import Recipe
from pairloom.remote import Place, Remote, located
from pairloom.report import make_ready as make_report_ready
from pairloom.report import write_report
from pairloom.retry import with_retries
from pairloom.run import Job
from pairloom.select import publish
from pairloom.stats import Stats, StepCount, Summary
from pairloom.sums import sums_agree, write_sums
from pairloom.writers.parts import write_json
from pairloom.writers.shard import FORMATS, all_committed

_PLUGINS = "plugins"  # among the settings: the versions of the packages that read the input, if any do


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
    pair_timeout: float | None = None,
    worker_memory: float | None = None,
    restart: bool = False,
    extend: bool = False,
    retry_rejects: bool = False,
    show: Callable[[Progress], None] | None = None,
) -> Summary:
    """Prepare all pairs of `inputs` (folders, tables, WebDataset tars, globs) by `recipe` into shards below `output`.

    Running the same again goes on where it was interrupted. The result is the same with any number of `workers` and with any
    `engine`: `local` has by default one worker, and more than one starts processes, which needs the usual
    `if __name__ == "__main__":` guard in a script; `ray`, or a `Ray` with options, has as many as its cluster has room for.

    A pair that takes more than `pair_timeout` seconds at one step, drives a worker over `worker_memory` GiB or ends its process
    in another way is found out, rejected and remembered. With either limit one worker is a process, too.

    `retry_rejects` tries again, in new shards, the pairs of a finished output that were rejected for reasons that may pass.

    Raises:
        RecipeError, UsageError: if it can't work as asked; nothing was written.
        RunError: if shards stayed undone, or more than `max_reject` of the pairs failed; running again goes on.
        Interrupted: after Ctrl-C.
    """
    start = time.perf_counter()
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    reading = reading or ReadOptions()
    limits = Limits(pair_timeout, worker_memory)
    _check(format, shard_size, workers, max_reject, extend, limit or sample)
    if retry_rejects and (restart or extend):
        raise UsageError("--retry-rejects is for an output as it is: first --extend or --restart without it")
    settings = {"format": format, "shard_size": shard_size, "limit": limit, "sample": sample, **dataclasses.asdict(reading)}
    made = place_of(inputs, located(output), recipe, settings)
    _shared(made.path, workers, engine)
    with opened(engine) as execute, locked(made.path) as still_ours, _aside(made.path) as runs:
        made = made.begin(restart, extend)
        if retry_rejects and sum(1 for _ in made.done()) == len(made.plan.shards):
            made = with_retries(made)
        plan = made.plan
        progress = Progress(sum(shard.rows for shard in plan.shards) - plan.again.total(), max_reject, show, plan.again)
        progress.finish(made.done())
        todo = [shard for shard in plan.shards if shard.index not in progress.finished]

        def summed(final: Iterable[Stats] | None = None) -> Summary:
            counted, resumed = progress.total(final), len(plan.shards) - len(todo)
            seconds = time.perf_counter() - start
            return dataclasses.replace(counted, output=shown(str(made.path)), seconds=seconds, resumed=resumed)

        if not todo and _ended(made):
            summary = summed(all_committed(made.path, None, len(plan.shards)) if recipe.select else None)
            if summary.shards == len(plan.shards):
                progress.check(summary)
                return summary
        made.claim()
        if (workers or 1) > 1:  # this process has nothing to do until they are done
            threading.Thread(target=make_report_ready, daemon=True).start()

        def hear(shard: int, counts: Sequence[StepCount]) -> None:
            still_ours()
            progress.hear(shard, counts)

        job = Job(
            recipe.staged(), made.root, shard_size, format, reading, packages=made.settings.get(_PLUGINS, {}),
            limits=limits, runs=runs,
        )  # fmt: skip
        failed = _take_in(execute(job, todo, workers, hear), progress)
        still_ours()
        give_back()  # where this process worked itself
        shards = range(len(plan.shards))
        chosen = not failed and recipe.select
        summary = summed(publish(made.root, made.path, recipe, format, shards, threads=workers or 1) if chosen else None)
        how = {"engine": str(engine), "workers": workers or (1 if engine == "local" else None), **dataclasses.asdict(limits)}
        _record(made.path, summary, how, failed)
        if failed:
            raise RunError(_failures(failed))
        made.tidy()  # a worker that died in a run that went on without it
        if runs:
            forget(runs)
        compile_manifest(made.path, shards, format)  # what tells of all shards, the digests last
        write_report(made.path)
        write_sums(made.path, shards)
        progress.check(summary)
    return summary


def _ended(made: Output) -> bool:
    """Whether a run ended there, and its files are what it left."""
    return (made.path / "report.html").exists() and sums_agree(made.path, range(len(made.plan.shards)))


def place_of(inputs: str | Path | Sequence[str | Path], output: Place, recipe: Recipe, settings: dict[str, Any]) -> Output:
    """The output of a run with these settings, as a plan records them; nothing is written."""
    plan = plan_of(inputs, reading_of(settings), *(settings[name] for name in ("shard_size", "limit", "sample")))
    _apart(plan, output)
    packages = readers.packages(container.kind for container in plan.containers)
    settings = {name: value for name, value in settings.items() if name != _PLUGINS} | ({_PLUGINS: packages} if packages else {})
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


def _take_in(running: Iterator[Outcome], progress: Progress) -> list[Outcome]:
    failed: list[Outcome] = []
    with closing(running) as outcomes:  # type: ignore[type-var]
        for outcome in outcomes:
            if outcome.stats is not None:
                progress.finish([outcome.stats])
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
    write_json(path / RUNS / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.json", about)


def _check(format: str, shard_size: int, workers: int | None, max_reject: float, extend: bool, part: int | None) -> None:
    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}; choose one of {', '.join(FORMATS)}")
    if shard_size < 1 or (workers or 1) < 1 or not 0 <= max_reject <= 1:
        raise UsageError("--shard-size and --workers must be at least 1, --max-reject between 0 and 1")
    if extend and part:
        raise UsageError("--extend goes on with the whole input: leave out --limit and --sample")


@contextmanager
def _aside(output: Place) -> Iterator[Path | None]:
    """A folder for what attempts at shards tell those after them: of the output, or of this run where the output is behind a URL.

    None for memory://, which no other process can write to.
    """
    if isinstance(output, Path):
        yield output / RUNS
    elif output.url.startswith("memory://"):
        yield None
    else:
        with tempfile.TemporaryDirectory(prefix="pairloom-") as folder:
            yield Path(folder)


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
            if container.kind == "folder" and f"{output.url}/".startswith(f"{container.name.rstrip('/')}/"):
                raise UsageError(f"{output} lies inside the input {shown(container.name)}; choose a place beside it")
        return
    place = output.resolve()
    for container in plan.containers:
        source = Path(container.name.removeprefix("file://")).resolve()
        if container.kind == "folder" and (source == place or source in place.parents):
            raise UsageError(f"{output} lies inside the input {container.name}; choose a folder beside it")
        if place in source.parents and source.exists():
            raise UsageError(f"the input {container.name} lies inside {output}; choose another folder to write to")
