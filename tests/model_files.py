"""Tiny models as folders of ONNX graphs, made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz", *"猫一只的照片", "photo", "cat", "red", "of"]
DIMENSION = 8
SQUASH = {"resize_mode": "squash", "size": 16, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def word_tokenizer() -> Tokenizer:
    """One token a known word, [UNK] for others, between [BOS] and [EOS]."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 2)])
    return tokenizer


def onnx_model(
    folder: Path,
    preprocessor: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    names: Sequence[str] = ("image.onnx", "text.onnx"),
    text_dimension: int = DIMENSION,
    mask: bool = True,
    broken: bool = False,
    words: int = len(WORDS),
    seed: int = 2,
) -> Path:
    """A model that really mixes its inputs: colour means of the image, mean of the token vectors that the mask leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder / names[0], _image_graph(broken))
    _save(folder / names[1], _text_graph(text_dimension, mask, words, seed))
    word_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps(SQUASH if preprocessor is None else preprocessor))
    said = {"context_length": 10, "pad_token_id": 0, "languages": ["en", "zh"], "pooling": {"gamma": 3}}
    (folder / "pairloom.json").write_text(json.dumps(said if settings is None else settings))
    return folder


def _image_graph(broken: bool) -> onnx.GraphProto:
    weights = np.random.default_rng(1).normal(size=(3, DIMENSION)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values", "axes"], ["mean"], keepdims=0),
        helper.make_node("Log" if broken else "Identity", ["mean"], ["seen"]),  # the logarithm of a dark image is no number
        helper.make_node("MatMul", ["seen", "weights"], ["image_embeds"]),
    ]
    return helper.make_graph(
        nodes, "image", [_tensor("pixel_values", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [_tensor("image_embeds", TensorProto.FLOAT, ["n", DIMENSION])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([2, 3]), "axes")],
    )  # fmt: skip


def _text_graph(dimension: int, mask: bool, words: int, seed: int) -> onnx.GraphProto:
    vectors = np.random.default_rng(seed).normal(size=(len(WORDS), dimension))[:words].astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["vectors", "input_ids"], ["tokens"]),
        helper.make_node("ReduceSum", ["tokens", "axis"], ["text_embeds"], keepdims=0),
    ]
    inputs = [_tensor("input_ids", TensorProto.INT64, ["n", "length"])]
    if mask:
        inputs.append(_tensor("attention_mask", TensorProto.INT64, ["n", "length"]))
        nodes = [
            nodes[0],
            helper.make_node("Cast", ["attention_mask"], ["float_mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["float_mask", "last"], ["column"]),
            helper.make_node("Mul", ["tokens", "column"], ["shown"]),
            helper.make_node("ReduceSum", ["shown", "axis"], ["text_embeds"], keepdims=0),
        ]
    constants = [numpy_helper.from_array(vectors, "vectors"), numpy_helper.from_array(np.array([1]), "axis"),
                 numpy_helper.from_array(np.array([2]), "last")]  # fmt: skip
    output = [_tensor("text_embeds", TensorProto.FLOAT, ["n", dimension])]
    return helper.make_graph(nodes, "text", inputs, output, constants if mask else constants[:2])


def _tensor(name: str, kind: int, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _save(path: Path, graph: onnx.GraphProto) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
