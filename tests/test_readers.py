"""Readers: every kind of input gives the same pairs, in shards of any size."""

import gc
import io
import json
import os
import tarfile
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from reader_files import KINDS, PAIRS, Pair, codes, make, pairs_tar, plain, read_all, rows_of, tar, values, write

from pairloom.errors import UsageError
from pairloom.readers import ReadOptions, Shard, let_go, plan, read
from pairloom.readers.listing import Entry
from pairloom.readers.webdataset import TarHeader


def wanted(kind: str, pairs: list[Pair] = PAIRS) -> list[tuple[bytes, tuple[str, ...]]]:
    """What an input of that kind gives: a folder is sorted, all else keeps its order."""
    pairs = sorted(pairs, key=lambda pair: pair[0].encode()) if kind == "folder" else pairs
    return [(image, (text,)) for _, image, text in pairs]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_pairs(kind: str, tmp_path: Path) -> None:
    path = make(kind, tmp_path)
    rows = read_all(path)
    assert values(rows) == wanted(kind)
    assert codes(rows) == [None] * len(PAIRS)
    container = plan(str(path)).containers[0]
    assert container.rows == len(PAIRS) and container.size > 0 and container.mtime_ns > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shard_size", [1, 2, 5, 7])
def test_offsets(kind: str, shard_size: int, tmp_path: Path) -> None:
    path = str(make(kind, tmp_path))
    found = plan(path, shard_size=shard_size)
    assert [shard.rows for shard in found.shards[:-1]] == [shard_size] * (len(found.shards) - 1)
    # The last shard first: none may lean on another.
    parts = [list(read(shard)) for shard in reversed(found.shards)]
    assert [row for part in reversed(parts) for row in part] == rows_of(plan(path))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 99])
def test_limit_takes_the_first_and_sample_some_evenly(kind: str, count: int, tmp_path: Path) -> None:
    path = make(kind, tmp_path)
    everything = read_all(path)
    assert read_all(path, limit=count) == everything[:count]
    some = [everything.index(row) for row in read_all(path, sample=count)]
    assert len(some) == min(count, len(everything)) and some == sorted(set(some))
    gaps = [after - before for before, after in pairwise(some)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert len(read_all(path, limit=4, sample=2)) == 2


def test_shards_without_picks_vanish(tmp_path: Path) -> None:
    paths = [str(pairs_tar(tmp_path / f"{number}.tar", PAIRS)) for number in range(4)]
    found = plan(paths, shard_size=2, sample=2)
    assert [(shard.index, shard.container, shard.rows, shard.picks) for shard in found.shards] == [
        (0, paths[1], 1, (0,)),
        (1, paths[3], 1, (0,)),
    ]
    found = plan(paths, limit=10)
    assert [each.rows for each in found.containers] == [7, 3]


def test_an_edit_changes_what_tells_a_container(tmp_path: Path) -> None:
    path = str(make("folder", tmp_path))
    before = plan(path).containers
    (tmp_path / "cat.txt").write_text("another text")
    assert plan(path).containers != before


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 2, 3], [3, 2, 1, 0], [1, 1, 0, 3, 3]])
def test_shards_of_a_folder_in_any_order(order: list[int], tmp_path: Path) -> None:
    for number in range(11):
        (tmp_path / str(number % 3)).mkdir(exist_ok=True)
        make("folder", tmp_path / str(number % 3), [(f"{number}", b"image %d" % number, f"text {number}")])
    shards, options = plan(str(tmp_path), shard_size=3).shards, ReadOptions()
    alone = [plain(list(read(shard, ReadOptions()))) for shard in shards]
    half_read = read(shards[1], options)
    next(half_read)
    assert [plain(list(read(shards[number], options))) for number in order] == [alone[number] for number in order]
    assert len(list(half_read)) == 2


def test_a_folder_is_listed_once_for_all_its_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, options = str(make("folder", tmp_path)), ReadOptions()
    found, scan, listed = plan(path, shard_size=2), os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scan(folder))
    assert len(rows_of(found, options)) == len(PAIRS)
    assert listed == [path]
    list(read(found.shards[0], options))
    (tmp_path / "aaa.txt").write_text("a text more")  # from here on each pair is the next one
    second = plan(path, shard_size=2).shards[1]
    assert plain(list(read(second, options))) == plain(list(read(second, ReadOptions())))
    let_go()
    assert not any(isinstance(each, Entry) for each in gc.get_objects())


