"""What counts as an input: files, folders, globs, brace ranges, lists, URLs."""

from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reader_files import PAIRS, WANTED, codes, make, pairs_tar, read_all, rows_of, tar, values, write

from pairloom.errors import UsageError
from pairloom.readers import ReadOptions, plan


def test_braces_lists_and_globs(tmp_path: Path) -> None:
    for number in range(9, 12):
        pairs_tar(tmp_path / f"{number:03}.tar", [(f"{number}", b"i", "t")])
    base = f"{tmp_path}/"

    def keys(*inputs: str) -> list[str]:
        return [row.source_key for row in rows_of(plan(inputs))]

    assert keys(base + "{009..011}.tar") == ["9", "10", "11"]
    assert keys(base + "{011..009}.tar") == ["11", "10", "9"]
    assert keys(base + "{010,009}.tar") == ["10", "9"]
    assert keys(base + "0{1..1}{1,0}.tar") == ["11", "10"]
    assert keys(f"{base}010.tar::{base}0{{09..09}}.tar") == ["10", "9"]
    assert keys(base + "*.tar") == keys(base + "0??.tar") == keys(str(tmp_path)) == ["9", "10", "11"]
    assert keys(base + "01[01].tar", base + "009.tar") == ["10", "11", "9"]
    assert [each.name for each in plan(base + "{009..010}.tar").containers] == [base + "009.tar", base + "010.tar"]
    odd = tmp_path / "{a,b}*[x]::.tar"
    pairs_tar(odd, [("odd", b"i", "t")])
    assert keys(str(odd)) == ["odd"]
    with pytest.raises(UsageError, match=r"'.*/012.tar' and 1 more|'.*/012.tar', '.*/013.tar', named by"):
        plan(base + "{009..013}.tar")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("absent.tar", "no such file or folder: .*absent.tar"),
        ("*.parquet", "no file matches .*parquet"),
        ("a.txt", "has none of the suffixes .tar, .csv"),
        ("a.tar.gz", "unpack"),
        ("a.jpg", "give the folder"),
        ("empty", "holds no images, tars or tables"),
        ("mixed", "several kinds"),
        ("empty.csv", "not one pair"),
        ("header.csv", "not one pair"),
        ("empty.jsonl", "not one pair"),
        ("none.tar", "not one pair"),
        ("a.txt::absent", "absent"),
        ("{0..99999999}.tar", "names more than"),
        ("nul\0.tar", "no such file"),
        ("nul\0/*.tar", "no file matches"),
        ("", "no such file"),
    ],
)
def test_what_is_no_input_is_said_so(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "a.tar.gz", "a.jpg", "empty.csv", "empty.jsonl"):
        Path(name).write_bytes(b"")
    Path("header.csv").write_text("image,text\n")
    tar(Path("none.tar"), [])
    Path("empty").mkdir()
    Path("mixed").mkdir()
    Path("mixed/a.csv").write_text("image,text\n")
    Path("mixed/a.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match=message):
        plan(text)


def test_numbers_that_make_no_sense(tmp_path: Path) -> None:
    path = str(make("jsonl", tmp_path))
    for settings_ in ({"shard_size": 0}, {"limit": 0}, {"sample": -1}):
        with pytest.raises(UsageError, match="at least 1"):
            plan(path, ReadOptions(), **settings_)
    with pytest.raises(UsageError, match="no input"):
        plan([])
    with pytest.raises(UsageError, match="no encoding"):
        plan(path, ReadOptions(encoding="klingon"))
    with pytest.raises(UsageError, match="line by line"):
        plan(path, ReadOptions(encoding="utf-16"))


def test_what_a_folder_holds(tmp_path: Path) -> None:
    pairs_tar(tmp_path / "b.tar", PAIRS)
    pairs_tar(tmp_path / "a.tar", PAIRS)
    (tmp_path / "a.parquet").write_bytes(b"a ledger")
    (tmp_path / "a_stats.json").write_bytes(b"{}")
    assert [Path(each.name).name for each in plan(str(tmp_path)).containers] == ["a.tar", "b.tar"]
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "x.jpg").write_bytes(b"image")
    (tmp_path / "deep" / "er" / "x.txt").write_bytes(b"text")
    assert [each.kind for each in plan(str(tmp_path)).containers] == ["folder"]
    assert read_all(tmp_path)[-1].source_key == "deep/er/x"
    for name in ("deep/z", "also/y", "deep/er/a/w"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.jpg").write_bytes(b"image")
    assert [row.source_key for row in read_all(tmp_path)] == ["a_stats", "also/y", "deep/z", "deep/er/x", "deep/er/a/w"]
    write(tmp_path, "metadata.csv", "file_name,text", "deep/er/x.jpg,other text")
    assert values(read_all(tmp_path)) == [(b"image", ("other text",))]
    tables = tmp_path / "tables"
    tables.mkdir()
    for number in (2, 1):
        pq.write_table(pa.table({"image": [b"i"], "text": [str(number)]}), tables / f"train-{number}.parquet")
    assert [row.texts for row in read_all(tables)] == [("1",), ("2",)]


@pytest.mark.parametrize("kind", ["webdataset", "jsonl", "csv", "parquet_bytes"])
def test_urls(kind: str, tmp_path: Path) -> None:
    path = make(kind, tmp_path)
    assert values(read_all(f"file://{path}")) == WANTED
    url = f"memory://readers/{path.name}"
    with fsspec.open(url, "wb") as file:
        file.write(path.read_bytes())
    there = kind in ("webdataset", "parquet_bytes")
    assert codes(read_all(url)) == [None if there else "missing_image"] * len(PAIRS)
    assert plan(url).containers[0].size == path.stat().st_size
    assert values(read_all(url.replace(".", "*."))) == values(read_all(url))
    assert values(read_all(f"{url}::{url}")) == 2 * values(read_all(url))
    with pytest.raises(UsageError, match="no such file"):
        plan(url.replace("pairs", "absent"))
    with pytest.raises(UsageError, match="can't be opened"):
        plan(url.replace("memory", "klingon"))
