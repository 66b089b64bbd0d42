"""Run-wide selection: which of the same pairs stays, and selecting anew."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import picture, write_pairs
from hypothesis import given
from hypothesis import strategies as st

from pairloom import Duplicates, KeepTop, RecipeError, UsageError, reselect, run, verify
from pairloom.recipe import Recipe

STEPS = "steps: [decode, image_hash, {contain: {longest: 64}}, encode]\n"


def keys(output: Path) -> list[str]:
    found: list[str] = []
    for path in sorted(output.glob("*.tar")):
        with tarfile.open(path) as tar:
            found += [member.name.split(".")[0] for member in tar if member.name.endswith(".txt")]
    return found


@pytest.fixture
def doubled(tmp_path: Path) -> Path:
    """Eight pairs: 5 repeats 1 whole, 6 repeats the image of 2 with another text, 7 is image 3 encoded anew."""
    folder = write_pairs(tmp_path / "pairs", 8)
    for number, of in ((5, 1), (6, 2)):
        shutil.copy(folder / f"pair-{of:03d}.jpg", folder / f"pair-{number:03d}.jpg")
    shutil.copy(folder / "pair-001.txt", folder / "pair-005.txt")
    shutil.copy(folder / "pair-003.txt", folder / "pair-007.txt")
    (folder / "pair-007.jpg").write_bytes(picture(93, 66, 3, "WEBP"))
    return folder


@pytest.mark.parametrize(
    ("options", "dropped"),
    [("{}", [5]), ("{of: image}", [5, 6]), ("{distance: 6}", [5, 7]), ("{of: image, distance: 6}", [5, 6, 7])],
)
def test_the_first_of_the_same_stays(doubled: Path, tmp_path: Path, options: str, dropped: list[int]) -> None:
    recipe = Recipe.from_yaml(f"{STEPS}select: [duplicates: {options}]")
    summary = run(doubled, tmp_path / "out", recipe, shard_size=3)
    numbers = [3 * int(key[:5]) + int(key[5:]) for key in keys(tmp_path / "out")]
    assert numbers == [number for number in range(8) if number not in dropped]
    assert summary.reasons == {"duplicate": len(dropped)}
    assert summary.pairs_in == summary.pairs_out + summary.pairs_rejected == 8
    assert verify(tmp_path / "out") == []
    rejects = [row for path in sorted((tmp_path / "out" / "rejects").iterdir()) for row in pq.read_table(path).to_pylist()]
    assert {row["step"] for row in rejects} == {"duplicates"}
    assert "same as 000001" in [row["message"] for row in rejects]


def test_selection_gives_the_same_bytes_however_it_is_made(doubled: Path, tmp_path: Path) -> None:
    recipe = Recipe.from_yaml(f"{STEPS}select: [duplicates]")
    run(doubled, tmp_path / "one", recipe, shard_size=3)
    run(doubled, tmp_path / "two", recipe, shard_size=3, workers=2)
    (tmp_path / "two" / "00001.tar").unlink()
    assert run(doubled, tmp_path / "two", recipe, shard_size=3).resumed == 3
    for path in (tmp_path / "one").glob("[0-9]*"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_selecting_anew_prepares_nothing_again(doubled: Path, tmp_path: Path) -> None:
    run(doubled, tmp_path / "out", Recipe.from_yaml(f"{STEPS}select: [duplicates]"), shard_size=3)
    (tmp_path / "near.yaml").write_text("steps: []\nselect: [duplicates: {of: image, distance: 6}]")
    assert reselect(tmp_path / "out", tmp_path / "near", str(tmp_path / "near.yaml")).pairs_out == 5
    assert verify(tmp_path / "near") == []
    assert len(keys(tmp_path / "out")) == 7
    with pytest.raises(UsageError, match="is a selection itself"):
        reselect(tmp_path / "near", tmp_path / "nearer")
    with pytest.raises(UsageError, match="another selection"):
        reselect(tmp_path / "out", tmp_path / "near")


def test_selecting_by_ones_own_scores(doubled: Path, tmp_path: Path) -> None:
    run(doubled, tmp_path / "out", Recipe.from_yaml(STEPS), shard_size=3)
    made = keys(tmp_path / "out")
    scores = pa.table({"key": list(reversed(made)), "taste": [float(number) for number in range(8)]})
    pq.write_table(scores, tmp_path / "scores.parquet")
    (tmp_path / "taste.yaml").write_text("steps: []\nselect: [keep_top: {column: taste, share: 0.5}]")
    reselect(tmp_path / "out", tmp_path / "tasty", str(tmp_path / "taste.yaml"), tmp_path / "scores.parquet")
    assert keys(tmp_path / "tasty") == made[:4]
    with pytest.raises(RecipeError, match="reads `taste`"):
        reselect(tmp_path / "out", tmp_path / "other", str(tmp_path / "taste.yaml"))
    pq.write_table(pa.table({"key": made, "taste": ["good"] * 8}), tmp_path / "words.parquet")
    with pytest.raises(RecipeError, match="needs numbers, but `taste` is of type string"):
        reselect(tmp_path / "out", tmp_path / "other", str(tmp_path / "taste.yaml"), tmp_path / "words.parquet")
    assert not (tmp_path / "other").exists()


def test_near_duplicates_need_hashes() -> None:
    with pytest.raises(RecipeError, match="put `image_hash` before it"):
        Recipe.from_yaml("steps: [decode, encode]\nselect: [duplicates: {distance: 3}]")


@given(st.lists(st.integers(0, 2**64 - 1).map(lambda n: n & 0xFF0F000000000003), max_size=40), st.integers(1, 16))
def test_near_is_what_comparing_all_pairs_says(values: list[int], distance: int) -> None:
    ledger = pa.table(
        {"key": [str(n) for n in range(len(values))], "phash": pa.array([f"{v:016x}" for v in values], pa.string())}
    )
    kept: list[int] = []
    expected = {}
    for row, value in enumerate(values):
        near = [old for old in kept if (values[old] ^ value).bit_count() <= distance]
        if near:
            expected[row] = f"same as {near[0]}"
        else:
            kept.append(row)
    assert Duplicates(of="image", distance=distance).drop(ledger) == expected


def test_keep_top_keeps_the_first_of_equals_and_drops_what_has_no_value() -> None:
    ledger = pa.table({"key": list("abcd"), "score": [1.0, None, 2.0, 1.0]})
    assert sorted(KeepTop("score", pairs=2).drop(ledger)) == [1, 3]


def test_a_shard_whose_drops_change_is_made_again_though_its_counts_stay(tmp_path: Path) -> None:
    words = {"a": 3, "b": 6, "c": 6, "d": 9}
    for name, count in words.items():  # one image; its texts give the scores
        folder = write_pairs(tmp_path / name, 1)
        (folder / "pair-000.txt").write_text("word " * count)
    recipe = Recipe.from_yaml(
        "steps: [decode, clean, {truncate: {by: tokens}}, encode]\n"
        "select: [keep_top: {column: tokens_kept, pairs: 3}, duplicates: {of: image}]"
    )
    folders = [tmp_path / name for name in words]
    run(folders[:3], tmp_path / "out", recipe)  # c is the same as a
    run(folders, tmp_path / "out", recipe, extend=True)  # a is no longer among the top: c is the same as b
    run(folders, tmp_path / "whole", recipe)
    for path in sorted((tmp_path / "whole").rglob("*.parquet")):
        assert (tmp_path / "out" / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()
