"""The trained attention head as an ONNX graph, for whoever scores elsewhere than in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pairloom.alignment.attention import POWER, SOFTNESS
from pairloom.alignment.bank import LEAST, Bank
from pairloom.alignment.trained import AttentionHead
from pairloom.extras import need

_FAR, _LOW, _NEAR = -30.0, -6.0, 0.02  # where float32 asks for other forms of the same


def head_graph(head: AttentionHead, bank: Bank) -> bytes:
    """The head as an ONNX file of opset 18: one text against n images, the arithmetic of `AttentionHead.align_each` in float32.

    Inputs, L2-normalised embeddings as the model gives them: `segments` (s, d), `views` (n, v, d). Outputs: `alignment` (n,), and
    `scores` and `weights` of the segments, both (n, s). The bank, which `head.bank` gives, becomes part of the file.

    Raises:
        UsageError: if the package onnx is missing.
    """
    onnx = need("onnx", "torch", "exporting a head to ONNX")
    graph, p = _Graph(onnx), head.pooling
    text, views = graph.mapped("segments", head.text), graph.mapped("views", head.image)
    mean = graph("MatMul", text, graph.constant(bank.mean[:, None]))
    spread = graph("ReduceL2", graph("MatMul", text, graph.constant(bank.evened.T)), graph.constant([1]), keepdims=0)
    unlike = graph("Sub", graph.constant(bank.usual), graph("MatMul", "segments", graph.constant(bank.prose)))
    spread = graph("Max", graph("Mul", spread, graph("Exp", unlike)), graph.constant(LEAST))
    unit = graph("ReduceMax", spread)
    share = graph("Log", graph("Div", spread, unit))
    own = graph("Squeeze", graph("MatMul", text, graph.constant(head.segment[:, None])), graph.constant([1]))
    prior = graph("Add", graph("Mul", share, graph.constant(p.gamma)), own)
    across = graph("Transpose", text, perm=[1, 0])
    s = graph("MatMul", views, across)  # (n, v, s)
    count = graph("Cast", graph("Gather", graph("Shape", "views"), graph.constant([1])), to=onnx.TensorProto.FLOAT)
    width = graph.constant(p.tau_view)
    logits = graph("Sub", graph("Div", s, width), graph("Log", count))
    null = graph("Div", graph("MatMul", graph.constant(head.null[None]), across), width)  # (1, s)
    ones = graph("Concat", graph("Gather", graph("Shape", "views"), graph.constant([0])), graph.constant([1, 1]), axis=0)
    null = graph("Expand", null, ones)  # (n, 1, s)
    attention = graph("Softmax", graph("Concat", logits, null, axis=1), axis=1)
    above = graph("Sub", s, graph("Transpose", mean, perm=[1, 0]))
    values = graph("Concat", above, graph("Sub", null, null), axis=1)  # the null token counts for nothing
    graph("ReduceSum", graph("Mul", attention, values), graph.constant([1]), keepdims=0, name="scores")
    graph.attended(graph("Div", "scores", graph("Mul", unit, graph.constant(SOFTNESS))), prior)
    graph("ReduceSum", graph("Mul", "weights", "scores"), graph.constant([1]), keepdims=0, name="alignment")
    d = len(head.null)
    inputs: dict[str, list[str | int]] = {"segments": ["s", d], "views": ["n", "v", d]}
    return graph.to_bytes(inputs, {"alignment": ["n"], "scores": ["n", "s"], "weights": ["n", "s"]})


class _Graph:
    """An ONNX graph under construction; calling it adds a node and gives the name of its output."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def __call__(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        name = name or f"n{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, value: Any) -> str:
        array, name = np.asarray(value), f"c{len(self._constants)}"
        array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def mapped(self, vectors: str, weights: npt.NDArray[np.float32]) -> str:
        moved = self("Add", vectors, self("MatMul", vectors, self.constant(weights)))
        return self("Div", moved, self("ReduceL2", moved, self.constant([-1])))

    def attended(self, u: str, prior: str) -> None:
        """`weights`, as `attend` in `pairloom.alignment.attention` has them, but in float32."""
        power, two = self.constant(POWER), self.constant(2.0)
        logs = self("Mul", self.log_softplus(u), power)
        prior = self("LogSoftmax", prior, axis=-1)
        mean = self("ReduceLogSumExp", self("Add", logs, prior), self.constant([1]))
        # far below, log(exp(y) - 1) is log(y) + y / 2; float32 has not the digits for more
        low = self("Div", mean, power)
        y = self("Exp", low)
        above = self("Add", y, self("Log", self("Sub", self.constant(1.0), self("Exp", self("Neg", y)))))
        below = self("Add", low, self("Div", y, two))
        level = self("Where", self("Less", low, self.constant(_LOW)), below, above)
        away = self("Sub", u, level)
        near = self("Less", self("Abs", away), self.constant(_NEAR))
        rise = self("Sub", self("Exp", self("Min", self("Sub", logs, mean), self.constant(80.0))), self.constant(1.0))
        secants = self("Div", rise, self("Where", near, self.constant(1.0), away))
        middle = self("Div", self("Add", u, level), two)
        steep = self("Mul", self.log_softplus(middle), self.constant(POWER - 1))
        steep = self("Sub", steep, self("Add", self("Softplus", self("Neg", middle)), mean))
        tangents = self("Mul", self("Exp", self("Where", near, steep, self("Neg", self("Abs", steep)))), power)
        raw = self("Mul", self("Exp", prior), self("Where", near, tangents, secants))
        self("Div", raw, self("ReduceSum", raw, self.constant([1])), name="weights")

    def log_softplus(self, u: str) -> str:
        far = self.constant(_FAR)
        return self("Where", self("Less", u, far), u, self("Log", self("Softplus", self("Max", u, far))))

    def to_bytes(self, inputs: dict[str, list[str | int]], outputs: dict[str, list[str]]) -> bytes:
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        ends = ([helper.make_tensor_value_info(name, kind, shape) for name, shape in part.items()] for part in (inputs, outputs))
        graph = helper.make_graph(self._nodes, "attention_head", *ends, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="pairloom")
        self._onnx.checker.check_model(model)
        return bytes(model.SerializeToString())
