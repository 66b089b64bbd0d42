"""`verify` finds every flipped byte, missing and extra file; `repair` makes again what it found, and nothing else."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from test_run import TIMED, digest

from pairloom import RunError, UsageError, repair, reselect, run, verify


def told(output: Path) -> list[Path]:
    """The files of which every byte counts."""
    files = [path for path in sorted(output.rglob("*")) if path.is_file()]
    return [path for path in files if path.relative_to(output).parts[0] not in TIMED]


def flip(path: Path, place: int, bit: int = 1) -> None:
    """Change bits of one byte in place, so that hard links see it, too."""
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ bit]))


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_every_flipped_byte_is_found(pairs: Path, tmp_path: Path, format: str) -> None:
    run(pairs, tmp_path / "out", shard_size=5, format=format)
    chance = random.Random(0)
    for path in told(tmp_path / "out") * 2:
        place, bit = chance.randrange(path.stat().st_size), chance.randrange(1, 256)
        flip(path, place, bit)
        try:
            found = verify(tmp_path / "out")
        except (RunError, UsageError):
            found = ["no plan"]
        assert found, f"{path} at {place} with {bit}"
        flip(path, place, bit)
    assert verify(tmp_path / "out") == []


def test_every_missing_and_extra_file_is_found(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(pairs, out, shard_size=5)
    for path in told(out):
        path.rename(tmp_path / "away")
        if path.name == "plan.json":
            with pytest.raises(UsageError, match=r"no plan\.json"):
                verify(out)
        else:
            assert verify(out), path
        (tmp_path / "away").rename(path)
        path.with_name("mine").touch()
        assert verify(out) == [f"{path.with_name('mine').relative_to(out)} does not belong to the output"]
        path.with_name("mine").unlink()


@pytest.mark.parametrize("recipe", ["default", "naive"])
def test_a_shard_of_another_recipe_is_found_and_mended(pairs: Path, tmp_path: Path, recipe: str) -> None:
    run(pairs, tmp_path / "old", "letterbox", shard_size=5)
    run(pairs, tmp_path / "out", recipe, shard_size=5)
    before = digest(tmp_path / "out")
    place = tmp_path / "out" / "staged" if recipe == "default" else tmp_path / "out"
    for name in ("00001.tar", "00001.parquet", "00001_stats.json", "manifest/00001.json", "rejects/00001.parquet"):
        source = next(root / name for root in (tmp_path / "old/staged", tmp_path / "old") if (root / name).exists())
        (place / name).unlink()
        shutil.copy(source, place / name)
    assert "shard 1: it was made by another recipe, or with other versions" in verify(tmp_path / "out")
    repair(tmp_path / "out")
    assert digest(tmp_path / "out") == before


def test_other_tools_check_the_sums(pairs: Path, tmp_path: Path) -> None:
    run(pairs, tmp_path / "out", shard_size=5)
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "out", check=True, capture_output=True)


@pytest.mark.parametrize("recipe", ["default", "naive"])
def test_only_what_is_damaged_is_made_again(pairs: Path, tmp_path: Path, recipe: str) -> None:
    out = tmp_path / "out"
    run(pairs, out, recipe, shard_size=2)
    before = digest(out)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("0000[03]*.tar")}
    flip(out / "00001.tar", 700)
    (out / "00002.parquet").unlink()
    flip(out / "manifest" / "00004.json", 30)
    (out / "sizes.json").write_text("{}")
    found: list[str] = []
    summary = repair(out, say=found.append)
    assert (summary.shards, summary.resumed) == (5, 2)
    assert any("00001.tar is not what was written" in fault for fault in found)
    assert digest(out) == before and verify(out) == []
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert repair(out).resumed == 5


def test_what_can_not_be_repaired_is_left_as_it_is(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(pairs, out, shard_size=5)
    (tmp_path / "all.yaml").write_text("steps: []")
    reselect(out, tmp_path / "selected", str(tmp_path / "all.yaml"))
    with pytest.raises(UsageError, match="is a selection"):
        repair(tmp_path / "selected")
    assert verify(tmp_path / "selected") == []
    flip(out / "00001.tar", 700)
    before = digest(out)
    text = (pairs / "pair-000.txt").read_text()
    (pairs / "pair-000.txt").write_text("Something else altogether.")
    with pytest.raises(UsageError, match="has changed"):
        repair(out)
    assert digest(out) == before
    (pairs / "pair-000.txt").write_text(text)
    (out / "plan.json").write_text((out / "plan.json").read_text() + " ")
    with pytest.raises(RunError, match="is damaged"):
        repair(out)
