"""The page of a run: whole in itself, true, and inert whatever the captions hold."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import picture, write_pairs
from PIL import Image

from pairloom import Recipe, UsageError, run
from pairloom.finished import Finished
from pairloom.report import write_report
from pairloom.report.charts import Scale, bars_of
from pairloom.report.measures import charts, dropped_values
from pairloom.report.page import visible
from pairloom.report.parts import Part, shortened
from pairloom.report.pictures import small_jpeg

STEPS = "steps: [decode, {min_side: {side: 64}}, clean, segment, truncate, {letterbox: {size: 96}}, encode]\n"
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=alert(1)>",
    "safe \u202egnp.exe\u202c and \u2066more",
    "</style></main><h1 id=owned>",
    '" onload="alert(1)" x="',
    "{{ 7 * 7 }}",
    "两只猫睡在沙发上。",
    "مرحبا بالعالم",
)


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page_of(output: Path) -> str:
    return (output / "report.html").read_text("utf-8")


def assert_inert(source: str) -> None:
    """No script, no handler, nothing from outside."""
    for tag, attributes in Page(source).tags:
        assert tag not in ("script", "iframe", "object", "embed", "form", "base")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), attributes
    assert "default-src 'none'" in source
    assert not re.search(r"url\(|@import", source.partition("</style>")[0])


@pytest.fixture
def output(pairs: Path, tmp_path: Path) -> Path:
    run(pairs, tmp_path / "out", Recipe.from_yaml(STEPS))
    return tmp_path / "out"


def test_tells_flow_reasons_and_limits(output: Path) -> None:
    source = page_of(output)
    words = " ".join(" ".join(Page(source).words).split())
    assert_inert(source)
    for said in (
        "pairs in 10",
        "not_an_image",
        "too_small",
        "limit 64",
        "limit 77",
        "Picture number 0.",
        "max_tokens: 77",
        "Padding",
    ):
        assert said in words, said
    assert "<details" not in source or "<details open" in source  # nothing hides
    first = json.loads(next((output / "runs").iterdir()).read_text())
    assert f"Python {first['python']}" in words


def test_written_again_it_is_the_same(output: Path) -> None:
    before = page_of(output)
    (output / "report.html").unlink()
    assert write_report(str(output)) == output / "report.html"
    assert page_of(output) == before


def test_hostile_captions_and_names_do_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    for number, text in enumerate(HOSTILE):
        (folder / f"{number}<b onclick=x>.png").write_bytes(picture(80, 90, number, "PNG"))
        (folder / f"{number}<b onclick=x>.txt").write_text(text, "utf-8")
    (folder / "bad.jpg").write_bytes(b"<script>")
    (folder / "bad.txt").write_text(HOSTILE[0])
    run(folder, tmp_path / "out", Recipe.from_yaml("steps: [decode, segment, encode]"))
    source = page_of(tmp_path / "out")
    assert_inert(source)
    words = "".join(Page(source).words)
    for text in HOSTILE:
        assert visible(text) in words
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", source)
    assert 'lang="zh-Hans"' in source


def test_stays_small_whatever_the_pictures_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "pairs"
    folder.mkdir()
    for number in range(60):
        noise = Image.fromarray(rng.integers(0, 255, (300, 300, 3), np.uint8))
        noise.save(folder / f"{number:03d}.jpg", quality=95)
        (folder / f"{number:03d}.txt").write_text("<&>" * 20_000)
    run(folder, tmp_path / "out", Recipe.from_yaml("steps: [decode, segment, encode]"))
    assert (tmp_path / "out" / "report.html").stat().st_size < 600_000  # a full page has 130 pictures, this one 18
    assert len(small_jpeg(rng.integers(0, 255, (400, 400, 3), np.uint8), 256)) <= 12_000


def test_of_an_interrupted_run_it_says_so(pairs: Path, tmp_path: Path) -> None:
    recipe = Recipe.from_yaml(STEPS + "select: [duplicates]\n")
    run(pairs, tmp_path / "out", recipe, shard_size=4)
    for path in (tmp_path / "out").glob("manifest/*.json"):
        path.unlink()
    (tmp_path / "out" / "staged" / "manifest" / "00001.json").unlink()
    write_report(tmp_path / "out")
    source = page_of(tmp_path / "out")
    assert "This run has not ended" in source and "2 of 3 shards" in source
    assert_inert(source)


def test_of_nothing_kept(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs", 3, bad=(0, 1, 2))
    run(tmp_path / "pairs", tmp_path / "out", Recipe.from_yaml(STEPS), max_reject=1)
    assert "Not one pair was kept" in page_of(tmp_path / "out")


def test_shows_rejected_pairs_and_what_they_are_duplicates_of(pairs: Path, tmp_path: Path) -> None:
    shutil.copy(pairs / "pair-005.jpg", pairs / "pair-900.jpg")
    shutil.copy(pairs / "pair-005.txt", pairs / "pair-900.txt")
    (pairs / "pair-901.jpg").write_bytes(picture(40, 90))
    (pairs / "pair-901.txt").write_text("A narrow one.")
    run(pairs, tmp_path / "out", Recipe.from_yaml(STEPS + "select: [duplicates]\n"), shard_size=5)
    page = Page(page_of(tmp_path / "out"))
    pictures = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert pictures.count("pair-901") == 1  # from the input
    assert pictures.count("pair-900") == 1 and pictures.count("pair-005") >= 2  # from the staged shard, and what was kept
    (pairs / "pair-901.jpg").unlink()
    write_report(tmp_path / "out")  # the input may be gone
    assert "no picture to show" in page_of(tmp_path / "out")


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no output"):
        write_report(tmp_path)


def test_times_are_those_of_all_runs(output: Path) -> None:
    said = next((output / "runs").iterdir())
    (output / "runs" / "20990101T000000-1.json").write_text(said.read_text())
    (output / "runs" / "20990101T000000-2.json").write_text("{half")
    seconds = json.loads(said.read_text())["seconds"]
    assert Finished.read(output).summary().seconds == pytest.approx(2 * seconds)


def test_limits_and_choices() -> None:
    recipe = {"steps": [{"between": {"column": "alignment", "min": 0.25, "max": None}}], "select": []}
    values = {"alignment": np.arange(1, 4) / 4}
    [chart] = charts(values, dropped_values(["alignment 0.125", "alignment -1e-05"]), recipe)
    assert chart.has_dropped and [mark.label for mark in chart.marks] == ["limit 0.25"]
    assert [choice.share for choice in chart.choices if choice.now] == [0.6]
    sizes = dropped_values(["original_width 30, original_height 20", "text a, b 7"])
    assert sizes["short_side"].tolist() == [20] and sizes["ratio"].tolist() == [1.5]


@pytest.mark.parametrize("ratio", [False, True])
@pytest.mark.parametrize("values", [[1.0], [3.0, 3.0], [1, 10_000], [0.0, 0.0, 1.0], [5, 5, 5, 1e9], [0, 1]])
def test_every_axis_holds_its_values(values: list[float], ratio: bool) -> None:
    every = np.array(values)
    scale = Scale.of(every, [2.0], ratio)
    bars = bars_of(scale, every, np.empty(0))
    assert bars and all(0 <= bar.left <= 1 and 0 < bar.width <= 1.001 and 0 < bar.kept <= 1 for bar in bars)
    ticks = scale.ticks()
    assert len(ticks) <= 7 and [tick.at for tick in ticks] == sorted(tick.at for tick in ticks)


def test_a_long_text_keeps_its_best_segment() -> None:
    parts = [Part("a" * 500, 0.1), Part("b" * 500, 0.2), Part("the best", 0.7, best=True), Part("c" * 500, 0.0)]
    text = "".join(part.text for part in shortened(parts, 100))
    assert "the best" in text and len(text) < 130


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_in_a_browser_nothing_runs_and_nothing_is_complained_of(output: Path, tmp_path: Path) -> None:
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
               "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'user'}",
               "--enable-logging=stderr", "--dump-dom", f"file://{output / 'report.html'}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "From input to output" in done.stdout
    assert "CONSOLE" not in done.stderr
