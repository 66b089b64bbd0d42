"""LLaVA's JSON, whole and broken, and tables with the column names of LAION, DataComp and COYO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import picture

from pairloom import UsageError
from pairloom.batch import Row
from pairloom.readers import Plan, plan, read


def record(number: int, **more: Any) -> dict[str, Any]:
    turns = [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": f'Picture {number}, "so" {{it}} 猫 \\ ['},
    ]
    return {"id": f"id {number}", "image": f"{number}.jpg", "conversations": turns, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(12):
        place = tmp_path if number % 2 else tmp_path / "images"
        (place / f"{number}.jpg").write_bytes(picture(20, 20, number))
    return tmp_path


def rows_of(path: Path, **options: Any) -> tuple[Plan, list[Row]]:
    found = plan(str(path), **options)
    return found, [row for shard in found.shards for row in read(shard)]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
def test_records_however_they_are_written(folder: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None, chunk: int) -> None:
    path = folder / "set.json"
    path.write_text("\ufeff " + json.dumps([record(n) for n in range(12)], indent=indent, ensure_ascii=n_odd(chunk)), "utf-8")
    monkeypatch.setattr("pairloom.readers.llava._CHUNK", max(chunk, 8))
    found, rows = rows_of(path, shard_size=5)
    assert [shard.rows for shard in found.shards] == [5, 5, 2] and not any(shard.faults for shard in found.shards)
    assert [row.source_key for row in rows] == [f"id {n}" for n in range(12)]
    assert [row.texts for row in rows] == [(f'Picture {n}, "so" {{it}} 猫 \\ [',) for n in range(12)]
    assert all(row.image and row.reject is None for row in rows)
    assert json.loads(rows[0].extra)["conversations"][0]["value"].startswith("<image>")


def n_odd(number: int) -> bool:
    return number % 2 == 1


def test_sample_and_limit(folder: Path) -> None:
    path = folder / "set.json"
    path.write_text(json.dumps([record(n) for n in range(12)]))
    assert [row.source_key for row in rows_of(path, limit=2)[1]] == ["id 0", "id 1"]
    assert [row.source_key for row in rows_of(path, sample=2)[1]] == ["id 3", "id 9"]


def test_the_newer_form_and_several_turns(folder: Path) -> None:
    turns = [("user", "<image>What?"), ("assistant", "A cat."), ("user", "Where?"), ("assistant", "On a sofa.")]
    newer = {"messages": [{"role": role, "content": text} for role, text in turns], "images": ["images/0.jpg"]}
    path = folder / "set.json"
    path.write_text(json.dumps([newer, record(1), record(1)]))
    rows = rows_of(path)[1]
    assert rows[0].texts == ("A cat.\nOn a sofa.",) and rows[0].image
    assert [row.reject for row in rows] == [None] * 3  # LLaVA's own data has several conversations of one id


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"id": "x", "conversations": record(1)["conversations"]}, "missing_image"),
        (record(1, image="nowhere.jpg"), "missing_image"),
        (record(1, image=["1.jpg", "3.jpg"]), "mistyped_cell"),
        (record(1, image=7), "mistyped_cell"),
        (record(1, conversations=[]), "missing_text"),
        (record(1, conversations="hello"), "missing_text"),
        (record(1, conversations=[{"from": "gpt", "value": 3}]), "mistyped_cell"),
        (record(1, conversations=[{"from": "gpt", "value": "<image>"}]), "empty_text"),
        ("just a text", "broken_row"),
        ([1, {"a": 2}], "broken_row"),
    ],
)
def test_a_bad_record_costs_itself(folder: Path, bad: Any, code: str) -> None:
    path = folder / "set.json"
    path.write_text(json.dumps([record(1), bad, record(3)]))
    rows = rows_of(path)[1]
    assert [row.reject and row.reject.code for row in rows] == [None, code, None]


def test_broken_json_inside_and_a_cut_array(folder: Path) -> None:
    whole = json.dumps([record(n) for n in range(4)])
    path = folder / "set.json"
    path.write_text(whole.replace('"id 1",', '"id 1" 8,'))
    assert [row.reject and row.reject.code for row in rows_of(path)[1]] == [None, "broken_row", None, None]
    for cut in (len(whole) - 1, len(whole) - 30):
        path.write_text(whole[:cut])
        found, rows = rows_of(path)
        [fault] = found.shards[-1].faults
        assert fault.code == "cut_json" and len(rows) == fault.pairs_before == (4 if cut == len(whole) - 1 else 3)


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", "null", '{"a": 1}\n{"a": 2}'])
def test_what_is_no_array_of_records_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError, match="no array of records"):
        plan(str(tmp_path / "x.json"))


def test_counts_beside_tables_are_no_input(folder: Path) -> None:
    tables = folder / "tables"
    tables.mkdir()
    (tables / "00000.csv").write_text("image,text\n../1.jpg,A picture\n")
    (tables / "00000_stats.json").write_text("{}")
    assert [row.texts for row in rows_of(tables)[1]] == [("A picture",)]


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("SAMPLE_ID,URL,TEXT,HEIGHT,WIDTH,NSFW,similarity", "SAMPLE_ID"),  # LAION
        ("uid,url,text,original_width,original_height,clip_b32_similarity_score,sha256", "uid"),  # DataComp
        ("id,url,text,width,height,image_phash,clip_similarity_vitb32", "id"),  # COYO
    ],
)
def test_tables_of_urls_say_what_to_do_and_with_images_they_are_read(folder: Path, header: str, key: str) -> None:
    names, values = header.split(","), [f"v{n}" for n in range(7)]
    path = folder / "meta.csv"
    path.write_text(header + "\n" + ",".join(values) + "\n")
    with pytest.raises(UsageError, match="--fetch public"):
        plan(str(path))
    path.write_text(header + ",jpg\n" + ",".join(values) + ",1.jpg\n")
    [row] = rows_of(path)[1]
    assert row.source_key == values[names.index(key)] and row.image and row.texts == ("v2",)
    extra = json.loads(row.extra)
    assert names[-1] in extra and names[1] in extra
