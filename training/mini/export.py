"""Write the two towers with their heads as small ONNX files that compute the same alone and in a batch.

Activations are never rounded by batch. Token embeddings have 4 bits (they came in 4 bits), and so have the matrices of layers and
heads, with `MatMulNBits`, whose activations are rounded per row. The image networks are 8-bit integers with ranges fixed before.
What else is large has 8 bits per output channel, which ONNX Runtime turns back into floats once, when it loads the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from distill import Student
from heads import ImageHead, TextHead
from onnx import TensorProto, compose, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from torch import Tensor, nn
from torch.nn import functional
from towers import BLOCK

OPSET = 17


class HeadEncoder(nn.Module):
    """Features and colours to the shared space; of three dimensions the exporter makes matrix products, which can be packed."""

    def __init__(self, head: ImageHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """(n, f + c) to (n, d)."""
        found: Tensor = self.head(features[:, None])
        return found[:, 0]


class TextEncoder(nn.Module):
    """Token embeddings and mask to the shared space; the ids are looked up by a quantised operator outside PyTorch."""

    def __init__(self, student: Student, head: TextHead) -> None:
        super().__init__()
        self.tower, self.project, self.head = student.tower, student.project, head

    def forward(self, words: Tensor, attention_mask: Tensor) -> Tensor:
        """(m, l, 384) and (m, l) to (m, d)."""
        places = torch.arange(words.shape[1])
        x = self.tower.norm(words + self.tower.position(places))
        held = attention_mask.to(torch.float32)
        bias = (held - 1)[:, None, None, :] * 1e9
        for layer in self.tower.layers:
            x = layer(x, bias)
        mean = (x * held[..., None]).sum(1) / held.sum(1, keepdim=True)
        found: Tensor = self.head(functional.normalize(self.project(mean), dim=-1))
        return found


def export_image(towers: Path, head: ImageHead, path: Path) -> None:
    """Write image.onnx: the networks as `integers.quantise` wrote them, and the head with its matrices in 4 bits."""
    axes = {"features": {0: "n"}, "image_embeds": {0: "n"}}
    names = {"input_names": ["features"], "output_names": ["image_embeds"]}
    example = (torch.zeros(2, head.size + len(head.words)),)
    torch.onnx.export(HeadEncoder(head).eval(), example, str(path), **names, dynamic_axes=axes, opset_version=OPSET, dynamo=False)
    below, above = onnx.load(str(towers)), _small(path, 64)
    above.ir_version = below.ir_version = max(above.ir_version, below.ir_version)
    below = compose.add_prefix(below, "towers/", rename_inputs=False, rename_outputs=False)
    model = compose.merge_models(below, above, io_map=[("features", "features")])
    _save(_brief(_pack(model), {"pixels": "pixel_values", "image_embeds": "image_embeds"}), path)


def _brief(model: Any, kept: dict[str, str]) -> Any:
    """Short names for all but inputs and outputs, and nothing unused, zero points of nought among it: nearly a megabyte less."""
    graph = model.graph
    nought = {one.name for one in graph.initializer if one.name.endswith("_zero_point") and not numpy_helper.to_array(one).any()}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[2] in nought and "_quantized" in node.input[0]:
            del node.input[2]
        node.name = ""
    used = {name for node in graph.node for name in node.input}
    for one in [one for one in graph.initializer if one.name not in used]:
        graph.initializer.remove(one)
    del graph.value_info[:]
    names = dict(kept)
    for node in graph.node:
        for part in (node.input, node.output):
            part[:] = [names.setdefault(name, f"t{len(names)}") if name else "" for name in part]
    for one in (*graph.initializer, *graph.input, *graph.output):
        one.name = names[one.name]
    domains = {node.domain for node in graph.node}
    sets = {one.domain: one.version for one in model.opset_import if one.domain in domains}  # the optimiser names a dozen more
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in sorted(sets.items()))
    return model


def _small(path: Path, block: int) -> Any:
    """The graph with its matrices in 4 bits: a block of weights shares a scale, activations are rounded per row."""
    quantiser = MatMulNBitsQuantizer(onnx.load(str(path)), bits=4, block_size=block, is_symmetric=True, accuracy_level=4)
    quantiser.process()
    return quantiser.model.model


def export_text(student: Student, head: TextHead, path: Path) -> None:
    """Write text.onnx."""
    model = TextEncoder(student, head).eval()
    axes = {"words": {0: "m", 1: "l"}, "attention_mask": {0: "m", 1: "l"}, "text_embeds": {0: "m"}}
    example = (torch.zeros(2, 5, student.tower.word.embedding_dim), torch.ones(2, 5, dtype=torch.int64))
    names = {"input_names": ["words", "attention_mask"], "output_names": ["text_embeds"]}
    torch.onnx.export(model, example, str(path), **names, dynamic_axes=axes, opset_version=OPSET, dynamo=False)
    _save(_look_up(_pack(_small(path, BLOCK)), student.tower.word.weight.detach().numpy()), path)


def _save(model: Any, path: Path) -> None:
    model.producer_name, model.doc_string = "pairloom", ""
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _pack(model: Any) -> Any:
    """Replace large float weights by 8-bit integers times a scale per output channel."""
    graph = model.graph
    uses = {name: node for node in graph.node for name in node.input}
    nodes = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if (
            tensor.data_type != TensorProto.FLOAT
            or values.ndim < 2
            or values.size < 4096
            or tensor.name.endswith(("_scales", "_scale"))
        ):
            continue
        node = uses[tensor.name]
        if node.op_type not in ("Conv", "MatMul", "Gemm", "Gather"):
            continue
        rows = node.op_type in ("Conv", "Gather") or (
            node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
        )
        axes = tuple(range(1, values.ndim)) if rows else (0,)
        scale = (np.abs(values).max(axis=axes, keepdims=True) / 127).astype(np.float32)
        scale[scale == 0] = 1
        codes = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
        graph.initializer.remove(tensor)
        graph.initializer.extend(
            [numpy_helper.from_array(codes, f"{tensor.name}_codes"), numpy_helper.from_array(scale, f"{tensor.name}_scale")]
        )
        nodes.append(helper.make_node("Cast", [f"{tensor.name}_codes"], [f"{tensor.name}_float"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [f"{tensor.name}_float", f"{tensor.name}_scale"], [tensor.name]))
    for node in reversed(nodes):
        graph.node.insert(0, node)
    return model


def four_bits(values: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Blocks of 32 numbers as codes 0..15 around 8 and a scale; weights that came so are met exactly."""
    blocks = values.reshape(-1, BLOCK)
    peak = blocks[np.arange(len(blocks)), np.abs(blocks).argmax(1)]
    scale = (peak / -8).astype(np.float16).astype(np.float32)
    codes = np.clip(np.rint(blocks / np.where(scale == 0, 1, scale)[:, None]) + 8, 0, 15).astype(np.uint8)
    return codes.reshape(values.shape), scale.reshape(values.shape[0], -1)


