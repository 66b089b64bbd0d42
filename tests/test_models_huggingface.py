"""Models of transformers: scores as its own processors and models give them, and every way in which a checkpoint can fail."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import KINDS, checkpoint
from images import picture

from pairloom.alignment.attention import Pooling
from pairloom.errors import UsageError
from pairloom.models import Model, load
from pairloom.models.device import onnx_device, torch_device

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

IMAGES = [picture(40, 30), picture(31, 90, 1), picture(99, 99, 2), picture(333, 101, 3), picture(32, 32, 4), picture(7, 5, 5)]
TEXTS = ["a cat", "A photo, of a cat!", "一只红色的猫", "cats " * 40, "a", "photo of two dogs ️ that run  over\na field"]
CASES = {"clip": (77, 16), "siglip": (16, 32), "siglip2": (16, 32), "chinese_clip": (52, 16), "altclip": (77, 16)}


@pytest.fixture(scope="session", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(request.param, tmp_path_factory.mktemp("models") / request.param)


@pytest.fixture(scope="session")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint("siglip", tmp_path_factory.mktemp("models") / "one")


def expected(folder: Path) -> tuple[Any, Any]:
    """Embeddings of the images and texts one by one, as the documentation of transformers makes them."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False)
    fixed, length = folder.name.startswith("siglip"), CASES[folder.name][0]
    images, texts = [], []
    with torch.no_grad():
        for pixels in IMAGES:
            images.append(model.get_image_features(**processor(images=[pixels], return_tensors="pt")))
        for text in TEXTS:
            padding = "max_length" if fixed else False
            given = tokenizer(text, truncation=True, max_length=length, padding=padding, return_tensors="pt")
            texts.append(model.get_text_features(**given))
    return tuple(
        torch.nn.functional.normalize(torch.cat([one.pooler_output for one in some])).numpy() for some in (images, texts)
    )


def test_scores_are_those_of_transformers(folder: Path) -> None:
    model = load(f"hf:{folder}", "cpu")
    images, texts = expected(folder)
    assert (model.context_length, model.dimension) == CASES[folder.name]
    assert np.abs(model.embed_images(IMAGES) - images).max() < 1e-5
    assert np.abs(model.embed_texts(TEXTS) - texts).max() < 1e-5
    assert np.abs(texts @ texts.T - 1).max() > 0.1 and np.abs(images @ images.T - 1).max() > 0.1  # the test can tell


def test_alone_as_in_a_batch(folder: Path) -> None:
    model = load(f"hf:{folder}", "cpu")
    images, texts = IMAGES * 7, [f"{text}{number}" for number in range(12) for text in TEXTS]
    for embedded, alone in (
        (model.embed_images(images), [model.embed_images([image])[0] for image in images]),
        (model.embed_texts(texts), [model.embed_texts([text])[0] for text in texts]),
    ):
        assert np.abs(embedded - np.array(alone)).max() < 1e-4


@pytest.mark.parametrize("folder", ["clip", "siglip"], indirect=True)
def test_short_texts_are_not_padded_to_the_length_of_long_ones(folder: Path) -> None:
    model = load(f"hf:{folder}", "cpu")
    texts = ["a cat", "cats " * 40] * 20
    shapes: list[tuple[int, ...]] = []

    class Towers:
        def texts(self, ids: Any, mask: Any) -> Any:
            shapes.append(ids.shape)
            return model.towers.texts(ids, mask)

    vectors = replace(model, towers=Towers()).embed_texts(texts)  # type: ignore[arg-type]
    assert np.abs(vectors - model.embed_texts(texts[:2] * 20)).max() < 1e-5
    lengths = [len(row) for row in model.reader.read(texts[:2])]
    fixed = folder.name == "siglip"  # pads to its context anyway: one call, as large as may be
    assert shapes == ([(40, 16)] if fixed else [(20, lengths[0]), (20, lengths[1])])


def test_what_a_checkpoint_says_of_itself(folder: Path, tmp_path: Path) -> None:
    model = load(f"hf:{folder}", "cpu")
    assert (model.device, model.precision, model.languages, model.pooling) == ("cpu", "float32", (), Pooling())
    assert model.tokenizer is not None and model.count_tokens("cat " * 100) > 100
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert load(f"hf:{copy}", "cpu").fingerprint == model.fingerprint
    (copy / "pairloom.json").write_text('{"languages": ["zh"], "pooling": {"gamma": 1.5}, "context_length": 12}')
    other = load(f"hf:{copy}", "cpu", threads=2)
    assert (other.languages, other.pooling, other.context_length) == (("zh",), Pooling(gamma=1.5), 12)
    assert other.fingerprint != model.fingerprint


def test_siglip_texts(siglip: Path) -> None:
    """The same ids as SigLIP's own tokenizer; a text of punctuation alone is empty."""
    model, theirs = load(f"hf:{siglip}", "cpu"), transformers.SiglipTokenizer.from_pretrained(siglip)
    for text in (*TEXTS, "They are ONLY there!", "  two   dogs\n", "a_b", "“curly”", "ﬁeld"):
        assert model.reader.read([text]) == [theirs(text, truncation=True, max_length=16).input_ids]
    assert [model.is_empty(text) for text in ("?!.", "...", "a.")] == [True, True, False]
    assert model.canonical("A red cat.") == "a red cat"


