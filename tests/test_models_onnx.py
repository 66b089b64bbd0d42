"""Models as ONNX folders, and what `load` promises of any model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import picture
from model_files import DIMENSION, SQUASH, WORDS, onnx_model, word_tokenizer

from pairloom import models
from pairloom.errors import UsageError
from pairloom.models import Model, Pooling, load
from pairloom.models.reader import TextReader

IMAGES = [picture(40 + 7 * seed, 30 + 11 * (seed % 3), seed) for seed in range(40)]
TEXTS = ["a photo of a cat", "猫", "", "red " * 30, *(f"photo of {letter} red cat" for letter in "abcdefgh" * 9)]
BUCKETS = {**SQUASH, "resize_mode": "buckets", "buckets": [[16, 16], [12, 20], [20, 12]]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return onnx_model(tmp_path / "model", BUCKETS)


@pytest.fixture
def model(folder: Path) -> Model:
    return load(f"onnx:{folder}", "cpu")


def test_what_a_model_says_of_itself(model: Model, folder: Path) -> None:
    assert (model.name, model.dimension, model.context_length, model.device) == (f"onnx:{folder}", DIMENSION, 10, "cpu")
    assert model.languages == ("en", "zh") and model.pooling == Pooling(gamma=3.0)
    assert model.transform.mode == "buckets" and model.tokenizer is not None
    assert model.count_tokens("red cat") == 4 and model.count_tokens("red " * 30) == 32


def test_rows_are_unit_vectors_in_the_order_given(model: Model) -> None:
    for embedded, alone in (
        (model.embed_images(IMAGES), [model.embed_images([image])[0] for image in IMAGES]),
        (model.embed_texts(TEXTS), [model.embed_texts([text])[0] for text in TEXTS]),
    ):
        assert embedded.dtype == np.float32 and embedded.shape == (len(alone), DIMENSION)
        assert np.allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-6)
        assert np.abs(embedded - np.array(alone)).max() < 1e-4
    assert np.unique(model.embed_images(IMAGES).round(4), axis=0).shape[0] == len(IMAGES)
    assert model.embed_images([]).shape == model.embed_texts([]).shape == (0, DIMENSION)


def test_embeddings_are_those_of_the_graph(model: Model) -> None:
    """By hand: the sum of the vectors of the tokens, marks included, those beyond the context cut off."""
    vectors = np.random.default_rng(2).normal(size=(len(WORDS), DIMENSION)).astype(np.float32)
    for text, words in (("red cat", ["red", "cat"]), ("red " * 30, ["red"] * 8)):
        summed = vectors[[WORDS.index(word) for word in ["[BOS]", *words, "[EOS]"]]].sum(0)
        assert np.allclose(model.embed_texts([text])[0], summed / np.linalg.norm(summed), atol=1e-5)
    weights = np.random.default_rng(1).normal(size=(3, DIMENSION)).astype(np.float32)
    seen = model.transform.apply(IMAGES[0]).mean((1, 2)) @ weights
    assert np.allclose(model.embed_images(IMAGES[:1])[0], seen / np.linalg.norm(seen), atol=1e-5)


def test_a_view_cut_from_an_image_is_an_image(model: Model) -> None:
    cut = IMAGES[0][5:25, 3:33]
    assert np.array_equal(model.embed_images([cut]), model.embed_images([cut.copy()]))
    assert np.isfinite(model.embed_images([np.zeros((1, 1, 3), np.uint8)])).all()


def test_a_failure_is_seen(tmp_path: Path) -> None:
    """The graph takes a logarithm: of black pixels that is minus infinity. It must not become a row of zeros."""
    plain = {**SQUASH, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}
    broken = load(f"onnx:{onnx_model(tmp_path / 'broken', plain, broken=True)}")
    embedded = broken.embed_images([np.zeros((8, 8, 3), np.uint8), IMAGES[0]])
    assert np.isfinite(embedded).all(axis=1).tolist() == [False, True]


def test_a_zero_vector_is_no_number_and_a_huge_one_no_zero(model: Model) -> None:
    class Towers:
        def images(self, inputs: Sequence[Any]) -> Any:
            return np.array([[0] * DIMENSION, [1e30] * DIMENSION], np.float32)

    embedded = replace(model, towers=Towers()).embed_images(IMAGES[:1] * 2)  # type: ignore[arg-type]
    assert np.isnan(embedded[0]).all() and np.allclose(embedded[1], DIMENSION**-0.5)


def test_empty_texts_are_told(model: Model) -> None:
    assert [model.is_empty(text) for text in ("", "  \n", "cat", "?")] == [True, True, False, False]
    assert np.isfinite(model.embed_texts([""])).all()


def test_one_model_a_process(folder: Path, model: Model) -> None:
    assert load(f"onnx:{folder}", "cpu") is model
    assert load(f"onnx:{folder}", "cpu", threads=2) is not model


def test_threads(folder: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRLOOM_MODEL_THREADS", "2")
    assert np.array_equal(load(f"onnx:{folder}", "cpu").embed_images(IMAGES), model.embed_images(IMAGES))
    monkeypatch.setenv("PAIRLOOM_MODEL_THREADS", "many")
    with pytest.raises(UsageError, match="must be a number"):
        load(f"onnx:{folder}", "cpu")


def test_the_fingerprint_is_that_of_the_content(folder: Path, model: Model, tmp_path: Path) -> None:
    def fingerprint(change: Callable[[Path], Any]) -> str:
        copy = Path(shutil.copytree(folder, tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"))
        change(copy)
        return load(f"onnx:{copy}", "cpu").fingerprint

    assert len(model.fingerprint) == 64 and fingerprint(lambda copy: None) == model.fingerprint
    other = word_tokenizer()
    other.normalizer = None
    changed = {
        fingerprint(lambda copy: (copy / "preprocessor_config.json").write_text(json.dumps(SQUASH))),
        fingerprint(lambda copy: other.save(str(copy / "tokenizer.json"))),
        fingerprint(lambda copy: (copy / "pairloom.json").write_text('{"context_length": 11}')),
        fingerprint(lambda copy: onnx_model(copy, BUCKETS, seed=5)),
    }
    assert len(changed) == 4 and model.fingerprint not in changed


def test_exports_of_other_tools(tmp_path: Path, model: Model) -> None:
    """No pairloom.json, other names in a folder of their own, no mask: padded to the context that the tokenizer says."""
    folder = onnx_model(tmp_path / "export", BUCKETS, names=("onnx/vision_model.onnx", "onnx/text_model.onnx"), mask=False)
    (folder / "pairloom.json").unlink()
    with pytest.raises(UsageError, match="how many tokens"):
        load(f"onnx:{folder}")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 12, "pad_token": "[PAD]"}')
    export = load(f"onnx:{folder}", "cpu")
    assert (export.context_length, export.dimension, export.pooling, export.languages) == (12, DIMENSION, Pooling(), ())
    assert np.array_equal(export.embed_images(IMAGES[:3]), model.embed_images(IMAGES[:3]))
    embedded = export.embed_texts(["cat", "red cat"])
    assert np.abs(embedded - np.array([export.embed_texts([text])[0] for text in ("cat", "red cat")])).max() < 1e-6
    tokenizer = word_tokenizer()
    tokenizer.enable_truncation(9)
    tokenizer.save(str(folder / "tokenizer.json"))
    assert load(f"onnx:{folder}", "cpu", threads=2).context_length == 9


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "image.onnx").unlink(), r"has no image\.onnx"),
        (lambda folder: (folder / "text.onnx").unlink(), r"has no text\.onnx"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "not a tokenizer"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "how it wants its images"),
        (lambda folder: (folder / "image.onnx").write_bytes(b"no graph"), "can't be opened as an ONNX graph"),
        (lambda folder: (folder / "image.onnx").write_bytes((folder / "image.onnx").read_bytes()[:90]), "can't be opened"),
        (lambda folder: shutil.copy(folder / "text.onnx", folder / "image.onnx"), "where pixel_values belong"),
        (lambda folder: (folder / "pairloom.json").write_text('{"context_length": 9, "dimension": 9}'), "where both should give"),
        (lambda folder: (folder / "pairloom.json").write_text('{"context_length": "long"}'), "context_length"),
        (lambda folder: (folder / "pairloom.json").write_text("{"), "pairloom.json"),
        (lambda folder: onnx_model(folder, text_dimension=5), "towers don't fit together"),
        (lambda folder: onnx_model(folder, broken=True), "not finite"),
        (lambda folder: onnx_model(folder, words=3), "don't fit together"),
    ],
)
def test_what_does_not_fit_together_is_refused(folder: Path, spoil: Callable[[Path], Any], said: str) -> None:
    spoil(folder)
    with pytest.raises(UsageError, match=said):
        load(f"onnx:{folder}")


@pytest.mark.parametrize(
    ("name", "device", "said"),
    [
        ("nonsense", "auto", r"a name is one of mini, onnx:FOLDER, hf:NAME_OR_FOLDER, openclip:NAME/PRETRAINED"),
        ("onnx:", "auto", "a name is one of"),
        ("onnx:/nowhere/at/all", "auto", "there is no folder"),
        ("mini", "gpu", "there is no device 'gpu'"),
        ("onnx:FOLDER", "cuda", "pip uninstall onnxruntime && pip install onnxruntime-gpu"),
        ("onnx:FOLDER", "mps", "not on mps"),
    ],
)
def test_names_and_devices_that_there_are_not(folder: Path, name: str, device: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load(name.replace("FOLDER", str(folder)), device)


def test_without_mini(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(models, "MINI", tmp_path / "mini")
    with pytest.raises(UsageError, match="lacks the model mini"):
        models._open.__wrapped__("mini", "auto", 1, 0)


def test_siglip_reads_no_punctuation() -> None:
    reader = TextReader(word_tokenizer(), 10, strips_punctuation=True)
    assert reader.canonical("  A photo,\n of_a (Cat)! ") == "a photo ofa cat"
    assert reader.is_empty("?!…"[:2]) and not reader.is_empty("…") and reader.count("Cat!") == 3


def test_padding_at_the_left() -> None:
    ids, mask = TextReader(word_tokenizer(), 6, pad_id=9, fixed=True, side="left").pad([[1, 2], [1, 5, 2]])
    assert ids.tolist() == [[9, 9, 9, 9, 1, 2], [9, 9, 9, 1, 5, 2]]
    assert mask.tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]
