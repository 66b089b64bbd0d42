"""Pairs that end their process, never end or eat all memory are found out and rejected alone; runs go on by themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pyarrow.parquet as pq
import pytest
from conftest import write_pairs
from poison import Poison, poisoned, tells_its_environment
from test_run import digest, keys

from pairloom import RunError, UsageError, repair, run, verify
from pairloom.child import Child
from pairloom.finished import Finished
from pairloom.report.rejected import rejected as find_rejected
from pairloom.step import STEPS


def beside_us() -> dict[str, str]:
    """The environment of a script that imports from this folder."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """No test may hang."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("the test hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(240)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairs", 24, bad=(3,))


def rejects(output: Path, shard: int) -> list[tuple[str, str, str, str]]:
    table = pq.read_table(output / f"rejects/{shard:05d}.parquet")
    return list(zip(*(table[name].to_pylist() for name in ("key", "source_key", "step", "reason")), strict=True))


@pytest.mark.parametrize(
    ("harm", "code", "limits"),
    [
        ("kills", "out_of_memory", {}),
        ("crashes", "crashed", {}),
        ("exits", "crashed", {}),
        ("lacks", "out_of_memory", {}),
        ("sleeps", "timeout", {"pair_timeout": 1.0}),
        pytest.param(
            "eats", "out_of_memory", {"worker_memory": 1.0}, marks=pytest.mark.skipif(sys.platform != "linux", reason="/proc")
        ),
    ],
)
def test_a_pair_that_ends_its_process_is_rejected_alone(
    pairs: Path, tmp_path: Path, harm: str, code: str, limits: dict[str, float]
) -> None:
    summary = run(pairs, tmp_path / "out", poisoned(harm, "000012"), shard_size=8, workers=2, **limits)
    assert (summary.pairs_in, summary.pairs_out) == (24, 22)
    assert summary.reasons == {"not_an_image": 1, code: 1}
    assert rejects(tmp_path / "out", 1) == [("000012", "pair-010", "read", code)]
    assert verify(tmp_path / "out") == []
    shown = {group.reason: group.examples for group in find_rejected(Finished.read(tmp_path / "out")).groups}
    assert [one.source_key for one in shown[code]] == ["pair-010"] and shown[code][0].image == ""  # nobody decoded it again
    assert not list((tmp_path / "out").rglob("*.part-*")) and not (tmp_path / "out/runs/attempts").exists()


def test_what_was_found_out_is_remembered(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STEPS, "poison", Poison)
    out, recipe = tmp_path / "out", poisoned("crashes", "000012", "000015", recipe="letterbox")
    run(pairs, out, recipe, shard_size=8, workers=2)
    before, found = digest(out), (out / "runs/known/00001.json").stat().st_mtime_ns
    assert [row["source_key"] for row in json.loads((out / "runs/known/00001.json").read_text())] == ["pair-010", "pair-013"]
    (out / "00001.tar").unlink()
    (out / "staged/00001.tar").unlink()
    repair(out)
    assert digest(out) == before
    (out / "staged/manifest/00001.json").unlink()
    run(pairs, out, recipe, shard_size=8)  # in this very process, which must not die
    assert digest(out) == before and verify(out) == []
    assert (out / "runs/known/00001.json").stat().st_mtime_ns == found
    run(pairs, tmp_path / "other", recipe, shard_size=8, workers=3, pair_timeout=60, worker_memory=8)
    assert digest(tmp_path / "other") == before


def test_one_worker_that_dies_takes_the_command_along_and_the_next_finds_out(pairs: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from poison import Poison, poisoned, tells_its_environment; from pairloom import run\n"
        "if __name__ == '__main__': run(sys.argv[1], sys.argv[2], poisoned('crashes', '000012'), shard_size=8)\n"
    )
    (tmp_path / "script.py").write_text(code)
    command = [sys.executable, str(tmp_path / "script.py"), str(pairs), str(tmp_path / "out")]
    assert subprocess.run(command, env=beside_us(), timeout=120).returncode == -signal.SIGSEGV
    assert subprocess.run(command, env=beside_us(), timeout=120).returncode == 0
    assert rejects(tmp_path / "out", 1) == [("000012", "pair-010", "read", "crashed")]
    assert verify(tmp_path / "out") == []


@pytest.mark.parametrize("workers", [1, 3])
def test_a_process_that_dies_of_something_else_costs_nothing(pairs: Path, tmp_path: Path, workers: int) -> None:
    recipe = poisoned("kills", "000012", once=str(tmp_path / "died"))
    run(pairs, tmp_path / "out", recipe, shard_size=8, workers=workers, pair_timeout=60)
    assert (tmp_path / "died").exists()
    run(pairs, tmp_path / "whole", recipe, shard_size=8)
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")
    assert not (tmp_path / "out/runs/known").exists()


