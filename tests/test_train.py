"""Training the attention head: on arrays whose answer is known, and from a folder of pairs to scores."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from model_files import WORDS, onnx_model
from safetensors.numpy import save_file

from pairloom import Align, Contain, Decode, Encode, Fitting, Recipe, RecipeError, Segment, UsageError, compare, run, score, train
from pairloom.alignment.attention import Pooling, align_each
from pairloom.alignment.bank import Bank, BankVectors
from pairloom.alignment.export import head_graph
from pairloom.alignment.trained import AttentionHead, load_head
from pairloom.train.batches import dropped, joined, mapped, padded, part, split
from pairloom.train.features import Pairs
from pairloom.train.fit import Epoch, _Run, fit_attention_head

WIDTH = 12
QUICK = Fitting(epochs=6, batch=32, rate=3e-2, structure=0.1, patience=6, seed=1)


def unit(array: np.ndarray) -> np.ndarray:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


def constructed(count: int = 150, views: int = 2, new: bool = False, known: float = 0.0) -> Pairs:
    """Texts of one to three segments about nothing and one that is the image, turned by a rotation that has to be learnt, and as
    it is by the share `known` of that."""
    rng = np.random.default_rng(0)
    turn, nothing = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0], unit(rng.normal(size=(5, WIDTH)))
    rng = np.random.default_rng(1 + new)
    images = unit(rng.normal(size=(count, WIDTH)))
    texts = [
        unit(
            np.concatenate(
                [nothing[rng.integers(0, 5, 1 + number % 3)], images[number : number + 1] @ (turn + known * np.eye(WIDTH))]
            )
        )
        for number in range(count)
    ]
    seen = [
        np.concatenate([images[number : number + 1], unit(rng.normal(size=(number % views, WIDTH)))]) for number in range(count)
    ]
    return Pairs(tuple(seen), tuple(texts), np.arange(count), np.arange(count))


@pytest.fixture(scope="module")
def bank() -> BankVectors:
    chance = np.random.default_rng(9)
    return BankVectors(unit(chance.normal(size=(32, WIDTH)) + 0.3), unit(chance.normal(size=(20, WIDTH)) + 0.3))


@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
def test_training_learns_what_untrained_attention_can_not_know(bank: BankVectors, loss: str) -> None:
    seen: list[Epoch] = []
    pooling = Pooling(2.0, tau_view=0.1)
    fitting = dataclasses.replace(QUICK, loss=loss, epochs=80, patience=80, validation=0.3)  # type: ignore[arg-type]
    head, epochs = fit_attention_head(constructed(known=0.7), bank, pooling, fitting, show=seen.append)
    assert seen == epochs and [epoch.number for epoch in epochs] == list(range(len(epochs)))
    losses = [epoch.loss for epoch in epochs[1:]]
    assert epochs[0].loss is None and losses[-1] < 0.5 * losses[0]  # type: ignore[operator]
    best = max(epochs, key=lambda epoch: epoch.reciprocal_rank)
    assert best.best and best.reciprocal_rank > 0.9 > 0.4 > epochs[0].reciprocal_rank
    # The head is that of the best epoch, and pairs that it never saw gain as well.
    unseen = constructed(60, new=True, known=0.7)
    assert found(head, unseen, bank) > 0.9 > 0.5 > found(AttentionHead.untrained(bank, pooling), unseen, bank)


def found(head: AttentionHead, pairs: Pairs, bank: BankVectors) -> float:
    """10-way matching among the first ten, and so on."""
    known, right = head.bank(bank), []
    for start in range(0, len(pairs.texts), 10):
        views = [head.images(one[:1]) for one in pairs.views[start : start + 10]]
        for place, text in enumerate(pairs.texts[start : start + 10]):
            right.append(head.align_each(text, np.stack(views), known).argmax() == place)
    return float(np.mean(right))


def test_one_seed_gives_the_same_bytes(bank: BankVectors) -> None:
    pairs = constructed(60, known=0.7)
    first, again, other = (
        fit_attention_head(pairs, bank, Pooling(), dataclasses.replace(QUICK, seed=seed))[0].to_bytes() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_going_on_from_a_checkpoint_gives_the_same_weights(bank: BankVectors, tmp_path: Path) -> None:
    pairs, path = constructed(60), tmp_path / "checkpoint.safetensors"
    whole, all_epochs = fit_attention_head(pairs, bank, Pooling(), QUICK)
    fit_attention_head(pairs, bank, Pooling(), dataclasses.replace(QUICK, epochs=2), path)
    shown: list[Epoch] = []
    head, epochs = fit_attention_head(pairs, bank, Pooling(), QUICK, path, shown.append)
    assert head.to_bytes() == whole.to_bytes() and epochs == all_epochs and [one.number for one in shown] == [3, 4, 5, 6]
    with pytest.raises(UsageError, match=r"it is of other pairs or settings; begin anew with --restart"):
        fit_attention_head(pairs, bank, Pooling(), dataclasses.replace(QUICK, rate=1e-4), path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UsageError, match="can't be gone on from"):
        fit_attention_head(pairs, bank, Pooling(), QUICK, path)


def test_numpy_scores_as_torch_does(bank: BankVectors) -> None:
    import torch

    pairs = constructed(40, views=3)
    fit = _Run(torch, pairs, bank, Pooling(2.0), QUICK, np.arange(5, 40), np.arange(5))
    for _ in range(3):
        fit.epoch(np.arange(5, 40))
    fit._best = fit._copied()
    head = fit.head
    texts, there = joined(torch, list(pairs.texts))
    views, seen = padded(torch, list(pairs.views))
    with torch.no_grad():
        expected = fit._scores(
            mapped(texts, fit._mean["text"]), fit._unlike(texts), there, mapped(views, fit._mean["image"]), seen, fit._mean
        ).numpy()
    known = head.bank(bank)
    for row, text in enumerate(pairs.texts):
        for column, image in enumerate(pairs.views):
            one = head.align(text, head.images(image), known)
            assert one.alignment == pytest.approx(expected[row, column], abs=1e-5)
            assert one.weights.sum() == pytest.approx(1) and one.alignment == pytest.approx(one.weights @ one.scores)
            each = head.align_each(text, head.images(image)[None], known)
            assert each == pytest.approx([one.alignment], abs=1e-12)


def test_the_onnx_graph_scores_as_numpy_does(bank: BankVectors) -> None:
    import onnxruntime

    head, _ = fit_attention_head(constructed(60), bank, Pooling(2.0), QUICK)
    session = onnxruntime.InferenceSession(head_graph(head, head.bank(bank)), providers=["CPUExecutionProvider"])
    pairs = constructed(12, views=3, new=True)
    for text in pairs.texts:
        for views in ([image[:1] for image in pairs.views], [image for image in pairs.views if len(image) == 3]):
            expected = head.align_each(text, head.images(np.stack(views)), head.bank(bank))
            found, scores, weights = session.run(None, {"segments": text, "views": np.stack(views)})
            assert found == pytest.approx(expected, abs=1e-4) and (weights * scores).sum(1) == pytest.approx(found, abs=1e-5)
            one = head.align(text, head.images(views[0]), head.bank(bank))
            assert weights[0] == pytest.approx(one.weights, abs=1e-4) and scores[0] == pytest.approx(one.scores, abs=1e-4)


def test_without_training_and_null_token_it_is_plain_attention(bank: BankVectors) -> None:
    pairs, pooling = constructed(10, views=1), Pooling(2.0, 0.05)
    start = AttentionHead.untrained(bank, pooling)
    far = dataclasses.replace(start, null=np.zeros(WIDTH, np.float32) - 1e3 * start.null)
    views = np.stack(pairs.views).astype(np.float64)
    for text in pairs.texts:
        if (text @ far.null < -1).all():  # no segment likes the null token
            expected = align_each(np.einsum("sd,nvd->snv", text, views), *Bank.of(bank).statistics(text), pooling)
            assert far.align_each(text, views, far.bank(bank)) == pytest.approx(expected, abs=1e-6)


def test_a_batch_sees_a_part_of_each_text_and_of_each_embedding() -> None:
    import torch

    chance, text = np.random.default_rng(0), unit(np.random.default_rng(1).normal(size=(4, 200)))
    parts = [part(text, chance) for _ in range(100)]
    assert {len(one) for one in parts} == {1, 2, 3, 4}
    assert all(len(np.unique(one, axis=0)) == len(one) and np.isin(one, text).all() for one in parts)
    vectors = torch.from_numpy(text)
    left = dropped(torch, vectors, 0.2, chance)
    assert 0.1 < (left == 0).float().mean() < 0.3 and left.norm(dim=-1).numpy() == pytest.approx(1, abs=1e-5)
    assert dropped(torch, vectors, 0.0, chance).numpy() == pytest.approx(text, abs=1e-6)


def test_the_head_is_a_mean_of_the_last_weights(bank: BankVectors) -> None:
    import torch

    fit = _Run(torch, constructed(40), bank, Pooling(), QUICK, np.arange(5, 40), np.arange(5))
    seen = []
    for _ in range(4):
        fit.epoch(np.arange(5, 40))  # one step each but the first
        seen.append(fit._now()["text"].detach().clone())
    mean = seen[1]
    for number, value in enumerate(seen[2:], 2):
        mean = mean + (value - mean) * 9 / (number + 8)
    assert fit._mean["text"].numpy() == pytest.approx(mean.numpy(), abs=1e-6)


def strangers(count: int = 300, seed: int = 0) -> Pairs:
    """Texts and images that share eight hidden numbers, each in a space of its own; much else is in either."""
    rng = np.random.default_rng(3)
    text_map, image_map = rng.normal(size=(2, 8, WIDTH))
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(count, 8))
    images, texts = (unit(hidden @ one + 0.05 * rng.normal(size=(count, WIDTH)))[:, None] for one in (image_map, text_map))
    return Pairs(tuple(images), tuple(texts), np.arange(count), np.arange(count))


def test_towers_that_are_strangers_begin_where_their_pairs_go_together(bank: BankVectors, tmp_path: Path) -> None:
    pairs, fitting = strangers(), dataclasses.replace(QUICK, rate=1e-3)
    path = tmp_path / "checkpoint.safetensors"
    head, epochs = fit_attention_head(pairs, bank, Pooling(), dataclasses.replace(fitting, epochs=2), path)
    assert epochs[0].reciprocal_rank > 0.5 and max(epoch.reciprocal_rank for epoch in epochs) > 0.6
    assert found(head, strangers(100, seed=1), bank) > 0.7 > 0.3 > found(AttentionHead.untrained(bank, Pooling()), pairs, bank)
    again, _ = fit_attention_head(pairs, bank, Pooling(), fitting, path)
    assert again.to_bytes() == fit_attention_head(pairs, bank, Pooling(), fitting)[0].to_bytes()


def test_towers_that_know_each_other_and_few_pairs_begin_without_maps(bank: BankVectors) -> None:
    import torch

    pairs = strangers()
    known = Pairs(pairs.views, pairs.views, pairs.image_of, pairs.groups)
    few = strangers(24)
    for one, train_rows, held in ((known, np.arange(30, 300), np.arange(30)), (few, np.arange(4, 24), np.arange(4))):
        fit = _Run(torch, one, bank, Pooling(), QUICK, train_rows, held)
        assert not fit._mean["text"].any() and not fit._mean["image"].any()


def test_duplicates_are_never_on_both_sides() -> None:
    groups = np.repeat(np.arange(30), 3)
    train_rows, held = split(groups, Fitting(validation=0.2))
    assert len(held) == 18 and not set(groups[train_rows]) & set(groups[held])


def test_several_texts_of_an_image_are_positives(bank: BankVectors) -> None:
    one = constructed(40, views=1)
    twice = Pairs(one.views, one.texts * 2, np.tile(np.arange(40), 2), np.tile(np.arange(40), 2))
    _, epochs = fit_attention_head(twice, bank, Pooling(), dataclasses.replace(QUICK, epochs=2))
    assert all(np.isfinite(epoch.loss) for epoch in epochs[1:])  # type: ignore[arg-type]


def test_what_makes_no_sense_is_refused(bank: BankVectors) -> None:
    with pytest.raises(UsageError, match="only 12 different pairs can be trained on; it takes at least 20"):
        fit_attention_head(constructed(12), bank, Pooling(), QUICK)
    for wrong in ({"epochs": 0}, {"batch": 1}, {"rate": 0.0}, {"validation": 1.0}, {"structure": -1.0}, {"dropout": 1.0}):
        with pytest.raises(UsageError, match="training needs epochs and patience of at least 1"):
            Fitting(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there is no loss 'triplet'; give infonce or sigmoid"):
        Fitting("triplet")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the loss is no number any more in epoch 1; try a lower --rate"):
        fit_attention_head(constructed(40), bank, Pooling(), dataclasses.replace(QUICK, rate=1e20))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    settings = {"context_length": 77, "pad_token_id": 0, "pooling": {"gamma": 3}}
    return f"onnx:{onnx_model(tmp_path_factory.mktemp('model'), settings=settings)}"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bank")
    for number in range(16):
        (folder / f"{number:03d}.jpg").write_bytes(picture(40, 30, 500 + number))
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pictures with texts that differ, one of them bad."""
    made = tmp_path_factory.mktemp("pairs")
    for number in range(31):
        (made / f"{number:03d}.png").write_bytes(picture(40 + number, 60, number, "PNG") if number != 7 else b"none")
        (made / f"{number:03d}.txt").write_text(f"{WORDS[4 + number % 26]} {WORDS[4 + number // 2]}. photo of it.")
    return made


