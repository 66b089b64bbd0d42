"""What `check` says that an input was taken for, and why."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import picture, write_pairs
from test_cli import pairloom_command

from pairloom import ReadOptions, UsageError, readers
from pairloom.readers.taken import Taken, taken


def of(*inputs: Path | str, **options: str) -> list[Taken]:
    return list(taken([str(each) for each in inputs], ReadOptions(**options)))  # type: ignore[arg-type]


def tar(path: Path, *members: str) -> Path:
    with tarfile.open(path, "w") as made:
        for member in members:
            made.addfile(tarfile.TarInfo(member))
    return path


def test_a_folder_of_images(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs" / "deep", 3)
    for name in ("deep/new.HEIC", "deep/old.heic", "README", ".hidden.jpg", "deep/more.json"):
        (tmp_path / "pairs" / name).write_text("{}")
    write_pairs(tmp_path / "pairs" / ".cache", 2)
    [one] = of(tmp_path / "pairs")
    assert (one.kind, one.why, one.containers) == ("folder", "the folder holds images", 1)
    assert one.fields == {"image": ".jpg 3", "text": ".txt 3, .json 1, of the image's stem"}
    assert one.passed_over == {"heic": 2, "": 1}
    assert "passed over: .heic 2, without suffix 1" in str(one)


def test_columns_are_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("URL\tTEXT\tSAMPLE_ID\tfilepath\tcaption\nhttp://a\ta cat\t7\tx.jpg\tb\n")
    [one] = of(tmp_path / "pairs.tsv")
    usual = {"image": "column `filepath`, a usual name", "text": "column `TEXT`, a usual name"}
    assert one.fields == {**usual, "key": "column `SAMPLE_ID`, a usual name"} and one.why == "its suffix is .tsv"
    assert of(tmp_path / "pairs.tsv", fetch="public")[0].fields["image"] == "column `URL`, a usual name"
    assert of(tmp_path / "pairs.tsv", text_column="caption")[0].fields["text"] == "column `caption`, as you named it"
    with pytest.raises(UsageError, match="no column 'nothing'"):
        of(tmp_path / "pairs.tsv", text_column="nothing")


def test_tars_with_what_lies_beside_them(tmp_path: Path) -> None:
    for number in range(3):
        tar(tmp_path / f"{number}.tar", "a.png", "a.json", "b.png", "b.seg.png", "b.json")
        (tmp_path / f"{number}.parquet").write_bytes(b"")
    [one] = of(tmp_path)
    assert (one.kind, one.containers, one.first) == ("webdataset", 3, f"{tmp_path}/0.tar")
    assert one.fields == {"image": ".png 2, .seg.png 1", "text": ".json 2"} and one.passed_over == {"parquet": 3}
    assert of(tar(tmp_path / "texts.tar", "a.txt"))[0].fields == {"image": "none", "text": ".txt 1"}


def test_parquet_in_the_folder_that_the_hub_has(tmp_path: Path) -> None:
    (tmp_path / "hub" / "data").mkdir(parents=True)
    pq.write_table(pa.table({"jpg": ["a.jpg"], "txt": ["a"]}), tmp_path / "hub" / "data" / "train.parquet")
    [one] = of(tmp_path / "hub")
    assert (
        "it is the folder data of " in one.why and one.fields["image"] == "column `jpg`, a usual name" and "key" not in one.fields
    )


def test_metadata_of_an_imagefolder(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.jpg", "text": "a"}\n')
    (tmp_path / "a.jpg").write_bytes(picture(9, 9))
    [one] = of(tmp_path)
    assert (one.kind, one.why) == ("jsonl", "the folder holds metadata.jsonl, as Hugging Face's imagefolder does")


def test_neighbours_of_one_kind_are_told_of_once(tmp_path: Path) -> None:
    (tmp_path / "llava.json").write_text("[]")
    for name in "abc":
        (tmp_path / f"{name}.csv").write_text("image,text\nx.jpg,x\n")
    found = of(tmp_path / "*.csv", tmp_path / "llava.json", tmp_path / "a.csv")
    assert [(one.kind, one.containers) for one in found] == [("csv", 3), ("llava", 1), ("csv", 1)]
    assert [path for path, _ in readers.containers([str(tmp_path / "*.csv")])] == [f"{tmp_path}/{name}.csv" for name in "abc"]


@pytest.mark.parametrize(("name", "data"), [("x.parquet", b"PAR1 none"), ("x.csv", b""), ("x.tar", b"none"), ("x.jsonl", b"{")])
def test_what_is_broken_is_left_to_the_plan(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert of(tmp_path / name)[0].fields == {}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that opens and can't be read")
def test_what_cannot_be_read_is_left_to_the_plan(tmp_path: Path) -> None:
    (tmp_path / "x.csv").symlink_to("/proc/self/mem")
    assert of(tmp_path / "x.csv")[0].fields == {}
    assert [fault.code for fault in readers.plan(str(tmp_path / "x.csv")).shards[0].faults] == ["unreadable"]


def test_check_says_it(tmp_path: Path) -> None:
    write_pairs(tmp_path / "raw", 2)
    texts = [["one", "two"], ["three"]]
    lines = [{"image": f"raw/pair-00{n}.jpg", "captions": texts[n], "similarity": 0.3} for n in range(2)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = pairloom_command("check", tmp_path / "pairs.jsonl", "--recipe", "naive").stderr
    assert f"{tmp_path}/pairs.jsonl: JSON lines, because its suffix is .jsonl" in said
    assert "\n  text  column `captions`, a usual name\n" in said
    assert "1 to 2 texts a pair; kept beside them, in `extra`: similarity\n" in said
    found = json.loads(pairloom_command("check", tmp_path / "pairs.jsonl", "--recipe", "naive", "--json").stdout)
    assert found["texts_per_pair"] == [1, 2] and found["extra"] == ["similarity"] and found["inputs"][0]["kind"] == "jsonl"