def test_a_shard_that_dies_without_a_pair_to_blame_stays_undone(
    pairs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RunError, match=r"shard 1: its process died 3 times \(SIGKILL\), and no pair alone is to blame"):
        run(pairs, tmp_path / "out", poisoned("crowds", "000012"), shard_size=8, workers=2)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == ["00000.tar", "00002.tar"]
    assert "a worker process died (SIGKILL) at shard 1" in caplog.text


def test_limits_that_nothing_can_keep_are_not_put_down_to_pairs(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"even a small picture with a short text fails: alone takes more than 0.02 GiB"):
        run(pairs, tmp_path / "out", "naive", shard_size=8, worker_memory=0.02)
    assert not (tmp_path / "out/runs/known").exists()
    assert run(pairs, tmp_path / "out", "naive", shard_size=8).pairs_out == 23


def test_poison_in_a_sample_and_in_the_first_and_last_place(pairs: Path, tmp_path: Path) -> None:
    recipe = poisoned("crashes", "0000000", "0000009")
    summary = run(pairs, tmp_path / "out", recipe, sample=10, shard_size=100, workers=2, pair_timeout=60)
    assert (summary.pairs_in, summary.reasons["crashed"]) == (10, 2)
    assert keys(tmp_path / "out/00000.tar") == [f"000000{row}" for row in range(2, 9)]  # the first one is no image
    assert [key for key, *_ in rejects(tmp_path / "out", 0)] == ["0000000", "0000009", "0000001"]


def test_limits_that_make_no_sense_are_refused(pairs: Path, tmp_path: Path) -> None:
    for limits in ({"pair_timeout": 0.0}, {"worker_memory": -1.0}):
        with pytest.raises(UsageError, match="must be more than 0"):
            run(pairs, tmp_path / "out", **limits)
    assert not (tmp_path / "out").exists()


def test_a_second_interrupt_ends_a_worker_that_hangs(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import signal, sys; from poison import poisoned; from pairloom import run\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores Ctrl-C\n"
        "if __name__ == '__main__': run(sys.argv[1], sys.argv[2], poisoned('sleeps', '000012'), shard_size=8, workers=2)\n"
    )
    command = [sys.executable, str(tmp_path / "script.py"), str(pairs), str(tmp_path / "out")]
    process = subprocess.Popen(command, env=beside_us(), stderr=subprocess.PIPE, start_new_session=True)
    while len(list((tmp_path / "out/manifest").glob("*.json"))) < 2 and process.poll() is None:
        time.sleep(0.05)
    for _ in range(2):
        time.sleep(1)
        os.killpg(process.pid, signal.SIGINT)
    assert b"Interrupted" in process.communicate(timeout=30)[1]
    run(pairs, tmp_path / "out", poisoned("sleeps", "000012"), shard_size=8, workers=2, pair_timeout=1.0)
    assert rejects(tmp_path / "out", 1) == [("000012", "pair-010", "read", "timeout")]


def test_a_child_has_the_environment_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("first", "second", None):
        monkeypatch.setenv("PAIRLOOM_TEST", value) if value else monkeypatch.delenv("PAIRLOOM_TEST")
        child = Child(tells_its_environment)
        assert (child.take(), child.take()) == (None, value)
        child.end()


def test_no_child_ever_hears_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from pairloom.child import Child; from poison import tells_whether_it_hears_ctrl_c\n"
        "if __name__ == '__main__':\n"
        "    for child in Child(tells_whether_it_hears_ctrl_c), Child(tells_whether_it_hears_ctrl_c):\n"
        "        print(child.take(), child.take())\n"
    )
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, env=beside_us(), capture_output=True, text=True, timeout=60)
    assert done.stdout == "None False\nNone False\n", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only there children are told by a process that forks them")
def test_ctrl_c_while_a_child_starts_waits_until_it_is_told_all(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import os, signal, threading, time\n"
        "from multiprocessing import forkserver\n"
        "from pairloom.child import Child; from poison import tells_its_environment\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "real = forkserver.connect_to_new_process\n"
        "def interrupted(fds):\n"
        "    told = real(fds)\n"
        "    os.kill(os.getpid(), signal.SIGINT)  # the thread below takes it, as a library's may\n"
        "    time.sleep(0.2)\n"
        "    return told\n"
        "if __name__ == '__main__':\n"
        "    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "    forkserver.connect_to_new_process = interrupted\n"
        "    try: Child(tells_its_environment)\n"
        "    except KeyboardInterrupt: print('stopped')\n"
    )
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, env=beside_us(), capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("stopped\n", "")
