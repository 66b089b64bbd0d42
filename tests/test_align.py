"""The alignment step, with a tiny model whose image tower sees mean colours and whose text tower sums up known words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import picture
from model_files import onnx_model

from pairloom import (
    Align,
    Clean,
    Contain,
    Decode,
    Encode,
    Recipe,
    RecipeError,
    Segment,
    Step,
    explain,
    run,
    score,
    verify,
)
from pairloom.alignment.attention import align
from pairloom.alignment.bank import Bank
from pairloom.batch import Batch, Row
from pairloom.errors import UsageError
from pairloom.models import Model, bank_digest, embed_bank, load
from pairloom.score import scoring


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"onnx:{onnx_model(tmp_path_factory.mktemp('model'))}"


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bank")
    for number in range(16):
        (folder / f"{number:03d}.jpg").write_bytes(picture(40, 30, 100 + number))
    return str(folder)


ROWS = [
    Row("a", "s", picture(120, 80, 1), ("a red cat. a photo of c d. red red red red.",)),
    Row("b", "s", picture(300, 60, 2, "PNG"), ("猫. 一只猫的照片。", "red photo of a cat b c. x y z w v.")),
    Row("c", "s", picture(50, 400, 3, "WEBP"), ("one.", "q r s t u.")),
    Row("d", "s", picture(64, 64, 4), ("photo " * 40,)),
]


def recipe(step: Align, *before: Step) -> Recipe:
    return Recipe((Decode(), *before, Segment(), step, Contain(64), Encode()))


def scored(step: Align, rows: list[Row] = ROWS, clean: bool = True) -> Batch:
    batch = Batch.read([f"{number:05d}" for number in range(len(rows))], rows)
    for one in scoring(recipe(step, *([Clean()] if clean else []))):
        batch = one(batch)
    return batch


def test_scores_are_those_of_the_arithmetic(model: str, bank: str) -> None:
    batch = scored(Align(model, bank=bank, views="whole"))
    towers = load(model)
    reference = Bank.of(embed_bank(towers, bank))
    for row in batch.table.to_pylist():
        image = towers.embed_images([batch.pixels[int(row["key"])]])  # type: ignore[index]
        for caption, text in enumerate(row["texts"]):
            own = [place for place, cell in enumerate(row["segments"]) if cell["caption"] == caption]
            texts = towers.embed_texts([text[row["segments"][place]["start"] : row["segments"][place]["end"]] for place in own])
            expected = align(texts @ image.T, *reference.statistics(texts), towers.pooling)
            assert row["caption_alignments"][caption] == pytest.approx(expected.alignment, abs=2e-4)
            assert [row["segment_weights"][place] for place in own] == pytest.approx(expected.weights, abs=2e-4)
            assert [row["segment_scores"][place] for place in own] == pytest.approx(expected.scores, abs=2e-4)


def test_the_best_caption_counts_and_becomes_the_text(model: str, bank: str) -> None:
    for row in scored(Align(model, bank=bank)).table.to_pylist():
        assert row["alignment"] == max(row["caption_alignments"])
        assert row["caption_alignments"][row["best_caption"]] == row["alignment"]
        assert row["text"] == row["texts"][row["best_caption"]]
        assert row["segments"][row["best_segment"]]["caption"] == row["best_caption"]
        total = [0.0] * len(row["texts"])
        for cell, weight in zip(row["segments"], row["segment_weights"], strict=True):
            total[cell["caption"]] += weight
        assert total == pytest.approx([1.0] * len(total), abs=2e-3)


def test_similarity_is_the_plain_cosine_of_what_the_model_reads(model: str, bank: str) -> None:
    towers = load(model)
    batch = scored(Align(model, bank=bank))
    row = batch.table.to_pylist()[0]
    assert towers.context_length == 10  # two marks and eight words: the first sentence fits, the second doesn't any more
    head = row["text"][: row["segments"][0]["end"]]
    assert towers.count_tokens(head) <= 10 < towers.count_tokens(row["text"][: row["segments"][1]["end"]])
    cosine = towers.embed_images([batch.pixels[0]]) @ towers.embed_texts([head]).T  # type: ignore[index]
    assert row["similarity"] == pytest.approx(cosine.item(), abs=2e-4)


def test_views(model: str, bank: str) -> None:
    whole, long, tiles = (scored(Align(model, bank=bank, views=views)).table.to_pylist() for views in ("whole", "long", "tiles"))
    assert [len(row["views"]) for row in whole] == [1, 1, 1, 1]
    assert [len(row["views"]) for row in long] == [1, 5, 5, 1]
    assert all(len(row["views"]) > 1 for row in tiles)
    for row in [*long, *tiles]:
        assert len(row["view_scores"]) == len(row["views"])
        assert row["best_view"] == int(np.argmax(row["view_scores"]))
        assert row["views"][0] == {"left": 0, "top": 0, "right": row["original_width"], "bottom": row["original_height"]}


def test_alone_and_among_others_the_scores_are_the_same(model: str, bank: str) -> None:
    step = Align(model, bank=bank)
    whole = scored(step).table.to_pylist()
    for row, alone in zip(whole, (scored(step, [one]).table.to_pylist()[0] for one in ROWS), strict=True):
        assert row["alignment"] == pytest.approx(alone["alignment"], abs=1.1e-4)
        assert row["segment_weights"] == pytest.approx(alone["segment_weights"], abs=1.1e-4)


@pytest.mark.parametrize("pooling", ["whole", "mean", "max", "softmax"])
def test_other_poolings(model: str, bank: str, pooling: str) -> None:
    rows = scored(Align(model, pooling=pooling, bank=bank, views="whole")).table.to_pylist()  # type: ignore[arg-type]
    for row in rows:
        if pooling == "whole":
            assert row["alignment"] == pytest.approx(row["similarity"], abs=1e-4) and row["best_segment"] is None
        else:
            own = [place for place, cell in enumerate(row["segments"]) if cell["caption"] == row["best_caption"]]
            parts = [row["segment_weights"][place] * row["segment_scores"][place] for place in own]
            assert row["alignment"] == pytest.approx(sum(parts), abs=5e-4)


def test_what_the_model_can_not_read_is_rejected(model: str, bank: str) -> None:
    rows = [Row("a", "", picture(50, 50), ("\u2003 \u2003",)), Row("b", "", picture(50, 50), ("cat",))]
    batch = scored(Align(model, bank=bank), rows, clean=False)
    assert [cell and cell["code"] for cell in batch["reject"]] == ["empty_text", None]


def test_embeddings_that_are_no_numbers_are_rejected(model: str, bank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    embed_bank(load(model), bank)
    monkeypatch.setattr(Model, "embed_images", lambda self, images: np.full((len(images), self.dimension), np.nan, np.float32))
    assert {cell["code"] for cell in scored(Align(model, bank=bank))["reject"]} == {"not_finite"}


def test_recipes_tell_what_is_wrong_with_a_model_or_a_bank(model: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"steps\[2\].align: .*no model 'clop'"):
        Recipe.from_yaml("steps: [decode, segment, {align: {model: clop}}]")
    with pytest.raises(RecipeError, match="a bank needs 16 to 4,096 images"):
        Recipe.from_yaml(f"steps: [decode, segment, {{align: {{model: '{model}', bank: '{tmp_path}'}}}}]")
    with pytest.raises(RecipeError, match="reads `segments`, which no earlier step adds: put `segment` before it"):
        Recipe.from_yaml(f"steps: [decode, {{align: {{model: '{model}'}}}}]")


def test_a_bank_is_embedded_once_and_kept(model: str, bank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    embed_bank.cache_clear()
    first = embed_bank(load(model), bank)
    [kept] = (tmp_path / "pairloom" / "bank").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])  # cut off: it is embedded again
    embed_bank.cache_clear()
    assert all(map(np.array_equal, embed_bank(load(model), bank), first))


def test_a_folder_may_bring_its_own_prose(model: str, bank: str, tmp_path: Path) -> None:
    own = tmp_path / "bank"
    shutil.copytree(bank, own)
    assert bank_digest(str(own)) == bank_digest(bank)
    said = [f"chapter {number} of the rules" for number in range(16)]
    other = shutil.copytree(own, tmp_path / "other")
    (other / "prose.txt").write_text("\n".join(said) + "\n\n", "utf-8")
    assert bank_digest(str(other)) != bank_digest(bank)
    towers = load(model)
    ours, theirs = embed_bank(towers, str(own)), embed_bank(towers, str(other))
    assert np.array_equal(ours.images, theirs.images) and len(ours.prose) > 100
    assert theirs.prose == pytest.approx(towers.embed_texts(said), abs=1e-5)
    few = shutil.copytree(own, tmp_path / "few")
    (few / "prose.txt").write_text("one\n", "utf-8")
    with pytest.raises(
        UsageError, match=r"few/prose\.txt needs 16 to 4,096 sentences that describe no image, one a line; it has 1"
    ):
        bank_digest(str(few))


def test_the_prose_is_of_the_languages_that_the_settings_name(model: str, bank: str, tmp_path: Path) -> None:
    counts = []
    for languages in (["en", "zh"], ["zh"], []):
        folder = Path(shutil.copytree(model.removeprefix("onnx:"), tmp_path / "-".join(["model", *languages])))
        settings = json.loads((folder / "pairloom.json").read_text("utf-8"))
        (folder / "pairloom.json").write_text(json.dumps(settings | {"languages": languages}), "utf-8")
        counts.append(len(embed_bank(load(f"onnx:{folder}"), bank).prose))  # the weights, and so the fingerprint, are the same
    assert counts[0] == counts[1] + counts[2] and counts[1] > 50 and counts[2] > 90


def test_other_constants_are_another_recipe(model: str, bank: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model.removeprefix("onnx:"), tmp_path / "model"))
    settings = json.loads((folder / "pairloom.json").read_text("utf-8"))
    (folder / "pairloom.json").write_text(json.dumps(settings | {"pooling": {"gamma": 5}}), "utf-8")
    one, other = (Align(name, bank=bank).depends_on() for name in (model, f"onnx:{folder}"))
    assert {name for name in one if one[name] != other[name]} == {"settings"}


def test_another_bank_is_another_digest(bank: str, tmp_path: Path) -> None:
    for number in range(16):
        (tmp_path / f"{number}.png").write_bytes(picture(20, 20, number, "PNG"))
    assert bank_digest(str(tmp_path)) != bank_digest(bank)


def test_run_scores_and_score_are_the_same(model: str, bank: str, pairs: Path, tmp_path: Path) -> None:
    step = recipe(Align(model, bank=bank), Clean())
    run(pairs, tmp_path / "out", step, shard_size=4)
    assert verify(tmp_path / "out") == []
    summary = score(pairs, tmp_path / "scores.parquet", step, shard_size=4, workers=2)
    assert (summary.pairs_in, summary.pairs_out) == (10, 8)
    table = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert [row["key"] for row in table] == sorted(row["key"] for row in table) and len(table) == 10
    assert [row["source_key"] for row in table if row["reject"] == "not_an_image"] == ["pair-003", "pair-007"]
    kept = {row["key"]: row for row in table if row["reject"] is None}
    ledger = [row for path in sorted((tmp_path / "out").glob("0*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert len(ledger) == len(kept) == 8
    for row in ledger:
        for column in (*Align.adds, "segments"):
            assert kept[row["key"]][column] == row[column]


def test_a_recipe_without_scores_is_refused(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no `align` step"):
        score(pairs, tmp_path / "scores.parquet", "naive")


def test_another_model_is_another_recipe(model: str, bank: str, tmp_path: Path) -> None:
    other = f"onnx:{onnx_model(tmp_path / 'other', settings={'context_length': 12, 'pad_token_id': 0})}"
    prints = {recipe(Align(name, bank=bank)).fingerprint() for name in (model, other)}
    assert len(prints) == 2


def test_explain(model: str, bank: str, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    (folder / "cat.png").write_bytes(picture(300, 60, 2, "PNG"))
    (folder / "cat.txt").write_text("A red cat. <script>alert(1)</script> photo of a b. 一只猫。")
    by = recipe(Align(model, bank=bank))
    found = explain(folder, "cat", by)
    assert "".join(part.text for part in found.parts) == "A red cat. <script>alert(1)</script> photo of a b. 一只猫。"
    weights = [part.weight for part in found.parts if part.weight is not None]
    assert sum(weights) == pytest.approx(1, abs=1e-3) and sum(part.best for part in found.parts) == 1
    assert len(found.views) == 5 and sum(view.best for view in found.views) == 1
    assert explain(folder, found.key, by) == found
    page = found.to_html()
    assert "<script>" not in page and "&lt;script&gt;" in page and "data:image/jpeg;base64," in page
    with pytest.raises(UsageError, match="no pair with the key 'dog'"):
        explain(folder, "dog", by)