def test_webdataset_reads_the_same_tar_the_same_way(tmp_path: Path) -> None:
    names = [
        "a.jpg",
        "a.TXT",
        "sub/b.x.jpg",
        "sub/b.x.txt",
        "sub.d/c.png",
        "sub.d/c.txt",
        "plain",
        "__m__/x.jpg",
        "d.jpeg",
        "d.json",
    ]
    texts = {"d.json": json.dumps({"caption": "in json", "width": 3}).encode()}
    path = tar(tmp_path / "odd.tar", [(name, texts.get(name, name.encode())) for name in names])
    for file in (path, pairs_tar(tmp_path / "pairs.tar", PAIRS)):
        theirs = list(webdataset.WebDataset(str(file), shardshuffle=False))
        ours = read_all(file)
        assert [row.source_key for row in ours] == [each["__key__"] for each in theirs]
        for row, each in zip(ours, theirs, strict=True):
            assert row.image == next(each[suffix] for suffix in each if suffix.rpartition(".")[2] in ("jpg", "png", "jpeg"))
            text = each.get("txt", each.get("x.txt"))
            if text is not None and "x.txt" not in each:
                assert row.texts == (text.decode(),)
    assert read_all(path)[-1].texts == ("in json",)
    assert json.loads(read_all(path)[-1].extra) == {"width": 3}


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
odd = st.one_of(words, st.text("\",;\n\r\t 'aé中👍", max_size=12)).filter(str.strip)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/."), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(names, st.binary(max_size=9), odd), min_size=1, max_size=8), st.integers(1, 4), st.sampled_from(KINDS[1:])
)
def test_whatever_the_texts_the_pairs_come_back(found: list[Pair], shard_size: int, kind: str) -> None:
    # File names that a file system folds together are not what this is about.
    pairs = [(f"{number}", image, text) for number, (_, image, text) in enumerate(found)]
    pairs = [(name if kind == "webdataset" else stem, *rest) for (stem, *rest), (name, *_) in zip(pairs, found, strict=True)]
    unique = list({stem: (stem, image, text) for stem, image, text in pairs}.values())
    with TemporaryDirectory() as folder:
        path = make(kind, Path(folder), unique)
        rows = rows_of(plan(str(path), shard_size=shard_size))
        assert values(rows) == wanted(kind, unique)
        assert codes(rows) == [None] * len(unique)
        if kind == "webdataset":
            assert [row.source_key for row in rows] == [stem for stem, _, _ in unique]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([b'"', b",", b"\n", b"\r\n", b"a", b"\t", b"\xff", b"\0", "中".encode(), b"a.jpg,x\n"]), max_size=60)
)
def test_any_csv_is_read_to_its_end_in_shards_of_any_size(parts: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "any.csv")
        path.write_bytes(b"image,text\n" + b"".join(parts) + b"\nlast.jpg,the last\n")
        rows = read_all(path)
        assert rows[-1].source_key == "last.jpg" or b'"' in path.read_bytes()
        assert len(rows) <= path.read_bytes().count(b"\n")


def test_columns_by_usual_names_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")
    path = write(tmp_path, "t.csv", "TEXT,Path,IMAGE,width", "a text,b.jpg,a.jpg,3")
    row = read_all(path)[0]
    assert (row.image, row.texts, row.source_key) == (b"image", ("a text",), "a.jpg")
    assert json.loads(row.extra) == {"Path": "b.jpg", "width": "3"}
    path = write(tmp_path, "u.csv", "où,quoi", "a.jpg,un texte")
    with pytest.raises(UsageError, match=r"columns are: où, quoi.*--image-column"):
        plan(str(path))
    with pytest.raises(UsageError, match=r"no column 'what'.*--text-column"):
        plan(str(path), ReadOptions("où", "what"))
    assert values(read_all(path, ReadOptions("où", "quoi"))) == [(b"image", ("un texte",))]
    pq.write_table(pa.table({"url": ["x"], "n": [1]}), tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="url, n"):
        plan(str(tmp_path / "t.parquet"))
    with pytest.raises(UsageError, match="url"):
        plan(str(write(tmp_path, "t.jsonl", '{"url": 1}')))


