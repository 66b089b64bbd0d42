"""Models of open_clip. It can't be imported beside a CPU torch, so a stand-in with its interface (version 3.3) is used."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import picture

from pairloom.errors import UsageError
from pairloom.models import Model, load

torch = pytest.importorskip("torch")

LETTERS = "abcdefghijklmnopqrstuvwxyz "
CONTEXT = 12


class SimpleTokenizer:
    """A token a letter, between 1 and 2, padded with 0 to the context; open_clip's own has these attributes."""

    context_length = CONTEXT

    def clean_fn(self, text: str) -> str:
        return " ".join(text.split()).lower()

    def encode(self, text: str) -> list[int]:
        return [3 + LETTERS.index(letter) for letter in self.clean_fn(text)]

    def __call__(self, texts: Sequence[str], context_length: int) -> Any:
        rows = [[1, *self.encode(text)[: context_length - 2], 2] for text in texts]
        return torch.tensor([row + [0] * (context_length - len(row)) for row in rows])


class DualEncoder(torch.nn.Module):  # type: ignore[misc]
    """Colour means of the image, token vectors of the text."""

    context_length = CONTEXT

    def __init__(self, preprocess: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.visual = torch.nn.Linear(3, 8)
        self.visual.preprocess_cfg = preprocess
        self.vectors = torch.nn.Embedding(40, 8, padding_idx=0)

    def encode_image(self, image: Any) -> Any:
        return self.visual(image.mean((2, 3)))

    def encode_text(self, text: Any) -> Any:
        return self.vectors(text).sum(1)


@pytest.fixture
def open_clip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    weights = tmp_path / "open_clip_model.safetensors"
    weights.write_bytes(b"weights")
    (tmp_path / "old.pt").write_bytes(b"pickle")
    made = types.ModuleType("open_clip")
    tags = {"tag": {"file": str(weights)}, "old": {"file": str(tmp_path / "old.pt")}}
    made.pretrained = types.SimpleNamespace(  # type: ignore[attr-defined]
        get_pretrained_cfg=lambda kind, tag: tags.get(tag, {}) if kind == "ViT-S" else {},
        download_pretrained=lambda cfg: cfg["file"],
        download_pretrained_from_hf=lambda name: str(weights),
        list_pretrained_tags_by_model=lambda kind: list(tags) if kind == "ViT-S" else [],
    )
    made.asked = []  # type: ignore[attr-defined]
    config = {"size": (16, 24), "mode": "RGB", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2), "interpolation": "bilinear",
              "resize_mode": "squash", "fill_color": 0}  # fmt: skip

    def create_model(kind: str, pretrained: str | None, **options: Any) -> DualEncoder:
        if "ViT" not in kind:
            raise RuntimeError(f"Model config for {kind!r} not found")
        made.asked.append((kind, pretrained, options))  # type: ignore[attr-defined]
        return DualEncoder(config)

    made.create_model, made.get_tokenizer = create_model, lambda kind: SimpleTokenizer()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "open_clip", made)
    return made


def opened(name: str) -> Model:
    """Not from the cache: each test has a stand-in of its own."""
    from pairloom.models.openclip import open_openclip

    return open_openclip(f"openclip:{name}", name, "cpu", 1)


def test_images_and_texts(open_clip: Any) -> None:
    model = opened("ViT-S/tag")
    assert open_clip.asked == [("ViT-S", "tag", {"precision": "fp32", "device": "cpu", "require_pretrained": True})]
    assert (model.dimension, model.context_length, model.tokenizer, model.transform.size) == (8, CONTEXT, None, (24, 16))
    assert (model.transform.mode, model.transform.interpolation, model.transform.rounding) == ("squash", "bilinear", "even")
    inner = DualEncoder({}).eval()
    with torch.no_grad():
        image = inner.encode_image(torch.from_numpy(model.transform.apply(picture()))[None]).numpy()[0]
        text = inner.encode_text(torch.tensor([[1, 5, 3, 22, 2]])).numpy()[0]  # c a t
    assert np.allclose(model.embed_images([picture()])[0], image / np.linalg.norm(image), atol=1e-6)
    assert np.allclose(model.embed_texts(["a dog", " Cat "])[1], text / np.linalg.norm(text), atol=1e-6)
    assert model.embed_texts([]).shape == (0, 8)


def test_text_rules(open_clip: Any) -> None:
    model = opened("hf-hub:someone/ViT-something")
    assert open_clip.asked[0][:2] == ("hf-hub:someone/ViT-something", None)
    assert model.canonical(" A  Cat ") == "a cat" and model.count_tokens("a cat " * 20) == 121
    assert [model.is_empty(text) for text in ("", " \n", "a")] == [True, True, False]
    assert len(model.fingerprint) == 64 and model.fingerprint == opened("ViT-S/tag").fingerprint


def test_a_tokenizer_from_the_hub(open_clip: Any) -> None:
    from model_files import word_tokenizer
    from transformers import PreTrainedTokenizerFast

    class HFTokenizer:
        context_length = CONTEXT
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(), pad_token="[PAD]")

        def __call__(self, texts: Sequence[str], context_length: int) -> Any:
            options = {"max_length": context_length, "padding": "max_length", "truncation": True, "return_tensors": "pt"}
            return self.tokenizer(list(texts), **options).input_ids

    open_clip.get_tokenizer = lambda kind: HFTokenizer()
    model = opened("ViT-S/tag")
    assert model.tokenizer is not None and model.count_tokens("red cat") == 4
    assert model.canonical("Red") == "Red" and model.is_empty(" ") and not model.is_empty("red")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViT-S/nonsense", "has no weights 'nonsense' for 'ViT-S'; it has tag, old"),
        ("ViT-S", "has no weights ''"),
        ("RN/tag", r"none: see open_clip\.list_models"),
        ("ViT-S/old", "is not a safetensors file"),
        ("hf-hub:someone/else", "can't be opened by open_clip: Model config for"),
    ],
)
def test_what_there_is_not(open_clip: Any, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        opened(name)


def test_weights_from_a_file(open_clip: Any, tmp_path: Path) -> None:
    path = tmp_path / "open_clip_model.safetensors"
    assert opened(f"ViT-S/{path}").weights == (path,)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UsageError, match=r"pip install 'pairloom\[openclip\]'"):
        load("openclip:ViT-S/tag", "cpu")


def test_a_torchvision_that_does_not_fit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open_clip.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "open_clip", raising=False)
    with pytest.raises(UsageError, match="installed but can't be imported: operator torchvision::nms"):
        load("openclip:ViT-S/tag", "cpu")
