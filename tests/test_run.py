"""The main job end to end: conservation, same bytes, resume, refusal, and what goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zlib
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import write_pairs

from pairloom import run
from pairloom.errors import RunError, TooManyRejects, UsageError
from pairloom.pipeline import plan_of
from pairloom.progress import Progress
from pairloom.recipe import Recipe, recipe_text, shipped_recipes
from pairloom.run import Job, run_shard
from pairloom.stats import Stats, StepCount
from pairloom.verify import verify

TIMED = ("runs", ".lock", "report.html")


def digest(output: Path) -> dict[str, bytes]:
    """All files of an output that must not depend on how it was made."""
    files = [path for path in sorted(output.rglob("*")) if path.is_file()]
    return {str(path.relative_to(output)): path.read_bytes() for path in files if path.relative_to(output).parts[0] not in TIMED}


def keys(tar: Path) -> list[str]:
    with tarfile.open(tar) as file:
        return list(dict.fromkeys(member.name.split(".")[0] for member in file))


def test_every_pair_is_kept_or_rejected(pairs: Path, tmp_path: Path) -> None:
    summary = run(pairs, tmp_path / "out", shard_size=4)
    assert (summary.pairs_in, summary.pairs_out, summary.pairs_rejected) == (10, 8, 2)
    assert summary.reasons == {"not_an_image": 2}
    assert verify(tmp_path / "out") == []
    kept = [key for shard in range(3) for key in keys(tmp_path / "out" / f"{shard:05d}.tar")]
    rejects = [pq.read_table(tmp_path / "out" / f"rejects/{shard:05d}.parquet") for shard in range(3)]
    lost = [key for table in rejects for key in table["key"].to_pylist()]
    assert sorted(kept + lost) == [f"{shard:05d}{row}" for shard in range(3) for row in range(4 if shard < 2 else 2)]
    assert json.loads((tmp_path / "out/sizes.json").read_text()) == {"00000.tar": 3, "00001.tar": 3, "00002.tar": 2}


def test_the_sample_pairs_are_all_accounted_for(examples: Path, tmp_path: Path) -> None:
    summary = run(examples, tmp_path / "out")
    assert summary.pairs_in == summary.pairs_out + summary.pairs_rejected
    assert summary.pairs_in >= 100
    assert {"truncated", "not_an_image", "empty_image", "missing_text", "missing_image", "text_encoding"} <= set(summary.reasons)
    assert verify(tmp_path / "out") == []


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
@pytest.mark.parametrize("recipe", ["default", "letterbox", "naive"])
def test_workers_do_not_change_a_byte(pairs: Path, tmp_path: Path, recipe: str, format: str) -> None:
    run(pairs, tmp_path / "one", recipe, shard_size=3, format=format)
    run(pairs, tmp_path / "two", recipe, shard_size=3, format=format, workers=2)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


@pytest.mark.parametrize("recipe", sorted({*shipped_recipes()} - {"default", "letterbox", "naive"}))
def test_every_recipe_for_a_model_runs_as_it_is(pairs: Path, tmp_path: Path, recipe: str) -> None:
    source = recipe_text(recipe).splitlines()
    assert len(source) <= 25 and source[0].startswith(f"# {recipe}: ") and source[1].startswith("# source: ")
    summary = run(pairs, tmp_path / "one", recipe, shard_size=3)
    assert summary.pairs_out >= 5 and verify(tmp_path / "one") == []
    run(pairs, tmp_path / "two", recipe, shard_size=3, workers=2)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_threads_do_not_change_a_byte(pairs: Path, tmp_path: Path) -> None:
    run(pairs, tmp_path / "one")
    run(pairs, tmp_path / "threads", workers=4)
    assert digest(tmp_path / "one") == digest(tmp_path / "threads")


@pytest.mark.parametrize("recipe", ["naive", "letterbox"])  # without and with a selection
def test_running_again_on_what_is_complete_touches_nothing(pairs: Path, tmp_path: Path, recipe: str) -> None:
    first = run(pairs, tmp_path / "out", recipe, shard_size=4)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    again = run(pairs, tmp_path / "out", recipe, shard_size=4)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    assert (first.resumed, again.resumed) == (0, 3)
    for one in (first, again):
        assert (one.pairs_in, one.pairs_out, one.reasons) == (10, 8, {"not_an_image": 2})


@pytest.mark.parametrize("recipe", ["naive", "letterbox"])
@pytest.mark.parametrize(
    "name", ["SHA256SUMS", "plan.json", "recipe.yaml", "manifest.jsonl", "sizes.json", "manifest/00001.json"]
)
def test_what_is_damaged_in_a_complete_output_is_written_again(pairs: Path, tmp_path: Path, name: str, recipe: str) -> None:
    run(pairs, tmp_path / "out", recipe, shard_size=4)
    before = digest(tmp_path / "out")
    old, new = (b'"offset": 0', b'"offset": 9') if name == "plan.json" else (b"1", b"2")
    assert old in before[name]
    (tmp_path / "out" / name).write_bytes(before[name].replace(old, new))
    run(pairs, tmp_path / "out", recipe, shard_size=4)
    assert digest(tmp_path / "out") == before


def test_a_report_that_is_gone_is_written_again(pairs: Path, tmp_path: Path) -> None:
    run(pairs, tmp_path / "out", shard_size=4)
    (tmp_path / "out/report.html").unlink()
    run(pairs, tmp_path / "out", shard_size=4)
    assert (tmp_path / "out/report.html").stat().st_size


@pytest.mark.parametrize("size", [None, 0, 100, 1_000_000])
@pytest.mark.parametrize("lost", ["00001.tar", "manifest/00001.json", "rejects/00001.parquet"])
def test_a_shard_that_is_not_whole_is_made_again(pairs: Path, tmp_path: Path, lost: str, size: int | None) -> None:
    run(pairs, tmp_path / "out", "naive", shard_size=4)
    before = digest(tmp_path / "out")
    if size is None:
        (tmp_path / "out" / lost).unlink()
    else:
        os.truncate(tmp_path / "out" / lost, size)
    summary = run(pairs, tmp_path / "out", "naive", shard_size=4)
    assert summary.resumed == 2
    assert digest(tmp_path / "out") == before


def test_another_recipe_is_refused_with_the_difference(pairs: Path, tmp_path: Path) -> None:
    run(pairs, tmp_path / "out")
    with pytest.raises(UsageError, match="letterbox"):
        run(pairs, tmp_path / "out", "letterbox")
    with pytest.raises(UsageError, match="shard_size: was 10000, is 5"):
        run(pairs, tmp_path / "out", shard_size=5)
    assert run(pairs, tmp_path / "out", "letterbox", restart=True).resumed == 0
    assert verify(tmp_path / "out") == []


def test_a_changed_input_is_refused(pairs: Path, tmp_path: Path) -> None:
    run(pairs, tmp_path / "out")
    (pairs / "pair-000.txt").write_text("Something else altogether.")
    with pytest.raises(UsageError, match="has changed"):
        run(pairs, tmp_path / "out")


def test_extend_adds_what_is_new_and_leaves_the_rest(tmp_path: Path) -> None:
    first, second = write_pairs(tmp_path / "a", 5), write_pairs(tmp_path / "b", 4)
    run([first], tmp_path / "out", shard_size=2)
    before = digest(tmp_path / "out")
    with pytest.raises(UsageError, match="--extend"):
        run([first, second], tmp_path / "out", shard_size=2)
    summary = run([first, second], tmp_path / "out", shard_size=2, extend=True)
    assert (summary.pairs_in, summary.resumed, summary.shards) == (9, 3, 5)
    after = digest(tmp_path / "out")
    kept = [name for name in before if name[0] == "0" or name.startswith(("manifest/", "rejects/"))]
    assert [after[name] for name in kept] == [before[name] for name in kept]
    run([first, second], tmp_path / "whole", shard_size=2)
    assert digest(tmp_path / "whole") == after


def test_a_folder_with_other_things_is_left_alone(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for restart in (False, True):
        with pytest.raises(UsageError, match="not empty"):
            run(pairs, tmp_path / "mine", restart=restart)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("plan", ["{}", "[]", "null", '{"recipe": 1}', '{"title": "my plan", "shards": []}'])
def test_a_folder_with_another_plan_is_left_alone(pairs: Path, tmp_path: Path, plan: str) -> None:
    mine = tmp_path / "mine"
    (mine / "data").mkdir(parents=True)
    (mine / "data" / "thesis.txt").write_text("years of work")
    (mine / "plan.json").write_text(plan)
    for options in ({}, {"restart": True}, {"extend": True}):
        with pytest.raises(UsageError, match="not Pairloom's"):
            run(pairs, mine, **options)
    with pytest.raises(UsageError, match="not Pairloom's"):
        verify(mine)
    assert sorted(path.name for path in mine.rglob("*")) == ["data", "plan.json", "thesis.txt"]


def test_output_inside_input_is_refused(pairs: Path) -> None:
    with pytest.raises(UsageError, match="inside the input"):
        run(pairs, pairs / "out")


@pytest.mark.parametrize("inside", ["", "staged"])
def test_a_restart_never_deletes_its_own_input(pairs: Path, tmp_path: Path, inside: str) -> None:
    run(pairs, tmp_path / "out")
    before = digest(tmp_path / "out")
    with pytest.raises(UsageError, match="choose another folder to write to"):
        run(tmp_path / "out" / inside, tmp_path / "out", restart=True)
    assert digest(tmp_path / "out") == before


def test_too_many_failures_stop_the_run(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pairs", 6, bad=(0, 1, 2, 3))
    with pytest.raises(TooManyRejects, match=r"4 of 6 pairs failed, most in `decode` \(not_an_image 4\)"):
        run(folder, tmp_path / "out")
    assert run(folder, tmp_path / "out", max_reject=0.7).pairs_out == 2


def test_filters_never_count_as_failures(pairs: Path, tmp_path: Path) -> None:
    recipe = Recipe.from_yaml("steps: [decode, {min_side: {side: 5000}}, encode]")
    summary = run(pairs, tmp_path / "out", recipe)
    assert summary.pairs_out == 0
    assert keys(tmp_path / "out" / "00000.tar") == []


def test_a_second_run_on_the_same_output_waits_outside(pairs: Path, tmp_path: Path) -> None:
    from pairloom.output import locked

    with locked(tmp_path / "out"), pytest.raises(UsageError, match="another run"):
        run(pairs, tmp_path / "out")


def test_the_first_of_two_attempts_at_a_shard_counts(pairs: Path, tmp_path: Path) -> None:
    job = Job(Recipe.load("naive"), tmp_path / "out")
    [shard] = plan_of(pairs, job.reading, 10, None, None).shards
    seen = []

    def meanwhile(counts: object) -> None:  # as on a cluster that took this worker for dead
        seen.append(run_shard(job, shard).pairs_out)
        seen.append(digest(tmp_path / "out"))

    def inodes() -> dict[Path, int]:
        return {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*") if path.is_file()}

    assert run_shard(job, shard, meanwhile).pairs_out == seen[0]
    after = inodes()
    assert not [path for path in after if ".part-" in path.name]
    assert {name for name in seen[1] if ".part-" not in name} == set(digest(tmp_path / "out"))
    run_shard(job, shard)
    assert inodes() == after


def test_a_clock_that_was_set_back_changes_nothing(pairs: Path, tmp_path: Path) -> None:
    run(pairs, tmp_path / "out", shard_size=4)
    before = digest(tmp_path / "out")
    for name in ("SHA256SUMS", "manifest/00001.json", "staged/manifest/00002.json"):
        (tmp_path / "out" / name).unlink()
    tomorrow = time.time() + 24 * 3600
    for path in (tmp_path / "out").rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    run(pairs, tmp_path / "out", shard_size=4)
    assert digest(tmp_path / "out") == before and verify(tmp_path / "out") == []


def test_a_bug_in_one_shard_leaves_the_others_done(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pairloom.steps.image import Contain

    real = Contain.__call__

    def breaks(self: Contain, batch):  # type: ignore[no-untyped-def]
        if "000010" in batch["key"]:
            raise ZeroDivisionError("a bug")
        return real(self, batch)

    monkeypatch.setattr(Contain, "__call__", breaks)
    with pytest.raises(RunError, match="shard 1: ZeroDivisionError"):
        run(pairs, tmp_path / "out", shard_size=4)
    assert sorted(path.name for path in (tmp_path / "out" / "staged").glob("*.tar")) == ["00000.tar", "00002.tar"]
    monkeypatch.undo()
    assert run(pairs, tmp_path / "out", shard_size=4).resumed == 2
    assert verify(tmp_path / "out") == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(
    tmp_path: Path, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "pairs", 120)
    run("pairs", "whole", shard_size=10)
    command = [sys.executable, "-m", "pairloom", "run", "pairs", "out", "--shard-size", "10", "--workers", "2"]
    for delay in (0.6, 1.2, 1.6, 2.0):
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
        time.sleep(delay)
        os.killpg(process.pid, how) if how == signal.SIGINT else process.kill()
        _, said = process.communicate()
        if how == signal.SIGINT and process.returncode not in (0, -2):
            assert process.returncode == 130, said
            assert b"Traceback" not in said
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert digest(tmp_path / "whole") == digest(tmp_path / "out")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers by /proc")
def test_a_worker_that_is_killed_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pairs", 600)
    run(folder, tmp_path / "whole", "naive", shard_size=4)
    command = [sys.executable, "-m", "pairloom", "run", str(folder), str(tmp_path / "out"), "--recipe", "naive"]
    command += ["--shard-size", "4", "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "out").glob("*.tar")):
        time.sleep(0.01)
    workers = [worker for child in children(process.pid) for worker in children(child)]  # all are forked from one child
    os.kill(workers[-1], signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == 0 and "a worker process died (SIGKILL) at shard" in said and "Traceback" not in said
    assert digest(tmp_path / "whole") == digest(tmp_path / "out")


def test_a_full_disk_is_told_and_leaves_no_half_shard(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pairs", 40)
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "from pairloom.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "run", str(folder), str(tmp_path / "out"), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "stayed undone" in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*.tar")) and not list((tmp_path / "out").rglob("*.part-*"))
    assert run(folder, tmp_path / "out").pairs_out == 40


def test_a_damaged_output_is_found_out(pairs: Path, tmp_path: Path) -> None:
    run(pairs, tmp_path / "out", shard_size=5)
    tar = tmp_path / "out" / "00001.tar"
    data = bytearray(tar.read_bytes())
    data[2000] ^= 1
    tar.write_bytes(data)
    assert any("00001.tar" in fault for fault in verify(tmp_path / "out"))
    shutil.rmtree(tmp_path / "out" / "rejects")
    assert any("rejects/00000.parquet is missing" in fault for fault in verify(tmp_path / "out"))


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"files": [], "fingerprint": "", "stats": {}}'])
@pytest.mark.parametrize("name", ["manifest/00000.json", "manifest.jsonl", "sizes.json", "staged/manifest/00000.json"])
def test_a_manifest_that_makes_no_sense_is_told_and_mended(pairs: Path, tmp_path: Path, name: str, content: bytes) -> None:
    run(pairs, tmp_path / "out")
    before = digest(tmp_path / "out")
    (tmp_path / "out" / name).write_bytes(content)
    assert verify(tmp_path / "out") != [] or name.startswith("staged")
    run(pairs, tmp_path / "out")
    assert digest(tmp_path / "out") == before


def test_verify_survives_images_that_were_left_as_they_came(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pairs", 2)
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\2\0\0\0"
    (folder / "pair-000.jpg").write_bytes(bomb + zlib.crc32(bomb[12:]).to_bytes(4, "big"))
    run(folder, tmp_path / "out", Recipe.from_yaml("steps: [clean]"))
    assert any("000000" in fault for fault in verify(tmp_path / "out"))


def test_names_that_are_not_utf8_come_through(tmp_path: Path) -> None:
    odd = os.fsdecode(b"odd\xff")
    folder = write_pairs(tmp_path / odd, 3)
    assert run(folder, tmp_path / "first").pairs_out == 3
    (tmp_path / f"{odd}.tar").write_bytes((tmp_path / "first" / "00000.tar").read_bytes())
    for format in ("webdataset", "parquet"):
        output = tmp_path / f"{format}{odd}"
        summary = run([folder, tmp_path / f"{odd}.tar"], output, format=format)
        assert (summary.pairs_in, summary.output) == (6, f"{tmp_path}/{format}odd\\xff")
        assert run([folder, tmp_path / f"{odd}.tar"], output, format=format).resumed == 2
        assert verify(output) == []


def test_progress_counts_every_shard_once_whatever_comes_late() -> None:
    def counts(done: int, bad: int = 0) -> list[StepCount]:
        return [StepCount("read", False, done, done), StepCount("decode", False, done, done - bad, Counter({"odd": bad}))]

    seen: list[tuple[int, int]] = []
    progress = Progress(30, 1.0, lambda now: seen.append((now.summary.pairs_in, now.summary.pairs_out)))
    progress.finish([Stats(0, counts(10, 1)), Stats(1, counts(5))])
    progress.hear(2, counts(2))
    progress.hear(2, counts(4, 1))
    progress.finish([Stats(2, counts(6, 1))])
    progress.hear(2, counts(4, 1))  # heard after the end of the shard
    assert seen == [(15, 14), (17, 16), (19, 17), (21, 19)]
    assert progress.summary.reasons == {"odd": 2}