def test_siglip_with_a_tokenizer_file(siglip: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(siglip, tmp_path / "copy"))
    tokenizer = load(f"hf:{siglip}", "cpu").tokenizer
    assert tokenizer is not None
    tokenizer.save(str(copy / "tokenizer.json"))
    (copy / "spiece.model").unlink()
    assert np.array_equal(load(f"hf:{copy}", "cpu").embed_texts(TEXTS), load(f"hf:{siglip}", "cpu").embed_texts(TEXTS))


def test_threads_are_put_back(siglip: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    load(f"hf:{siglip}", "cpu").embed_texts(TEXTS)
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load(f"hf:{siglip}", "cpu").embed_texts, [TEXTS] * 20))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_tensors_of_older_versions_do_as_well(siglip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Model = load(f"hf:{siglip}", "cpu")
    now, inner = model.embed_texts(TEXTS), model.towers.model  # type: ignore[attr-defined]
    newer = inner.get_text_features
    monkeypatch.setattr(inner, "get_text_features", lambda **given: newer(**given).pooler_output)
    assert np.array_equal(model.embed_texts(TEXTS), now)


def _without_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["text_model.head.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _config(folder: Path, **entries: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), r"has no model\.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"0" * 99), "can't be loaded"),
        (_without_a_tensor, "lack 1 parts .* text_model.head.weight"),
        (lambda folder: _config(folder, vision_config={"hidden_size": 48, "num_attention_heads": 4}), "can't be loaded|lack"),
        (lambda folder: _config(folder, model_type="bert"), "holds bert; what can be read is clip, siglip"),
        (lambda folder: (folder / "config.json").unlink(), "holds no model"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "spiece.model").unlink(), "tokenizer in .* can't be loaded"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "is not a tokenizer"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "how it wants its images"),
        (lambda folder: (folder / "preprocessor_config.json").write_text('{"size": 48, "crop_size": 48}'), "don't fit together"),
        (
            lambda folder: (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer"}'),
            "none of tokenizer",
        ),
        (lambda folder: (folder / "pairloom.json").write_text('{"dimension": 3}'), "where both should give"),
    ],
)
def test_what_does_not_fit_together_is_refused(siglip: Path, tmp_path: Path, spoil: Callable[[Path], Any], said: str) -> None:
    copy = Path(shutil.copytree(siglip, tmp_path / "copy"))
    spoil(copy)
    with pytest.raises(UsageError, match=said):
        load(f"hf:{copy}", "cpu")


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    small, large = (checkpoint(kind, tmp_path / kind) for kind in ("siglip2", "chinese_clip"))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint("clip", tmp_path / "clip") / file, small / file)
    with pytest.raises(UsageError, match="they belong to different models"):
        load(f"hf:{small}", "cpu")
    assert load(f"hf:{large}", "cpu")


def test_names_on_the_hub(siglip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, a name that is in the cache opens, and one that isn't says what to do."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match=r"hf:nobody/nothing can't be had: .*HF_HUB_OFFLINE.* hf download nobody/nothing"):
        load("hf:nobody/nothing", "cpu")
    with pytest.raises(UsageError, match="there is no folder"):
        load(f"hf:{tmp_path}/nowhere/at/all")
    cached = tmp_path / "models--nobody--tiny"
    shutil.copytree(siglip, cached / "snapshots" / "1234")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("1234")
    model = load("hf:nobody/tiny", "cpu")
    assert model.name == "hf:nobody/tiny" and model.fingerprint == load(f"hf:{siglip}", "cpu").fingerprint


@pytest.mark.parametrize("module", ["torch", "transformers"])
def test_without_the_extra(module: str, siglip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"needs {module}, which is not installed: pip install 'pairloom\[torch\]'"):
        load(f"hf:{siglip}", "cpu", threads=3)


class FakeTorch:
    """A torch that finds as many GPUs as one asks for."""

    def __init__(self, gpus: int, mps: bool = False) -> None:
        self.cuda = type("cuda", (), {"is_available": lambda: gpus > 0, "device_count": lambda: gpus})
        self.backends = type("backends", (), {"mps": type("mps", (), {"is_available": lambda: mps})})
        self.version = type("version", (), {"cuda": "12.8" if gpus else None})


def test_devices() -> None:
    assert [torch_device(name, FakeTorch(2)) for name in ("auto", "cuda", "cuda:1", "cpu")] == [
        "cuda:0",
        "cuda:0",
        "cuda:1",
        "cpu",
    ]
    assert [torch_device("auto", FakeTorch(0, mps)) for mps in (True, False)] == ["mps", "cpu"]
    for name, gpus, said in (("cuda", 0, "built without CUDA"), ("cuda:2", 2, "finds 2 GPUs"), ("mps", 1, "finds none")):
        with pytest.raises(UsageError, match=said):
            torch_device(name, FakeTorch(gpus))
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert [onnx_device(name, both) for name in ("auto", "cuda:1", "cpu")] == ["cuda:0", "cuda:1", "cpu"]
