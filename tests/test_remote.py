"""Outputs in an object store: the bytes of a local run, whatever dies, errs, stalls or comes second."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from conftest import write_pairs
from test_remote_folders import plant, said, upload
from test_run import TIMED, digest

from pairloom import open as open_output
from pairloom import run
from pairloom.engines.ray import Ray
from pairloom.errors import RunError, UsageError
from pairloom.export import export
from pairloom.pipeline import plan_of
from pairloom.readers.model import ReadOptions
from pairloom.recipe import Recipe
from pairloom.remote import Remote, files, lock, retry
from pairloom.repair import repair
from pairloom.reselect import reselect
from pairloom.run import Job, run_shard
from pairloom.verify import verify

pytest.importorskip("s3fs")
pytest.importorskip("moto")
from stores import BUCKET, FaultyServer, s3_server


@pytest.fixture(scope="module")
def front() -> Iterator[FaultyServer]:
    """The store behind a server that can spoil requests; one for all, because s3fs goes on asking the first."""
    with s3_server() as url, pytest.MonkeyPatch.context() as patch:
        server = FaultyServer(behind=url)
        secrets = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "hidden", "DEFAULT_REGION": "us-east-1", "MAX_ATTEMPTS": "1"}
        for name, value in {**secrets, "ENDPOINT_URL": server.url}.items():
            patch.setenv(f"AWS_{name}", value)
        yield server
        server.shutdown()


@pytest.fixture
def faulty(front: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """The same, and impatient clients."""
    for module, name, value in (
        (files, "SECONDS", 3.0), (retry, "PATIENCE", 20.0), (retry, "_FIRST", 0.05), (lock, "BEAT", 0.4), (lock, "LEASE", 3.0),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    front.asked.clear()
    yield front
    front.fault = lambda *_: None


@pytest.fixture
def output(faulty: FaultyServer, request: pytest.FixtureRequest) -> str:
    return f"s3://{BUCKET}/{request.node.name.partition('[')[0]}-{os.urandom(3).hex()}/out"


def stored(output: str) -> dict[str, bytes]:
    """All files of an output that must not depend on how it was made."""
    root = Remote(output)
    return {name: (root / name).read_bytes() for name in root.sizes() if name.partition("/")[0] not in TIMED}


@pytest.mark.parametrize(("recipe", "format"), [("letterbox", "webdataset"), ("naive", "parquet")])
def test_a_store_gets_the_bytes_of_a_local_run(pairs: Path, tmp_path: Path, output: str, recipe: str, format: str) -> None:
    here = run(pairs, tmp_path / "out", recipe, shard_size=4, format=format)
    there = run(pairs, output, recipe, shard_size=4, format=format)
    assert stored(output) == digest(tmp_path / "out")
    assert there.reasons == here.reasons and there.output == output
    assert verify(output) == [] and Remote(f"{output}/report.html").stat().st_size > 10_000
    assert not Remote(f"{output}/.lock").exists()
    assert run(pairs, output, recipe, shard_size=4, format=format).resumed == 3
    assert export(output, tmp_path / "csv", "csv") == there.pairs_out
    pair, same = open_output(output)[5], open_output(tmp_path / "out")[5]
    assert (pair.key, pair.text, pair.image, pair.row) == (same.key, same.text, same.image, same.row)


def test_duplicates_are_dropped_and_selected_anew_in_the_store(tmp_path: Path, output: str) -> None:
    pairs = write_pairs(tmp_path / "pairs", 6)
    for suffix in ("jpg", "txt"):
        (pairs / f"pair-004.{suffix}").write_bytes((pairs / f"pair-001.{suffix}").read_bytes())
    run(pairs, tmp_path / "out", "letterbox", shard_size=3)
    assert run(pairs, output, "letterbox", shard_size=3).reasons == {"duplicate": 1}
    assert stored(output) == digest(tmp_path / "out")
    none = tmp_path / "none.yaml"
    none.write_text("steps:\n- decode\nselect: []\n")
    assert reselect(output, tmp_path / "all", str(none)).pairs_out == 6
    assert reselect(output, f"{output}-all", str(none)).pairs_out == 6
    assert stored(f"{output}-all") == digest(tmp_path / "all") and verify(f"{output}-all") == []


def test_a_run_that_is_killed_goes_on_with_the_same_bytes(tmp_path: Path, output: str, faulty: FaultyServer) -> None:
    pairs = write_pairs(tmp_path / "pairs", 12)
    run(pairs, tmp_path / "out", "naive", shard_size=2)
    code = "from pairloom import run; from pairloom.remote import lock; lock.BEAT, lock.LEASE = 0.3, 2; "
    code += f"run({str(pairs)!r}, {output!r}, 'naive', shard_size=2)"
    for committed in (1, 3):
        process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
        until = time.monotonic() + 60
        while sum(("PUT", f"/manifest/{shard:05d}.json") in _puts(faulty, output) for shard in range(6)) < committed:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert any("manifest.jsonl" in fault for fault in verify(output))
    assert run(pairs, output, "naive", shard_size=2).resumed >= 3
    assert stored(output) == digest(tmp_path / "out") and verify(output) == []


def _puts(faulty: FaultyServer, output: str) -> set[tuple[str, str]]:
    base = "/" + output.removeprefix("s3://")
    return {(method, path.partition("?")[0].removeprefix(base)) for method, path in list(faulty.asked)}


def test_a_store_that_errs_stalls_and_cuts_changes_nothing(
    pairs: Path, tmp_path: Path, output: str, faulty: FaultyServer
) -> None:
    def fault(method: str, path: str, times: int) -> str | None:
        if times > 2 or "/out" not in path:
            return None
        kinds = ("500", "503", "cut") if method == "GET" else ("500", "503", None)
        if method == "PUT" and path.endswith("/00001.tar?x-id=PutObject") and times == 1:
            return "stall"
        return kinds[(hash_of(path) + times) % 3]

    faulty.fault = fault
    run(pairs, tmp_path / "out", "naive", shard_size=4)
    run(pairs, output, "naive", shard_size=4)
    spoiled = len(faulty.asked)
    faulty.fault = lambda *_: None
    assert stored(output) == digest(tmp_path / "out") and verify(output) == [] and spoiled > 60


def hash_of(text: str) -> int:
    return sum(text.encode())


def test_a_store_that_stays_away_ends_the_run_which_then_goes_on(
    pairs: Path, tmp_path: Path, output: str, faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "PATIENCE", 1.0)
    faulty.fault = lambda method, path, times: "503" if method == "PUT" and "/out/00001.tar" in path else None
    with pytest.raises(RunError, match=r"1 shard stayed undone:\n  shard 1: s3://.*/00001\.tar failed to the last of"):
        run(pairs, output, "naive", shard_size=4)
    faulty.fault = lambda *_: None
    run(pairs, tmp_path / "out", "naive", shard_size=4)
    assert run(pairs, output, "naive", shard_size=4).resumed == 2
    assert stored(output) == digest(tmp_path / "out")


def test_what_may_not_be_had_is_told_at_once(pairs: Path, output: str, faulty: FaultyServer) -> None:
    faulty.fault = lambda method, path, times: "403" if method == "PUT" else None
    start = time.monotonic()
    with pytest.raises(UsageError, match=f"can't write to {output}"):
        run(pairs, output, "naive")
    with pytest.raises(UsageError, match="can't write to s3://no-such-bucket/x: there is no such bucket"):
        faulty.fault = lambda *_: None
        run(pairs, "s3://no-such-bucket/x", "naive")
    assert time.monotonic() - start < 10


def test_what_google_forbids_is_not_asked_again() -> None:
    asked = []

    def forbidden() -> None:
        asked.append(1)
        raise OSError("Forbidden: storage/v1/b/bucket/o\nno access")  # as gcsfs tells it, without a number

    with pytest.raises(PermissionError, match="gs://bucket/x: the server says 403"):
        retry.patiently(forbidden, "gs://bucket/x")
    assert len(asked) == 1


def job_for(pairs: Path, output: str, size: int = 4, fetch: Any = "no") -> tuple[Job, Any]:
    plan = plan_of(pairs, ReadOptions(), size, None, None)
    return Job(Recipe.load("naive").staged(), Remote(output), size), plan.shards


def test_the_first_of_two_attempts_at_a_shard_counts(pairs: Path, output: str, faulty: FaultyServer) -> None:
    job, shards = job_for(pairs, output)
    ready, go = threading.Event(), threading.Event()

    def fault(method: str, path: str, times: int) -> str | None:
        if method == "PUT" and "/manifest/" in path and times == 1:
            ready.set()
            go.wait(20)  # the first attempt has uploaded all, and is about to commit
        return None

    faulty.fault = fault
    found: list[Any] = []
    slow = threading.Thread(target=lambda: found.append(run_shard(job, shards[0])))
    files.SECONDS = 30.0
    slow.start()
    assert ready.wait(20)
    fast = run_shard(job, shards[0])
    before = stored(output)
    go.set()
    slow.join(30)
    assert found[0].pairs_out == fast.pairs_out and stored(output) == before
    assert [name for name in before if name.startswith("manifest/")] == ["manifest/00000.json"]


def test_an_attempt_with_other_bytes_is_taken_back(pairs: Path, output: str, faulty: FaultyServer) -> None:
    job, shards = job_for(pairs, output)
    ready, go = threading.Event(), threading.Event()
    faulty.fault = lambda method, path, times: (
        (ready.set(), go.wait(20), None)[2] if "/manifest/" in path and method == "PUT" else None
    )
    found: list[str] = []

    def attempt() -> None:
        try:
            run_shard(job, shards[0])
        except RunError as fault:
            found.append(str(fault))

    slow = threading.Thread(target=attempt)
    files.SECONDS = 30.0
    slow.start()
    assert ready.wait(20)
    faulty.fault = lambda *_: None
    other = json.dumps({"fingerprint": job.recipe.fingerprint(), "files": {}, "stats": {}}).encode()
    assert Remote(f"{output}/manifest/00000.json").put_if_absent(other)
    go.set()
    slow.join(30)
    assert "was committed meanwhile with other bytes" in found[0]
    assert not Remote(f"{output}/manifest/00000.json").exists()


def test_a_second_run_is_refused_and_a_dead_one_is_not(
    pairs: Path, output: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lock.leased(Remote(output)), pytest.raises(UsageError, match=f"another run is writing to {output}"):
        run(pairs, output, "naive")
    assert not [each for each in caplog.records if each.name == lock.__name__]  # who lives is soon heard
    monkeypatch.setattr(lock.platform, "node", lambda: "far.example")
    dead = lock.Lease(Remote(f"{output}/.lock"))
    assert Remote(f"{output}/.lock").put_if_absent(dead._sign())
    start = time.monotonic()
    run(pairs, output, "naive")
    assert 3 <= time.monotonic() - start < 60 and verify(output) == []
    [told] = [each.getMessage() for each in caplog.records if each.name == lock.__name__]
    assert re.match(rf"{output}/\.lock is held by a run on far\.example that gives no sign of life; if none comes in \d s", told)


def test_a_run_whose_lock_was_taken_over_stops(tmp_path: Path, output: str) -> None:
    pairs = write_pairs(tmp_path / "pairs", 200)

    def show(progress: Any) -> None:
        Remote(f"{output}/.lock").write_bytes(b'{"owner": "another"}')
        time.sleep(1)

    with pytest.raises(RunError, match="another run has taken over"):
        run(pairs, output, "naive", shard_size=100, show=show)
    assert json.loads(Remote(f"{output}/.lock").read_bytes()) == {"owner": "another"}


def test_repair_and_restart_work_in_the_store(pairs: Path, tmp_path: Path, output: str) -> None:
    run(pairs, tmp_path / "out", "naive", shard_size=4)
    run(pairs, output, "naive", shard_size=4)
    data = bytearray(Remote(f"{output}/00001.tar").read_bytes())
    data[700] ^= 1
    Remote(f"{output}/00001.tar").write_bytes(bytes(data))
    Remote(f"{output}/00002.parquet").unlink()
    faults = verify(output)
    assert "shard 1: 00001.tar is not what was written (size or digest differs)" in faults
    assert "shard 2: 00002.parquet is missing" in faults
    assert repair(output).resumed == 1
    assert stored(output) == digest(tmp_path / "out") and verify(output) == []
    with pytest.raises(UsageError, match="--restart"):
        run(pairs, output, "letterbox", shard_size=4)
    run(pairs, output, "letterbox", shard_size=4, restart=True)
    run(pairs, tmp_path / "other", "letterbox", shard_size=4)
    assert stored(output) == digest(tmp_path / "other")


def test_what_is_not_ours_is_left_alone(pairs: Path, output: str) -> None:
    Remote(f"{output}/thesis.txt").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"is not empty and holds no Pairloom run \(thesis.txt …\)"):
        run(pairs, output, "naive")
    assert Remote(output).sizes() == {"thesis.txt": 4}


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("https://host/out", "outputs can't be written to https://"),
        ("s3://name:secret@bucket/out", "has a password"),
        ("gs://bucket/out", "pip install gcsfs"),
    ],
)
def test_outputs_that_can_not_be_are_refused(pairs: Path, output: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as found:
        run(pairs, output, "naive")
    assert "secret" not in str(found.value)


def test_memory_belongs_to_one_process(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one worker"):
        run(pairs, "memory://two", "naive", workers=2)
    run(pairs, "memory://one", "letterbox", shard_size=4)
    run(pairs, tmp_path / "out", "letterbox", shard_size=4)
    assert stored("memory://one") == digest(tmp_path / "out") and verify("memory://one") == []


def test_processes_and_the_command_line_write_to_the_store(pairs: Path, tmp_path: Path, output: str) -> None:
    run(pairs, tmp_path / "out", "naive", shard_size=4)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for verb in (["run", str(pairs), output, "--recipe", "naive", "--shard-size", "4", "--workers", "2"], ["verify", output]):
        done = subprocess.run(
            [sys.executable, "-m", "pairloom", *verb], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert output in done.stdout + done.stderr
    assert stored(output) == digest(tmp_path / "out")


def test_secrets_are_nowhere_in_the_store(pairs: Path, output: str) -> None:
    run(pairs, output, "naive")
    assert not [name for name, data in stored(output).items() if b"hidden" in data or b"127.0.0.1" in data]
    assert b"hidden" not in b"".join(Remote(output).read_all([name for name in Remote(output).sizes() if "runs/" in name]))  # type: ignore[arg-type]


def test_every_node_of_a_cluster_uploads_its_own_shards(pairs: Path, tmp_path: Path, output: str) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    run(pairs, tmp_path / "out", "naive", shard_size=4)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        run(pairs, output, "naive", shard_size=4, engine=Ray(cluster.address))
    finally:
        cluster.shutdown()
    assert stored(output) == digest(tmp_path / "out")


def test_a_folder_in_the_store_is_read_as_one_here_though_the_store_errs(
    tmp_path: Path, output: str, faulty: FaultyServer
) -> None:
    folder, source = plant(tmp_path / "set"), output.removesuffix("/out")
    upload(folder, source)
    for marker in ("", "b/"):  # as consoles make folders
        urlopen(Request(f"{faulty.url}/{source.removeprefix('s3://')}/{marker}", method="PUT"), timeout=10).close()
    here = run(folder, tmp_path / "here", "naive", shard_size=4, max_reject=1.0)
    faulty.asked.clear()
    faulty.fault = lambda method, path, times: ("503", "cut")[hash_of(path) % 2] if method == "GET" and times == 1 else None
    there = run(source, tmp_path / "there", "naive", shard_size=4, max_reject=1.0)
    assert there.reasons == here.reasons and said(tmp_path / "there") == said(tmp_path / "here")
    assert not any(word in path for _, path in faulty.asked for word in ("hidden", "readme", "lock", ".cache"))
    heads = [path for method, path in faulty.asked if method == "HEAD" and path.endswith((".jpg", ".txt"))]
    assert heads == []  # sizes and times come with the list

    faulty.fault = lambda method, path, times: "403" if "prefix" in path else None
    with pytest.raises(UsageError, match=f"{source}.* can't be"):
        run(source, tmp_path / "other", "naive")
    faulty.fault = lambda method, path, times: "500" if path.endswith("/00.jpg") else None
    with pytest.raises(RunError, match=r"shard 0: s3://.*/00\.jpg failed to the last of"):
        run(source, tmp_path / "other", "naive", max_reject=1.0)