def _look_up(model: Any, words: np.ndarray[Any, Any]) -> Any:
    """Let the graph begin with token ids: rows of 4-bit codes are gathered, taken apart and scaled."""
    codes, scale = four_bits(words)
    halves = codes.reshape(len(words), -1, 2, BLOCK // 2)  # within a block: first half low, second half high
    packed = (halves[:, :, 0] | (halves[:, :, 1] << 4)).reshape(len(words), -1)
    blocks = words.shape[1] // BLOCK
    constants = {
        "word_codes": packed,
        "word_scales": scale.astype(np.float16),
        "four": np.array(4, np.uint8),
        "eight": np.array(8, np.float32),
        "last": np.array([-1], np.int64),
        "split_shape": np.array([0, 0, blocks, BLOCK // 2], np.int64),
        "joined_shape": np.array([0, 0, words.shape[1]], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["word_codes", "input_ids"], ["codes"]),
        helper.make_node("Gather", ["word_scales", "input_ids"], ["scales16"]),
        helper.make_node("Cast", ["scales16"], ["scales"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["scales", "last"], ["scales4"]),
        helper.make_node("BitShift", ["codes", "four"], ["high"], direction="RIGHT"),
        helper.make_node("BitShift", ["codes", "four"], ["moved"], direction="LEFT"),
        helper.make_node("BitShift", ["moved", "four"], ["low"], direction="RIGHT"),
        helper.make_node("Cast", ["low"], ["low_float"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["high"], ["high_float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["low_float", "split_shape"], ["low4"]),
        helper.make_node("Reshape", ["high_float", "split_shape"], ["high4"]),
        helper.make_node("Concat", ["low4", "high4"], ["both"], axis=-1),
        helper.make_node("Sub", ["both", "eight"], ["centred"]),
        helper.make_node("Mul", ["centred", "scales4"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "joined_shape"], ["words"]),
    ]
    graph = model.graph
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    for node in reversed(nodes):
        graph.node.insert(0, node)
    mask = next(item for item in graph.input if item.name == "attention_mask")
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["m", "l"])
    del graph.input[:]
    graph.input.extend([ids, mask])
    return model


def write_settings(folder: Path, mode: str, size: int, extra: dict[str, Any], ours: dict[str, Any]) -> None:
    """Write preprocessor_config.json (the keys of transformers' CLIP processor, and the resize mode) and pairloom.json."""
    pixels: dict[str, Any] = {
        "do_resize": True,
        "size": {"shortest_edge": size} if mode == "shortest" else {"height": size, "width": size},
        "resample": 3,
        "do_center_crop": mode == "shortest",
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "do_convert_rgb": True,
        "resize_mode": mode,
        **extra,
    }
    for name, content in (("preprocessor_config.json", pixels), ("pairloom.json", ours)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
