"""Readers and hostile tables: one bad row costs one row, a broken table keeps what came before, nothing raises."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reader_files import codes, faults, make, read_all, values

from pairloom.errors import UsageError
from pairloom.readers import ReadOptions, plan, read


def table(folder: Path, name: str, data: bytes | str) -> Path:
    """A text table with an image beside it."""
    (folder / "a.jpg").write_bytes(b"image")
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return folder / name


# Text tables


def test_broken_json_lines_cost_one_row_each(tmp_path: Path) -> None:
    lines = [
        b'{"image": "a.jpg", "text": "one"}',
        b'{"image": "a.jpg", "text": "cut',
        b"[1, 2]",
        b'"a string"',
        b"{} {}",
        b"[" * 100_000,
        b'{"image": "a.jpg", "text": "\xff"}',
        b'{"image": "a.jpg", "text": "\0"}',
        b'{"image": "a.jpg", "text": "\\u0000"}',
        b'{"image": "a.jpg", "text": "\\ud800"}',
        b'{"image": "\\ud800.jpg", "text": "t"}',
        b'{"image": "\\u0000.jpg", "text": "t"}',
        b'{"image": "a.jpg", "text": null}',
        b'{"image": null, "text": "t"}',
        b'{"image": "a.jpg", "text": 5}',
        b'{"image": 5, "text": "t"}',
        b'{"image": "a.jpg", "text": ["t", 5]}',
        b'{"image": "a.jpg", "text": []}',
        b'{"image": "a.jpg", "text": " "}',
        b'{"image": "absent.jpg", "text": "t"}',
        b'{"image": "' + b"x" * 5000 + b'.jpg", "text": "t"}',
        b'{"image": "a.jpg", "text": "' + b"x" * (10 << 20) + b'"}',
        b'{"image": "a.jpg", "text": "last", "nan": NaN, "\\ud800": 1, "deep": {"a": "\\ud800"}}',
    ]
    rows = read_all(table(tmp_path, "t.jsonl", b"\n".join(lines)))
    assert codes(rows) == [
        *(None, "broken_row", "broken_row", "broken_row", "broken_row", "broken_row", "text_encoding", "broken_row"),
        *("text_encoding", "text_encoding", "missing_image", "missing_image", "missing_text", "missing_image"),
        *("mistyped_cell", "mistyped_cell", "mistyped_cell", "missing_text", "empty_text", "missing_image"),
        *("unreadable", "too_many_bytes", None),
    ]
    assert rows[-1].texts == ("last",) and rows[-1].extra == "{}"
    assert rows[1].source_key == "1" and rows[12].image == b"image"
    for row in rows:
        json.dumps([row.source_key, row.source, *row.texts]).encode()
        row.source_key.encode()


def test_an_unbalanced_quote_costs_one_row(tmp_path: Path) -> None:
    lines = ["image,text", "a.jpg,one", 'a.jpg,"two', "a.jpg,three", 'a.jpg,"four', 'and a half"', 'a.jpg,"five" or so']
    lines += ["a.jpg,six,seven", "a.jpg", 'a.jpg,5" nails', 'a.jpg,"last']
    rows = read_all(table(tmp_path, "t.csv", "\n".join(lines)))
    texts = [row.texts[0] if row.texts else None for row in rows]
    assert texts == ["one", None, "three", "four\nand a half", None, None, None, '5" nails', None]
    assert set(codes(rows)) == {None, "broken_row"}


def test_a_quote_never_swallows_more_than_the_limit(tmp_path: Path) -> None:
    # Read as one record, all of it would be valid.
    lines = ['a.jpg,"never closed', *(f"a.jpg,{number}" for number in range(1500)), 'closed"']
    rows = read_all(table(tmp_path, "t.csv", "image,text\n" + "\n".join(lines)))
    assert codes(rows) == ["broken_row", *[None] * 1500, "broken_row"]
    long = "x" * 70_000
    lines = ['a.jpg,"never closed', *(f"a.jpg,{long}" for _ in range(30)), 'closed"']
    rows = read_all(table(tmp_path, "u.csv", "image,text\n" + "\n".join(lines)))
    assert codes(rows) == ["broken_row", *[None] * 30, "broken_row"]


def test_lines_too_long_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairloom.readers.lines.MAX_LINE_BYTES", 100)
    lines = [f"a.jpg,{'x' * size}" for size in (1, 92, 93, 94, 200, 1 << 20, 2 << 20, 2)]
    rows = read_all(table(tmp_path, "t.csv", "image,text\n" + "\n".join(lines) + "\n"))
    assert [len(row.texts[0]) if row.texts else None for row in rows] == [1, 92, 93, None, None, None, None, 2]


def test_bytes_that_are_not_utf8_cost_one_row(tmp_path: Path) -> None:
    data = b"image,text\na.jpg,one\na.jpg,\xff\xfe\na.jpg,nul\0\na.jpg,last\n"
    assert codes(read_all(table(tmp_path, "t.csv", data))) == [None, "text_encoding", "broken_row", None]


def test_encodings_of_tables(tmp_path: Path) -> None:
    text = 'image,text\na.jpg,"一只鸟，\n两只鸟"\na.jpg,last\n'
    wanted = [(b"image", ("一只鸟，\n两只鸟",)), (b"image", ("last",))]
    assert values(read_all(table(tmp_path, "bom.csv", text.encode("utf-8-sig")))) == wanted
    assert values(read_all(table(tmp_path, "bom.csv", text.encode("utf-8-sig")), ReadOptions(encoding="gbk"))) == wanted
    gbk = table(tmp_path, "gbk.csv", text.encode("gbk"))
    assert codes(read_all(gbk)) == ["text_encoding", None]
    assert values(read_all(gbk, ReadOptions(encoding="gb18030"))) == wanted
    line = '{"image": "a.jpg", "text": "t"}\n'
    assert codes(read_all(table(tmp_path, "bom.jsonl", line.encode("utf-8-sig")))) == [None]
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        assert faults(table(tmp_path, "wide.csv", text.encode(encoding))) == [("encoding", 0)]
        assert faults(table(tmp_path, "wide.jsonl", line.encode(encoding))) == [("encoding", 0)]
    assert faults(table(tmp_path, "header.csv", "图,文\n".encode("gbk"))) == [("encoding", 0)]
    assert faults(table(tmp_path, "quote.csv", 'image,"text\na.jpg,x\n')) == [("broken_header", 0)]


def test_paths_in_tables(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe")
    lines = [str(tmp_path / "a.jpg"), "./a.jpg", "folder.jpg", "pipe", "a.jpg/b.jpg", "", "/dev/zero", "http://x/y.jpg"]
    rows = read_all(table(tmp_path, "t.csv", "image,text\n" + "".join(f"{line},t\n" for line in lines)))
    missing = "missing_image"
    assert codes(rows) == [None, None, "unreadable", "unreadable", missing, missing, "unreadable", missing]


def test_json_lines_without_one_valid_line(tmp_path: Path) -> None:
    assert codes(read_all(table(tmp_path, "t.jsonl", "not\njson\n"))) == ["broken_row"] * 2


# Parquet


def test_parquet_cells_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"t\xff")])
    pq.write_table(pa.table({"image": [b"i", b"i"], "text": bad}), tmp_path / "bad.parquet")
    assert codes(read_all(tmp_path / "bad.parquet")) == [None, "text_encoding"]
    nulls = pa.table({"image": [b"i", None, b"", b"i"], "text": ["t", "t", "t", None]})
    pq.write_table(nulls, tmp_path / "nulls.parquet")
    rows = read_all(tmp_path / "nulls.parquet")
    assert codes(rows)[1] == "missing_image" and codes(rows)[3] == "missing_text" and rows[1].texts == ("t",)
    pq.write_table(pa.table({"image": [1, 2], "text": ["t", "t"]}), tmp_path / "ints.parquet")
    assert codes(read_all(tmp_path / "ints.parquet")) == ["mistyped_cell"] * 2
    pq.write_table(pa.table({"image": [b"i"], "text": [b"bytes"]}), tmp_path / "bytes.parquet")
    assert values(read_all(tmp_path / "bytes.parquet")) == [(b"i", ("bytes",))]
    pq.write_table(pa.table({"image": [b"i"], "text": [2.5]}), tmp_path / "float.parquet")
    assert codes(read_all(tmp_path / "float.parquet")) == ["mistyped_cell"]
    (tmp_path / "a.jpg").write_bytes(b"file")
    structs = [{"bytes": b"i", "path": None}, {"bytes": None, "path": "a.jpg"}, {"bytes": None, "path": None}, None]
    pq.write_table(pa.table({"image": structs, "text": ["t"] * 4, "text ": ["x"] * 4}), tmp_path / "structs.parquet")
    rows = read_all(tmp_path / "structs.parquet")
    assert [row.image for row in rows] == [b"i", b"file", None, None]
    assert codes(rows) == [None, None, "missing_image", "missing_image"]


def test_two_parquet_columns_of_one_name(tmp_path: Path) -> None:
    both = pa.table([pa.array([b"i"]), pa.array(["first"]), pa.array(["second"])], names=["image", "text", "text"])
    pq.write_table(both, tmp_path / "t.parquet")
    assert values(read_all(tmp_path / "t.parquet")) == [(b"i", ("first",))]


def test_parquet_cut_anywhere_is_a_fault(tmp_path: Path) -> None:
    data = make("parquet_bytes", tmp_path).read_bytes()
    cut = tmp_path / "cut.parquet"
    for length in [*range(0, len(data), 97), len(data) - 1]:
        cut.write_bytes(data[:length])
        assert faults(cut) == [("broken_parquet", 0)] and read_all(cut) == []


def test_a_broken_row_group_costs_only_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    images = [os.urandom(500) for _ in range(12)]
    with pq.ParquetWriter(
        path, pa.schema({"id": pa.int64(), "image": pa.binary(), "text": pa.string()}), use_dictionary=False
    ) as writer:
        for start in range(0, 12, 4):
            numbers = range(start, start + 4)
            writer.write_table(pa.table({"id": list(numbers), "image": [images[n] for n in numbers], "text": ["t"] * 4}))
    data = bytearray(path.read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(1)
    data[chunk.data_page_offset : chunk.data_page_offset + 60] = b"\xff" * 60
    path.write_bytes(data)
    rows = read_all(path)
    assert codes(rows) == [None] * 4 + ["broken_row"] * 4 + [None] * 4
    assert [row.image for row in rows[8:]] == images[8:]


@settings(max_examples=150, deadline=None)
@given(st.floats(0, 1), st.binary(min_size=1, max_size=30))
def test_parquet_with_any_damage_keeps_its_count(tmp_path_factory: pytest.TempPathFactory, share: float, dirt: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "dirt.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3], "image": [b"image"] * 3, "text": ["t"] * 3}), path, row_group_size=2)
    data = bytearray(path.read_bytes())
    start = int(share * len(data))
    data[start : start + len(dirt)] = dirt
    path.write_bytes(data)
    try:
        found = plan(str(path))
    except UsageError:  # the name of a column is gone, or all row groups
        return
    assert all(len(list(read(shard))) == shard.rows for shard in found.shards)