def test_keys_of_tables(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")
    path = write(tmp_path, "t.csv", "id,image,text", "x,a.jpg,1", "y,a.jpg,2", ",a.jpg,3", "x,a.jpg,4", ",a.jpg,5")
    rows = read_all(path)
    assert [row.source_key for row in rows] == ["x", "y", "a.jpg", "x", "a.jpg"]
    assert codes(rows) == [None, None, None, "duplicate_key", None]
    assert {row.extra for row in rows} == {"{}"}
    assert codes(read_all(path, sample=4)) == [None, None, "duplicate_key", None]
    pq.write_table(pa.table({"uid": [7, 8, 7, None], "image": [b"i"] * 4, "text": ["t"] * 4}), tmp_path / "t.parquet")
    rows = read_all(tmp_path / "t.parquet")
    assert [row.source_key for row in rows] == ["7", "8", "7", "3"]
    assert codes(rows) == [None, None, "duplicate_key", None]


def test_several_captions_and_extra_columns(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")
    lines = ['{"image": "a.jpg", "captions": ["one", null, "two"], "box": [1, 2]}', '{"image": "a.jpg", "captions": "three"}']
    rows = read_all(write(tmp_path, "t.jsonl", *lines))
    assert [row.texts for row in rows] == [("one", "two"), ("three",)]
    assert json.loads(rows[0].extra) == {"box": [1, 2]}
    table = pa.table({"img": [b"i"], "texts": [["one", "two"]], "score": [0.5], "vector": [b"big"], "deep": [[{"b": b"big"}]]})
    pq.write_table(table, tmp_path / "t.parquet")
    row = read_all(tmp_path / "t.parquet")[0]
    assert row.texts == ("one", "two") and json.loads(row.extra) == {"score": 0.5}


def test_the_separator_of_a_csv_is_in_its_header(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")
    for separator in (",", "\t", ";"):
        path = write(tmp_path, "t.csv", f"filepath{separator}title", f"a.jpg{separator}a text")
        assert values(read_all(path)) == [(b"image", ("a text",))]


def test_crlf_blank_lines_and_no_line_break_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")
    path = tmp_path / "t.csv"
    path.write_bytes(b'\r\nimage,text\r\n\r\na.jpg,one\r\n\r\na.jpg,"two\r\n\r\nlines"\r\na.jpg,three')
    assert [row.texts for row in read_all(path)] == [("one",), ("two\r\n\r\nlines",), ("three",)]


def test_parquet_reads_only_the_row_groups_that_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"image": [bytes([n]) * 999 for n in range(40)], "text": ["t"] * 40}), path, row_group_size=4, compression="none"
    )
    asked: list[int] = []
    iter_batches = pq.ParquetFile.iter_batches

    def spy(self: pq.ParquetFile, *args: Any, row_groups: list[int], **more: Any) -> Any:
        asked.extend(row_groups)
        return iter_batches(self, *args, row_groups=row_groups, **more)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    images = [row.image or b"" for row in rows_of(plan(str(path), sample=4))]
    assert [image[0] for image in images] == [5, 15, 25, 35] and asked == [1, 3, 6, 8]
    asked.clear()
    images = [row.image or b"" for row in rows_of(plan(str(path), sample=8))]
    assert [image[0] for image in images] == [2, 7, 12, 17, 22, 27, 32, 37] and asked == [0, 1, 3, 4, 5, 6, 8, 9]
    asked.clear()
    assert [(row.image or b"")[0] for row in read(plan(str(path), shard_size=6).shards[2])] == list(range(12, 18))
    assert asked == [3, 4]


def test_large_cells_do_not_accumulate(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    image = bytes(range(256)) * 4000
    with pq.ParquetWriter(
        path, pa.schema({"image": pa.binary(), "text": pa.string()}), use_dictionary=False, write_batch_size=4
    ) as writer:
        writer.write_table(pa.table({"image": [image] * 200, "text": ["t"] * 200}), row_group_size=200)
    peak = 0
    for row in read(plan(str(path)).shards[0]):
        assert row.image == image
        peak = max(peak, pa.total_allocated_bytes())
    assert peak < 50 << 20 < 200 * len(image)


def test_one_large_value_in_a_dictionary_is_not_taken_for_small(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": [b"image"] * 64, "text": ["word " * 800_000] * 64}), path)
    assert path.stat().st_size < 1 << 20
    before, peak = pa.total_allocated_bytes(), 0
    for _ in read(plan(str(path)).shards[0]):
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 200 << 20 < 64 * 4_000_000


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["a.jpg", "dir/sub/中文.jpg", "x" * 95 + ".jpg", "d" * 90 + "/" + "f" * 60 + ".jpg"])
def test_plain_headers_are_read_as_tarfile_reads_them(format: int, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.uname = 700, 1_700_000_000, "someone"
    about_all = tarfile.TarInfo.create_pax_global_header({"path": "another.jpg"}) if format == tarfile.PAX_FORMAT else b""
    for before in (b"", about_all):
        one = before + info.tobuf(format) + bytes(1024)
        for dirt in (b"", b"\1"):
            data = dirt + one[len(dirt) :] + info.tobuf(format) + bytes(2048)
            assert _members(data, TarHeader) == _members(data, tarfile.TarInfo)


def _members(data: bytes, kind: type[tarfile.TarInfo]) -> list[tuple[object, ...]] | str:
    """Every member of a tar with its place, or what is wrong."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), tarinfo=kind) as tar:
            return [(one.name, one.size, one.type, one.offset, one.offset_data) for one in tar]
    except tarfile.ReadError as error:
        return str(error)


def test_huge_tars_keep_no_headers(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for number in range(3000):
            file.addfile(tarfile.TarInfo(f"{number}.jpg"))
    del file  # it keeps its headers
    path = tmp_path / "many.tar"
    path.write_bytes(buffer.getvalue())
    found = plan(str(path), shard_size=1000)
    assert [shard.offset for shard in found.shards] == [0, 512000, 1024000]
    assert [next(iter(read(shard))).source_key for shard in found.shards] == ["0", "1000", "2000"]
    for row in read(plan(str(path)).shards[0]):
        if row.source_key == "2500":
            assert sum(isinstance(each, tarfile.TarInfo) for each in gc.get_objects()) < 100


def test_nothing_is_read_beyond_the_last_row_of_a_shard() -> None:
    for shard in (Shard(0, "x", "csv", 5, 3, 0), Shard(0, "x", "csv", 5, 2, 0, picks=(5, 7))):
        letters = iter("abcde")
        assert [number for number, _ in shard.pick(letters)] == list(shard.numbers)
        assert next(letters) == "d"
    assert list(Shard(0, "x", "csv", 5, 0, 0).pick("abc")) == []
