"""Sheets of pairs before a run: what is on them, as a page and as a picture."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from PIL import Image
from test_report import HOSTILE, Page, assert_inert

from pairloom import Recipe, UsageError, explain, preview
from pairloom.preview import pieces_of
from pairloom.report import paint
from pairloom.report.paint import Run, text_block

RECIPE = "steps: [decode, clean, segment, {truncate: {max_tokens: 16}}, {center_crop: {size: 96}}, encode]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "pairs"
    place.mkdir()
    sizes = [(1, 1), (1, 3000), (400, 300), (30, 40), (900, 500), (500, 900), (64, 64)]
    for number, (text, size) in enumerate(zip(HOSTILE, sizes, strict=True)):
        (place / f"{number}.png").write_bytes(picture(*size, number, "PNG"))
        (place / f"{number}.txt").write_text(f"A first&nbsp;sentence  of many words stands here. {text}", "utf-8")
    (place / "bad.jpg").write_bytes(b"<html>")
    (place / "bad.txt").write_text("Not an image.")
    (place / "alone.txt").write_text("No image at all.")
    return place


def test_before_and_after(folder: Path) -> None:
    sheet = preview(folder, Recipe.from_yaml(RECIPE), 20)
    assert len(sheet.pairs) == 9
    rejected = {pair.source_key: pair.reject for pair in sheet.pairs if pair.reject}
    assert {key: reject[:2] for key, reject in rejected.items()} == {
        "alone": ("read", "missing_image"),
        "bad": ("decode", "not_an_image"),
    }
    pair = next(pair for pair in sheet.pairs if pair.source_key == "4")
    assert pair.original_size == (900, 500) and pair.geometry and pair.result is not None
    assert pair.crop == ((200.0, 0.0, 700.0, 500.0),) and pair.box == ()
    others = {other.name: other for other in pair.others}
    assert list(others) == ["stretch", "letterbox", "centre crop", "6 tiles"]
    assert others["stretch"].distortion == pytest.approx(1.8) and others["letterbox"].padded == pytest.approx(4 / 9, abs=0.01)
    assert others["centre crop"].lost == pytest.approx(4 / 9) and len(others["6 tiles"].boxes) == 6
    kinds = Counter(change.kind for change in pair.changes)
    assert kinds["removed"] and kinds["same"]
    assert "".join(piece.text for piece in pair.pieces if piece.kept).strip() == pair.row["caption"]
    assert not all(piece.kept for piece in pair.pieces)


def test_page_and_picture(folder: Path, tmp_path: Path) -> None:
    sheet = preview(folder, Recipe.from_yaml(RECIPE), 20)
    sheet.save(tmp_path / "sheet.html")
    source = (tmp_path / "sheet.html").read_text("utf-8")
    assert_inert(source)
    words = " ".join(" ".join(Page(source).words).split())
    for said in ("not_an_image", "centre crop", "44 % lost", "1.80× distorted", "tokens kept"):
        assert said in words, said
    sheet.save(str(tmp_path / "sheet.png"))
    image = Image.open(tmp_path / "sheet.png")
    assert image.width == 1216 and 2000 < image.height < 6000
    with pytest.raises(UsageError, match=r"\.html or \.png"):
        sheet.save(tmp_path / "sheet.pdf")


def test_scored_pairs_show_their_weights(examples: Path) -> None:
    recipe = Recipe.from_yaml("steps: [decode, clean, segment, align, {truncate: {by: alignment, max_tokens: 16}}, encode]")
    [pair] = preview(examples, recipe, 1).pairs
    assert pair.reject is None and [piece.best for piece in pair.pieces].count(True) == 1
    assert sum(piece.weight or 0 for piece in pair.pieces) == pytest.approx(1, abs=1e-3)
    sheet = explain(examples, pair.source_key, recipe)
    assert Image.open(io.BytesIO(sheet.to_png())).width == 1216
    assert_inert(sheet.to_html())


@pytest.mark.parametrize(
    ("caption", "kept"),
    [
        (None, "One cat. Two dogs. Three."),
        ("One cat. Two dogs. Three.", "One cat. Two dogs. Three."),
        ("One cat. Two", "One cat. Two"),
        ("One cat. Three.", "One cat.Three."),
        ("Two dogs.", "Two dogs."),
        ("nothing of it", ""),
    ],
)
def test_what_the_caption_has_of_the_text(caption: str | None, kept: str) -> None:
    text = "One cat. Two dogs. Three."
    segments = [{"caption": 0, "start": start, "end": end} for start, end in ((0, 8), (9, 18), (19, 25))]
    pieces = list(pieces_of({"text": text, "caption": caption, "segments": segments}))
    assert "".join(piece.text for piece in pieces) == text
    assert "".join(piece.text for piece in pieces if piece.kept) == kept


def test_text_is_wrapped_and_never_wider_than_the_page() -> None:
    for text in ("word " * 60, "字" * 200, "x" * 500, "a\n\n\nb", "مرحبا " * 40, "\u2028\u3000 ", "🙂👨‍👩‍👧 e\u0301", ""):
        block = text_block(300, [Run(text), Run("end", 12, struck=True, back="#cfe3f7")])
        assert block.width == 300 and block.height >= 18
        assert (np.asarray(block)[:, -1] == 255).all() or len(text) == 500  # nothing is cut off at the edge
    assert text_block(300, [Run("字" * 200)]).height > 4 * text_block(300, [Run("字")]).height


def test_letters_without_a_font_are_drawn_all_the_same() -> None:
    buffer = io.BytesIO()
    text_block(200, [Run("\U00012000 \U0010ffff")]).save(buffer, "PNG")
    assert buffer.tell()


def test_without_any_font_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = (paint._files, paint._font, paint._font_of, paint._has)
    for each in cached:
        each.cache_clear()
    monkeypatch.setattr(paint, "_FONTS", ())
    try:
        block = np.asarray(text_block(200, [Run("words, \u4e24\u53ea\u732b")]))
        assert paint._files() == () and (block < 128).any()
    finally:
        for each in cached:
            each.cache_clear()
