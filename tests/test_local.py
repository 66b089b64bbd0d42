"""Worker processes: whose cores they use, and what they load."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from conftest import write_pairs
from test_run import digest

from pairloom import Letterbox, Recipe, TextStep
from pairloom.engines.local import _serve
from pairloom.limits import BATCH_ROWS
from pairloom.outcome import Outcome
from pairloom.pipeline import plan_of
from pairloom.progress import Seldom
from pairloom.readers.model import ReadOptions
from pairloom.run import Job, run_shard
from pairloom.step import STEPS, step


@pytest.fixture
def noted() -> Iterator[list[str]]:
    """The names of the threads that work on texts."""
    names: list[str] = []

    @step("note_thread")
    class NoteThread(TextStep):
        """Says which thread it is in."""

        seen: ClassVar[list[str]] = names

        def text(self, text: str) -> str:
            self.seen.append(threading.current_thread().name)
            return text

    yield names
    del STEPS["note_thread"]


def test_a_worker_goes_on_with_the_cores_that_others_left(tmp_path: Path, noted: list[str]) -> None:
    plan = plan_of(write_pairs(tmp_path / "pairs", 150), ReadOptions(), 1000, None, None)
    recipe = Recipe((STEPS["decode"](), STEPS["note_thread"](), Letterbox(32), STEPS["encode"]()))
    run_shard(Job(recipe, tmp_path / "alone"), plan.shards[0])
    noted.clear()

    ours, theirs = multiprocessing.Pipe()
    worker = threading.Thread(target=_serve, args=(theirs, Job(recipe, tmp_path / "shared")), name="worker")
    for thing in (plan.shards[0], 2):
        ours.send(thing)
    worker.start()
    while not isinstance(outcome := ours.recv(), Outcome):
        pass
    for thing in (2, None):  # the first comes too late for any shard
        ours.send(thing)
    worker.join()

    assert outcome.stats is not None and outcome.stats.pairs_out == 150
    assert (
        set(noted[:BATCH_ROWS]) == {"worker"}
        and set(noted[BATCH_ROWS:]).isdisjoint({"worker"})
        and len(set(noted[BATCH_ROWS:])) <= 2
    )
    assert digest(tmp_path / "shared") == digest(tmp_path / "alone")


@pytest.mark.parametrize(("code", "known"), [("", False), ("Letterbox.__module__ = 'other'", True)])
def test_arrow_imports_pandas_only_for_code_of_others(code: str, known: bool) -> None:
    pytest.importorskip("pandas")
    said = f"""
import sys
from pairloom import Batch, Letterbox, Row
from pairloom.process import spare_pandas
{code}
spare_pandas([Letterbox(32)])
Batch.read(["0"], [Row("", "")])
print("pandas" in sys.modules)
import pandas, pyarrow
assert pyarrow.table({{"a": [1]}}).to_pandas().equals(pandas.DataFrame({{"a": [1]}}))
"""
    done = subprocess.run([sys.executable, "-c", said], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(known)


def test_a_worker_of_the_command_loads_no_command_line() -> None:
    """A worker imports the file that was started, under another name."""
    said = "import sys, runpy; runpy.run_module('pairloom', run_name='__mp_main__'); print('typer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_what_is_told_seldom_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((100.0, 100.0, 101.9, 102.5, 102.5, 103.0, 104.4, 104.6, 104.6, 200.0, 200.0))
    monkeypatch.setattr("pairloom.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
    seldom, told = Seldom(2.0), list[int]()
    for number in range(7):
        seldom(lambda number=number: told.append(number))  # type: ignore[misc]
    assert told == [2, 5, 6]
