"""The engine `ray` on a real cluster of two nodes: the bytes of the local engine, whatever dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import write_pairs
from poison import poisoned
from test_retry import table, there
from test_run import digest

from pairloom import Ray, RunError, UsageError, run, verify

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)  # where workers find poison.py
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairs", 24, bad=(3, 7))


def test_ray_gives_the_bytes_of_the_local_engine(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pairs(Path("pairs"), 10, bad=(3, 7))
    one = run("pairs", "local", shard_size=4)
    other = run("pairs", "ray", shard_size=4, engine=Ray(cluster.address, cpus_per_task=1))
    assert digest(Path("local")) == digest(Path("ray"))
    assert one.reasons == other.reasons and other.resumed == 0
    assert ", Ray</td>" in Path("ray", "report.html").read_text("utf-8")
    assert run("pairs", "ray", shard_size=4).resumed == 3


def test_a_worker_and_a_node_that_die_cost_nothing(cluster: Any, pairs: Path, tmp_path: Path) -> None:
    lost = cluster.add_node(num_cpus=1)
    recipe = poisoned("kills", "000010", once=str(tmp_path / "died"))

    def show(progress: Any) -> None:
        nonlocal lost
        if lost is not None:
            cluster.remove_node(lost, allow_graceful=False)
            lost = None

    run(pairs, tmp_path / "ray", recipe, shard_size=2, engine=Ray(cluster.address), show=show)
    assert (tmp_path / "died").exists() and lost is None
    run(pairs, tmp_path / "local", recipe, shard_size=2)
    assert digest(tmp_path / "local") == digest(tmp_path / "ray")
    assert verify(tmp_path / "ray") == [] and not list((tmp_path / "ray").rglob("*.part-*"))


@pytest.mark.parametrize(
    ("harm", "code", "limits"),
    [
        ("kills", "out_of_memory", {}),
        ("sleeps", "timeout", {"pair_timeout": 1.0}),
        ("eats", "out_of_memory", {"worker_memory": 1.0}),
    ],
)
def test_a_pair_that_ends_every_worker_is_rejected_alone(
    cluster: Any, pairs: Path, tmp_path: Path, harm: str, code: str, limits: dict[str, float]
) -> None:
    recipe = poisoned(harm, "000010", "000014")
    summary = run(pairs, tmp_path / "ray", recipe, shard_size=8, engine=Ray(cluster.address), **limits)
    assert summary.reasons == {"not_an_image": 2, code: 2} and summary.pairs_out == 20
    assert verify(tmp_path / "ray") == []
    if harm == "kills":
        run(pairs, tmp_path / "local", recipe, shard_size=8, workers=2)
        assert digest(tmp_path / "local") == digest(tmp_path / "ray")


def test_a_shard_that_kills_workers_without_a_pair_to_blame_leaves_the_others_done(
    cluster: Any, pairs: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"1 shard stayed undone:\n  shard 1: WorkerCrashedError"):
        run(pairs, tmp_path / "out", poisoned("crowds", "000010"), shard_size=8, engine=Ray(cluster.address))
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == ["00000.tar", "00002.tar"]


def test_rejects_are_tried_again(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = table(Path("in"), 9, missing=(0, 5))
    for engine in ("local", Ray(cluster.address)):
        run(pairs, str(engine), "naive", shard_size=4, engine=engine)
    there(Path("in"), 5)
    for engine in ("local", Ray(cluster.address)):
        assert run(pairs, str(engine), "naive", shard_size=4, engine=engine, retry_rejects=True).pairs_out == 7
    assert digest(Path("local")) == digest(Path(str(engine)))


def test_a_node_with_other_versions_is_found_out(
    cluster: Any, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairloom.recipe.versions", lambda: {"numpy": "1.0"})
    with pytest.raises(RunError, match=r"other bytes than where the run was started: .*numpy"):
        run(pairs, tmp_path / "out", "naive", engine=Ray(cluster.address))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_what_was_stopped_goes_on_with_either_engine(cluster: Any, tmp_path: Path, how: signal.Signals) -> None:
    write_pairs(tmp_path / "pairs", 120)
    run(tmp_path / "pairs", tmp_path / "whole", "naive", shard_size=4)
    command = [sys.executable, "-m", "pairloom", "run", str(tmp_path / "pairs"), str(tmp_path / "out"), "--recipe", "naive"]
    command += ["--shard-size", "4", "--engine", "ray", "--address", cluster.address]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and not list((tmp_path / "out" / "manifest").glob("*.json")):  # the last a shard writes
        time.sleep(0.02)
    os.killpg(process.pid, how)
    _, said = process.communicate()
    if how == signal.SIGINT:
        assert process.returncode == 130, said
        assert "Run the same command again to go on" in said and "Traceback" not in said
        assert not list((tmp_path / "out").rglob("*.part-*"))
    assert 0 < len(list((tmp_path / "out" / "manifest").glob("*.json"))) < 30
    run(tmp_path / "pairs", tmp_path / "out", "naive", shard_size=4)
    assert digest(tmp_path / "whole") == digest(tmp_path / "out")


def test_options_for_ray_are_refused_without_it(pairs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pairloom", "run", str(pairs), str(tmp_path / "out"), "--address", "auto"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "are for --engine ray" in done.stderr and not (tmp_path / "out").exists()


def test_what_can_not_work_is_told_before_anything_is_written(
    cluster: Any, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="choose one of local, ray"):
        run(pairs, tmp_path / "out", engine="spark")
    with pytest.raises(UsageError, match="no Ray cluster can be reached"):
        run(pairs, tmp_path / "out", engine=Ray("127.0.0.1:1"))
    with pytest.raises(UsageError, match="has the 64 CPUs and 8 GPUs"):
        run(pairs, tmp_path / "out", engine=Ray(cluster.address, cpus_per_task=64, gpus_per_task=8))
    with pytest.raises(UsageError, match="whole, or a share"):
        Ray(gpus_per_task=1.5)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'pairloom\[ray\]'"):
        run(pairs, tmp_path / "out", engine="ray")
    assert not (tmp_path / "out").exists()
