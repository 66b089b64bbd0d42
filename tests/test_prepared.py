"""A finished output opened in a program, and what notebooks show."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_pairs
from test_report import assert_inert

import pairloom
from pairloom import Batch, Recipe, RunError, UsageError, run
from pairloom.batch import Row
from pairloom.compare.result import Comparison
from pairloom.steps.decode import Decode
from pairloom.writers.ledger import TableWriter

RECIPE = "steps: [decode, clean, detect_language, segment, {truncate: {max_tokens: 20}}, {letterbox: {size: 64}}, encode]"


@pytest.fixture(params=["webdataset", "parquet"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pairloom.Prepared:
    """Eleven pairs in three shards and in row groups of two."""
    init = TableWriter.__init__
    monkeypatch.setattr(TableWriter, "__init__", lambda self, file, schema, rows=2: init(self, file, schema, 2))
    write_pairs(tmp_path / "pairs", 12, bad=(4,))
    (tmp_path / "pairs" / "pair-002.txt").write_text("两只猫睡在沙发上。<script>", "utf-8")
    run(tmp_path / "pairs", tmp_path / "out", Recipe.from_yaml(RECIPE), shard_size=5, format=request.param)
    return pairloom.open(tmp_path / "out")


def framed_page(shown: str) -> str:
    """The page in a notebook's frame."""
    match = re.fullmatch(r'<iframe sandbox srcdoc="([^"]*)" style="[^"]*" title="Pairloom"></iframe>', shown)
    assert match
    return html.unescape(match[1])


def test_length_and_random_access(opened: pairloom.Prepared) -> None:
    assert len(opened) == 11 and "11 prepared pairs" in repr(opened)
    keys = [pair.key for pair in opened]
    assert keys == sorted(keys) and len(set(keys)) == 11
    for place in (10, 0, 5, -1, 4, 3, -11):
        pair = opened[place]
        assert pair.key == keys[place] and pair.row["key"] == pair.key and pair.text == pair.row["caption"]
        assert pair.pixels.shape == (64, 64, 3) and pair.pixels.dtype == np.uint8
    assert opened[3].image != opened[4].image
    assert [pair.key for pair in opened[2:9:3]] == keys[2:9:3] and len(opened[:0]) == 0
    with pytest.raises(IndexError):
        opened[11]


def test_filter(opened: pairloom.Prepared) -> None:
    widths = opened.column("original_width").to_pylist()
    assert widths == [90, 91, 92, 93, *range(95, 102)]
    assert [pair.row["original_width"] for pair in opened.filter(original_width=(92, 96))] == [92, 93, 95, 96]
    assert [pair.row["original_width"] for pair in opened.filter(original_width=(None, 91))] == [90, 91]
    assert [pair.row["original_width"] for pair in opened.filter(original_width={90, 101, 7})] == [90, 101]
    chinese = opened.filter(language="zh")
    assert len(chinese) == 1 and chinese[0].text.startswith("两只猫")
    assert len(chinese.filter(original_width=(0, 91))) == 0
    assert len(opened.filter(**{"geometry.padded": (0.25, None)})) == sum(
        pair.row["geometry"]["padded"] >= 0.25 for pair in opened
    )
    with pytest.raises(UsageError, match=r"no column 'colour'; there are key"):
        opened.filter(colour="red")
    with pytest.raises(UsageError, match=r"no column 'geometry.colour'"):
        opened.column("geometry.colour")


def test_show(opened: pairloom.Prepared, tmp_path: Path) -> None:
    opened.show(3).save(tmp_path / "look.html")
    source = (tmp_path / "look.html").read_text("utf-8")
    assert_inert(source)
    assert source.count("<figure>") == 3
    for shown in (opened, opened[1], opened.show(), opened[:0]):
        assert_inert(framed_page(shown._repr_html_()))


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no output"):
        pairloom.open(tmp_path)
    write_pairs(tmp_path / "pairs", 2, bad=(0, 1))
    run(tmp_path / "pairs", tmp_path / "out", Recipe.from_yaml(RECIPE), max_reject=1)
    empty = pairloom.open(tmp_path / "out")
    assert len(empty) == 0 and list(empty) == [] and len(empty.filter(language="en")) == 0
    assert "no pairs" in empty._repr_html_()
    (tmp_path / "out" / "manifest" / "00000.json").unlink()
    with pytest.raises(RunError, match="not complete"):
        pairloom.open(tmp_path / "out")


def test_batches_and_summaries_in_a_notebook(pairs: Path, tmp_path: Path) -> None:
    summary = run(pairs, tmp_path / "out", Recipe.from_yaml(RECIPE))
    page = framed_page(summary._repr_html_())
    assert_inert(page)
    assert "10 pairs in = 8 ready + 2 rejected" in page and "not_an_image" in page
    row = Row("one", "here", (pairs / "pair-001.jpg").read_bytes(), ("<script>alert(1)</script>",))
    batch = Batch.read(["0"] * 20, [row] * 20)
    for each in (batch, Decode()(batch), batch.take([])):
        page = framed_page(each._repr_html_())
        assert_inert(page)
        assert page.count("data:image/jpeg") == min(8, len(each))


def test_a_comparison_in_a_notebook(any_comparison: Comparison) -> None:
    page = framed_page(any_comparison._repr_html_())
    assert_inert(page)
    assert "Which preprocessing policy?" in page


@pytest.fixture
def any_comparison() -> Any:
    return Comparison({}, {}, 3, 3, "fixed", "<b>mini</b>", (0,), 0, {}, {}, {})