def recipe(align: Align) -> Recipe:
    return Recipe((Decode(), Segment(), align, Contain(64), Encode()))


@pytest.fixture(scope="module")
def trained(model: str, images: str, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "head"
    train(folder, out, recipe(Align(model, bank=images)), fitting=QUICK)
    return out


def test_a_folder_becomes_a_head_that_scores(model: str, images: str, folder: Path, trained: Path, tmp_path: Path) -> None:
    said = json.loads((trained / "training.json").read_text())
    assert (said["images"], said["texts"], said["model"]) == (30, 30, model) and said["epochs"][said["best"]]["best"]
    names = {path.name for path in trained.iterdir()}
    assert names == {"head.safetensors", "training.json", "checkpoint.safetensors", "features"}
    plain, by_head = Align(model, bank=images), Align(model, bank=images, head=str(trained))
    score(folder, tmp_path / "plain.parquet", recipe(plain))
    score(folder, tmp_path / "head.parquet", recipe(by_head))
    import pyarrow.parquet as pq

    tables = [pq.read_table(tmp_path / f"{name}.parquet").to_pylist() for name in ("plain", "head")]
    rows = [row for row in zip(*tables, strict=True) if row[0]["reject"] is None]
    assert len(rows) == 30 and all(one["similarity"] == other["similarity"] for one, other in rows)
    assert any(abs(one["alignment"] - other["alignment"]) > 1e-3 for one, other in rows)
    for _, row in rows:
        parts = [weight * each for weight, each in zip(row["segment_weights"], row["segment_scores"], strict=True)]
        assert row["alignment"] == pytest.approx(sum(parts), abs=5e-4)


def test_training_again_goes_on_and_restarts_when_told(model: str, images: str, folder: Path, trained: Path) -> None:
    by, before = recipe(Align(model, bank=images)), (trained / "head.safetensors").read_bytes()
    train(folder, trained, by, fitting=QUICK)
    assert (trained / "head.safetensors").read_bytes() == before
    with pytest.raises(UsageError, match="begin anew with --restart"):
        train(folder, trained, by, fitting=dataclasses.replace(QUICK, seed=5))
    assert (trained / "head.safetensors").read_bytes() == before
    train(folder, trained, by, fitting=QUICK, restart=True, onnx=True)
    assert (trained / "head.onnx").stat().st_size > 1000
    (trained / "head.onnx").unlink()
    assert (trained / "head.safetensors").read_bytes() == before


def test_a_run_is_not_resumed_with_another_head(model: str, images: str, folder: Path, trained: Path, tmp_path: Path) -> None:
    head = tmp_path / "own.safetensors"
    head.write_bytes((trained / "head.safetensors").read_bytes())
    by = recipe(Align(model, bank=images, head=str(head)))
    run(folder, tmp_path / "out", by)
    old = load_head(str(head), (identity := identity_of(model)), model)
    head.write_bytes(dataclasses.replace(old, segment=old.segment + 1).to_bytes())
    assert load_head(str(head), identity, model).segment[0] == old.segment[0] + 1
    with pytest.raises(UsageError, match=r"(?s)align head.*restart"):
        run(folder, tmp_path / "out", by)


def identity_of(model: str) -> str:
    from pairloom.models import load

    return load(model).identity


def test_a_head_of_another_model_and_files_that_are_none(model: str, images: str, trained: Path, tmp_path: Path) -> None:
    other = f"onnx:{onnx_model(tmp_path / 'other', seed=5)}"
    with pytest.raises(
        RecipeError, match=r"steps\[2\].align: the head .* was trained on the model onnx:.*, not on this onnx:.*/other: train one"
    ):
        recipe(Align(other, bank=images, head=str(trained)))
    with pytest.raises(RecipeError, match="`pooling: mean` and `head` don't go together"):
        recipe(Align(model, bank=images, pooling="mean", head=str(trained)))
    with pytest.raises(RecipeError, match="can't be read: No such file"):
        recipe(Align(model, bank=images, head=str(tmp_path / "none")))
    bad = tmp_path / "bad.safetensors"
    good = load_head(str(trained), identity_of(model), model)
    broken = [
        b"",
        b"no head at all",
        good.to_bytes()[:-50],
        dataclasses.replace(good, null=good.null[:-1]).to_bytes(),
        dataclasses.replace(good, text=good.text * np.nan).to_bytes(),
        dataclasses.replace(good, pooling=Pooling(1, 0)).to_bytes(),
    ]
    for data in broken:
        bad.write_bytes(data)
        with pytest.raises(RecipeError, match=r"can't be used: .*`pairloom train` writes heads"):
            recipe(Align(model, bank=images, head=str(bad)))
    save_file({"a": np.zeros(3)}, bad)
    with pytest.raises(RecipeError, match="it is no attention head of this version"):
        recipe(Align(model, bank=images, head=str(bad)))


def test_without_torch_it_says_what_to_install_and_still_scores(
    model: str, images: str, folder: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\nfrom pairloom import score\n"
        f"score({str(folder)!r}, {str(tmp_path / 's.parquet')!r}, sys.argv[1])"
    )
    (tmp_path / "recipe.yaml").write_text(recipe(Align(model, bank=images, head=str(trained))).to_yaml())
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "recipe.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match=r"training a head needs torch, .*pip install 'pairloom\[torch\]'"):
        train(folder, tmp_path / "head", recipe(Align(model, bank=images)))
    assert not (tmp_path / "head").exists()


def test_a_comparison_by_trained_heads(model: str, images: str, folder: Path, trained: Path, tmp_path: Path) -> None:
    for number in range(40, 70):
        (tmp_path / "more").mkdir(exist_ok=True)
        (tmp_path / "more" / f"{number}.png").write_bytes(picture(40 + number, 60, number, "PNG"))
        (tmp_path / "more" / f"{number}.txt").write_text(f"{WORDS[4 + number % 26]} {WORDS[4 + number // 3]}. red photo.")
    both = [folder, tmp_path / "more"]
    policies = {"plain": recipe(Align(model, bank=images)), "head": recipe(Align(model, bank=images, head=str(trained)))}
    found = compare(both, policies, tmp_path / "out", model=model, regime="refit", head="trained")
    assert (found.head, found.seeds) == ("trained", (0, 1, 2)) and found.to_json()["head"] == "trained"
    fixed = compare(both, policies, tmp_path / "out", model=model)
    assert fixed.head is None and fixed.policies["plain"].auc != fixed.policies["head"].auc
    with pytest.raises(UsageError, match="only with --regime refit"):
        compare(both, policies, tmp_path / "out", model=model, head="trained")
    other = f"onnx:{onnx_model(tmp_path / 'other', seed=5)}"
    with pytest.raises(UsageError, match="was trained on the model"):
        compare(both, policies, tmp_path / "out", model=other)
