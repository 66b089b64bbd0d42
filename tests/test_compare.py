"""Comparing policies with a tiny model that sees mean colours."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import picture
from model_files import WORDS, onnx_model

from pairloom import Align, Recipe, Segment, Truncate, UsageError, compare, readers
from pairloom.alignment.attention import Pooling, align
from pairloom.alignment.bank import Bank, BankVectors
from pairloom.alignment.head import fit_head, fit_ridge
from pairloom.batch import Batch
from pairloom.compare.features import Features
from pairloom.compare.measure import score_matrix
from pairloom.compare.scorers import Pooled
from pairloom.compare.setting import Setting
from pairloom.models import Model, embed_bank, load
from pairloom.pipeline import plan_of
from pairloom.readers.model import ReadOptions
from pairloom.run import read_batches, run_steps
from pairloom.stats import StepCount
from pairloom.writers.arrays import digest

NAIVE = "steps: [decode, {stretch: {size: 64}}, {truncate: {by: characters, max_characters: 5}}, encode]"
LETTERBOX = "steps: [decode, clean, segment, truncate, {letterbox: {size: 64}}, encode]"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    settings = {"context_length": 77, "pad_token_id": 0, "pooling": {"gamma": 3}}
    return f"onnx:{onnx_model(tmp_path_factory.mktemp('model'), settings=settings)}"


@pytest.fixture(autouse=True)
def bank(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("bank")
    for number in range(16):
        (folder / f"{number:03d}.jpg").write_bytes(picture(40, 30, 500 + number))
    monkeypatch.setattr("pairloom.models.bank.BANK", folder)
    from pairloom.models import bank_digest, embed_bank
    from pairloom.steps.align import _bank

    bank_digest.cache_clear()
    embed_bank.cache_clear()
    _bank.cache_clear()


def pictures(folder: Path, count: int) -> Path:
    """Pictures that all differ, with texts of a few letters that differ as well."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:03d}.png").write_bytes(picture(40 + number, 60, number, "PNG"))
        letters = (WORDS[4 + place % 26] for place in (number, number // 26, 7 * number))
        (folder / f"{number:03d}.txt").write_text(f"{' '.join(letters)}. photo of it.")
    return folder


def test_a_comparison_is_written_whole_and_is_quick_the_second_time(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pictures(tmp_path / "pairs", 40)
    policies = {"naive": Recipe.from_yaml(NAIVE), "letterbox": Recipe.from_yaml(LETTERBOX)}
    found = compare(folder, policies, tmp_path / "out", model=model, controls=True)
    said = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert said == json.loads(json.dumps(found.to_json()))
    assert set(said["policies"]) == {"naive", "letterbox"} and set(said["against_first"]) == {"letterbox"}
    for one in said["policies"].values():
        for metric in ("t2i_r1", "t2i_r5", "t2i_r10", "i2t_r1", "match10", "match10_hard"):
            assert 0 <= one[metric]["low"] <= one[metric]["value"] <= one[metric]["high"] <= 1
    assert set(said["against_first"]["letterbox"]) >= {"difference", "p_value", "error_reduction"}
    assert said["gallery"]["images"] == 40 and said["regime"] == "fixed" and said["seeds"] == [0]
    assert said["policies"]["naive"]["text_lost"]["value"] > said["policies"]["letterbox"]["text_lost"]["value"] == 0
    assert set(said["controls"]) == {"chance", "shuffled pairs", "blank images", "shuffled tiles"}
    assert said["controls"]["blank images"]["match10"]["value"] == 0
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "10-way matching against the first policy" in page and "<svg" in page
    queries = pq.read_table(tmp_path / "out" / "queries.parquet").to_pylist()
    hits = [row["match10"] for row in queries if row["policy"] == "letterbox"]
    assert len(queries) == 80 and np.mean(hits) == pytest.approx(said["policies"]["letterbox"]["match10"]["value"])

    for name in ("compute", "survey"):
        monkeypatch.setattr(sys.modules["pairloom.compare"], name, None)  # the function hides the module
    assert compare(folder, policies, tmp_path / "out", model=model, controls=True).to_json() == found.to_json()


def test_a_policy_that_keeps_what_matters_wins(model: str, tmp_path: Path) -> None:
    """With `refit` the head learns what letters go with what colours; text cut off can't be learnt from."""
    folder = pictures(tmp_path / "pairs", 200)
    policies = {
        "nothing": Recipe.from_yaml(NAIVE.replace("max_characters: 5", "max_characters: 1")),
        "all": Recipe.from_yaml(LETTERBOX),
    }
    found = compare(folder, policies, tmp_path / "out", model=model, regime="refit")
    assert found.gallery < 200 and found.regime == "refit"
    assert found.policies["all"].text_lost.value == 0 < found.policies["nothing"].text_lost.value


def test_pooling_policies_see_every_segment(model: str, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pairs", 30)
    steps = tuple(step for step in Recipe.from_yaml(LETTERBOX).steps if step.name != "truncate")
    policies = {name: Recipe((*steps[:3], Align(model, pooling=name), *steps[3:])) for name in ("attention", "mean")}  # type: ignore[arg-type]
    found = compare(folder, policies, tmp_path / "out", model=model)
    assert all(one.text_lost.value == 0 for one in found.policies.values())


def test_segments_and_the_bank_are_those_of_the_policy(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pictures(tmp_path / "pairs", 30)
    for number in range(30):
        letters = (WORDS[4 + (number * place + place) % 26] for place in range(40))
        (folder / f"{number:03d}.txt").write_text(" ".join(letters) + ". photo of it.")
    (tmp_path / "bank").mkdir()
    for number in range(16):
        (tmp_path / "bank" / f"{number}.jpg").write_bytes(picture(40, 30, 900 + number))
    seen: list[str] = []
    embed = Model.embed_texts
    monkeypatch.setattr(Model, "embed_texts", lambda self, texts: seen.extend(texts) or embed(self, texts))
    base = Recipe.from_yaml(LETTERBOX).steps
    policies = {
        name: Recipe((*base[:2], Segment(max_tokens=tokens), Align(model, bank=bank), *base[4:]))
        for name, tokens, bank in (("whole", 77, None), ("windows", 16, None), ("bank", 77, str(tmp_path / "bank")))
    }
    compare(folder, policies, tmp_path / "out", model=model)
    assert any(0 < text.count(" ") < 15 and text.count(" ") != 2 for text in seen) and any(text.count(" ") >= 39 for text in seen)
    queries = pq.read_table(tmp_path / "out" / "queries.parquet").to_pydict()
    by_policy = {
        name: [rank for policy, rank in zip(queries["policy"], queries["i2t_rank"], strict=True) if policy == name]
        for name in policies
    }
    assert by_policy["whole"] != by_policy["windows"] and by_policy["whole"] != by_policy["bank"]


def test_the_true_image_chooses_no_caption(model: str, tmp_path: Path) -> None:
    """`align` writes the caption that fits the image best; a comparison that used it would favour every policy with `align`."""
    folder = pictures(tmp_path / "pairs", 30)
    many = tmp_path / "many"
    many.mkdir()
    lines = []
    for number in range(30):
        shutil.copy(folder / f"{number:03d}.png", many)
        first = (folder / f"{number:03d}.txt").read_text()
        others = [(folder / f"{other:03d}.txt").read_text() for other in range(30)]
        lines.append(json.dumps({"file_name": f"{number:03d}.png", "captions": [first, *others]}))
        (folder / f"{number:03d}.txt").write_text(first)
    (many / "metadata.jsonl").write_text("\n".join(lines))
    base = Recipe.from_yaml(LETTERBOX).steps
    policies = {name: Recipe((*base[:3], Align(model, pooling=name), *base[3:])) for name in ("mean", "max")}  # type: ignore[arg-type]
    one, several = (compare(where, policies, tmp_path / f"out-{where.name}", model=model) for where in (folder, many))
    assert {name: each.metrics for name, each in one.policies.items()} == {
        name: each.metrics for name, each in several.policies.items()
    }


def test_what_policies_share_is_embedded_once(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pictures(tmp_path / "pairs", 30)
    embed_bank(load(model))
    seen: list[int] = []
    embed = Model.embed_images
    monkeypatch.setattr(Model, "embed_images", lambda self, images: seen.append(len(images)) or embed(self, images))
    base = Recipe.from_yaml(LETTERBOX).steps
    policies = {name: Recipe((*base[:3], Align(model, pooling=name), *base[3:])) for name in ("mean", "max", "softmax")}  # type: ignore[arg-type]
    compare(folder, policies, tmp_path / "out", model=model)
    assert sum(seen) == 30


def test_rejected_by_one_is_compared_by_none(model: str, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pairs", 40)
    policies = {
        "all": Recipe.from_yaml(LETTERBOX),
        "wide": Recipe.from_yaml(LETTERBOX.replace("clean,", "{aspect_ratio: {max: 1.2}}, clean,")),
    }
    found = compare(folder, policies, tmp_path / "out", model=model)
    assert found.left_out["all"] == 0 < found.left_out["wide"] and found.gallery == 40 - found.left_out["wide"]


def test_a_recipe_to_test_by_leaves_to_policies_what_heads_learn_from(model: str, tmp_path: Path) -> None:
    folder, out = pictures(tmp_path / "pairs", 80), tmp_path / "out"
    shutil.copy(folder / "003.png", folder / "900.png")
    shutil.copy(folder / "003.txt", folder / "900.txt")
    base, test = Recipe.from_yaml(LETTERBOX), Recipe.from_yaml(LETTERBOX.replace("letterbox: {size: 64}", "stretch: {size: 64}"))
    policies = {
        "all": base,
        "wide": Recipe.from_yaml(LETTERBOX.replace("clean,", "{aspect_ratio: {max: 1.2}}, clean,")),
        "once": Recipe.from_yaml(LETTERBOX + "\nselect: [duplicates]"),
        "half": Recipe.from_yaml(LETTERBOX + "\nselect: [{keep_top: {column: original_width, share: 0.5}}]"),
    }
    found = compare(folder, policies, out, model=model, regime="refit", test=test, controls=True)
    alone = compare(folder, {"test": test, "other": base}, tmp_path / "alone", model=model, regime="refit")
    assert found.test == "test" and found.gallery == alone.gallery, "nothing that a policy drops is missing from what is measured"
    assert found.left_out["all"] == 0 and found.left_out["once"] == 1 and found.left_out["half"] == 40
    fitted = {name: one.fitted_on for name, one in found.policies.items()}
    assert fitted["all"] + found.gallery == 81 and 10 < fitted["half"] < fitted["all"] and 10 < fitted["wide"] < fitted["all"]
    assert found.controls["blank images"].metrics["match10"].value == 0 < found.policies["all"].metrics["match10"].value
    assert "measured on what <b>test</b> makes" in (out / "comparison.html").read_text()
    assert json.loads((out / "comparison.json").read_text())["policies"]["half"]["fitted_on"] == fitted["half"]

    same = compare(folder, {"test": test, "other": base}, tmp_path / "same", model=model, regime="refit", test=test)
    assert same.policies["test"].metrics == alone.policies["test"].metrics
    with pytest.raises(UsageError, match="--test needs --regime refit"):
        compare(folder, policies, tmp_path / "none", model=model, test=test)
    few = {"all": base, "few": Recipe.from_yaml(LETTERBOX + "\nselect: [{keep_top: {column: original_width, pairs: 9}}]")}
    with pytest.raises(UsageError, match=r"the policy few keeps \d different pairs to learn from; it takes at least 10"):
        compare(folder, few, tmp_path / "none", model=model, regime="refit", test=test)
    assert not (tmp_path / "none" / "comparison.json").exists()


def test_a_head_learns_from_the_caption_that_a_policy_writes(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen with the true image in view, which is fair for what is learnt from and would not be for what is measured."""
    folder = pictures(tmp_path / "pairs", 60)
    for number in range(60):
        words = [WORDS[4 + (number // 26 ** (place % 2) + place * place) % 26] for place in range(20)]
        (folder / f"{number:03d}.txt").write_text(f"{' '.join(words[:10])}. {' '.join(words[10:])}. photo of it.")
    seen: list[str] = []
    embed = Model.embed_texts
    monkeypatch.setattr(Model, "embed_texts", lambda self, texts: seen.extend(texts) or embed(self, texts))
    steps = Recipe.from_yaml(LETTERBOX).steps
    chosen = Recipe((*steps[:3], Align(model), Truncate(by="alignment", max_tokens=16), *steps[4:]))
    policies = {"chosen": chosen, "other": Recipe.from_yaml(NAIVE)}
    compare(folder, policies, tmp_path / "fixed", model=model, regime="refit")
    captions = {text for batch in _prepared(chosen, folder) for text in batch["caption"]}
    assert not captions & set(seen)
    compare(folder, policies, tmp_path / "learnt", model=model, regime="refit", test=Recipe.from_yaml(LETTERBOX))
    assert captions <= set(seen)


def _prepared(recipe: Recipe, folder: Path) -> list[Batch]:
    """What a recipe makes of the pairs of a folder."""
    reading = ReadOptions()
    shards = plan_of(folder, reading, 10_000, None, None).shards
    batches = [batch for shard in shards for batch in read_batches(readers.read(shard, reading), shard.index, 10_000)]
    steps = recipe.bound()
    return [run_steps(steps, batch, [StepCount(step.name) for step in steps], lambda bad, step: None) for batch in batches]


def test_duplicates_are_one_group(model: str, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pairs", 30)
    for suffix in ("png", "txt"):
        shutil.copy(folder / f"003.{suffix}", folder / f"900.{suffix}")
    shutil.copy(folder / "004.txt", folder / "005.txt")
    found = compare(folder, {"a": Recipe.from_yaml(NAIVE), "b": Recipe.from_yaml(LETTERBOX)}, tmp_path / "out", model=model)
    assert (found.gallery, found.groups) == (31, 29)


def test_what_makes_no_sense_is_refused_and_nothing_is_written(model: str, tmp_path: Path) -> None:
    folder, out = pictures(tmp_path / "pairs", 30), tmp_path / "out"
    one, other = Recipe.from_yaml(NAIVE), Recipe.from_yaml(LETTERBOX)
    with pytest.raises(UsageError, match="at least two policies"):
        compare(folder, {"one": one}, out, model=model)
    with pytest.raises(UsageError, match="at least two policies, of different names"):
        compare(folder, ["naive", "naive"], out, model=model)
    with pytest.raises(UsageError, match="does not begin with `decode`"):
        compare(folder, {"a": one, "b": Recipe.from_yaml("steps: [clean]")}, out, model=model)
    with pytest.raises(UsageError, match="the policy none rejects every pair"):
        none = Recipe.from_yaml(LETTERBOX.replace("clean,", "{min_side: {side: 5000}}, clean,"))
        compare(folder, {"a": one, "none": none}, out, model=model)
    with pytest.raises(UsageError, match=r"keep only \d+ of 30 pairs; it takes at least 20 \(a rejects 0, wide rejects"):
        wide = Recipe.from_yaml(LETTERBOX.replace("clean,", "{aspect_ratio: {max: 1.05}}, clean,"))
        compare(folder, {"a": one, "wide": wide}, out, model=model)
    with pytest.raises(UsageError, match="there is no model 'none'"):
        compare(folder, {"a": one, "b": other}, tmp_path / "nothing", model="none")
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(UsageError, match="only 10 different pairs can be compared; it takes at least 20"):
        compare(folder, {"a": one, "b": other}, out, model=model, sample=10)
    for path in folder.glob("*.txt"):
        path.write_text("photo of a cat")
    with pytest.raises(UsageError, match="all texts are the same"):
        compare(folder, {"a": one, "b": other}, out, model=model)
    assert not (out / "comparison.json").exists()


def test_a_matrix_of_scores_is_each_text_with_each_image_and_equal_images_tie() -> None:
    chance = np.random.default_rng(0)

    def unit(*shape: int) -> np.ndarray:
        values = chance.normal(size=shape)
        return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)

    images = [unit(1 + number % 2, 48) for number in range(75)]
    images += images[:40]
    texts, bank = [unit(1 + number % 9, 48) for number in range(len(images))], BankVectors(unit(20, 48), unit(20, 48))
    none = np.zeros(len(images))
    features = Features(tuple(map(str, range(len(images)))), tuple(images), tuple(texts), none, none, 0.0)
    pooling = Pooling()
    scores = score_matrix(features, np.arange(len(images)), bank, Pooled(pooling, "attention"))
    for text, row in zip(texts, scores, strict=True):
        expected = [align(text.astype(float) @ image.T, *Bank.of(bank).statistics(text), pooling).alignment for image in images]
        assert row == pytest.approx(expected, abs=1e-6)
        assert (row[75:] == row[:40]).all()


def test_rivals_are_never_of_the_same_group() -> None:
    groups = np.repeat(np.arange(25), 2)
    texts = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    setting = Setting(tuple(map(str, range(50))), groups, texts, {})
    for drawn in setting.rivals(3):
        assert drawn.shape == (50, 9)
        assert (groups[drawn] != groups[:, None]).all()
        assert all(len(set(row)) == 9 for row in drawn.tolist())
    assert (setting.rivals(3)[0] == setting.rivals(3)[0]).all() and (setting.rivals(3)[0] != setting.rivals(4)[0]).any()


def test_heads_find_a_linear_relation() -> None:
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(300, 8))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    images = texts @ np.linalg.qr(rng.normal(size=(8, 8)))[0]
    head, strength = fit_head(texts[:200], images[:200], np.arange(200))
    assert np.isfinite(strength)
    before, after = (np.einsum("nd,nd->n", one, images[200:]).mean() for one in (texts[200:], head(texts[200:])))
    assert after > 0.9 > before
    assert np.allclose(fit_ridge(texts, images, 1e9)(texts), texts, atol=1e-6)


def test_a_head_is_left_out_where_none_helps() -> None:
    rng = np.random.default_rng(1)
    texts = rng.normal(size=(60, 32))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    head, strength = fit_head(texts, texts, np.arange(60))
    assert np.isinf(strength) and np.allclose(head(texts), texts)


def test_digests_tell_what_was_computed() -> None:
    assert digest("a", 1) == digest("a", 1) != digest("a", 2)
