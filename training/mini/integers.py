"""The image networks in 8-bit integers: about a third of the time of floats where the processor has instructions for it.

EfficientNet-Lite was made for this: its activations lie between 0 and 6. The range of every activation is fixed here, from a few
hundred pictures, so that a picture gives the same features alone and in a batch.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from towers import Array, ImageTowers

FIRST = re.compile(r"/(stem|blocks\.[012])/")  # left in floats: few weights, and three quarters of what rounding would spoil


class Pictures(CalibrationDataReader):  # type: ignore[misc]
    """Batches that show how large each activation becomes."""

    def __init__(self, batches: Sequence[Array]) -> None:
        self.left: Iterator[Array] = iter(batches)

    def get_next(self) -> dict[str, Array] | None:
        """The next batch, None at the end."""
        batch = next(self.left, None)
        return None if batch is None else {"pixels": batch}


def quantise(towers: ImageTowers, batches: Sequence[Array], path: Path) -> None:
    """Write the networks (`pixels` to `features`) with 8-bit weights and activations, ranges taken from `batches`."""
    draft = path.with_suffix(".draft.onnx")
    axes = {"pixels": {0: "n", 2: "h", 3: "w"}, "features": {0: "n"}}
    names = {"input_names": ["pixels"], "output_names": ["features"]}
    torch.onnx.export(towers, (torch.zeros(1, *batches[0].shape[1:]),), str(draft), **names, dynamic_axes=axes,
                      opset_version=17, dynamo=False)  # fmt: skip
    quant_pre_process(str(draft), str(draft), skip_symbolic_shape=True)
    model = onnx.load(str(draft))
    fold_padding(model)
    onnx.save(model, str(draft))
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # a line for each channel that is always nought
    floats = [node.name for node in model.graph.node if FIRST.search(node.name)]
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
    quantize_static(str(draft), str(path), Pictures(batches), quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["Conv", "Add", "Clip"], nodes_to_exclude=floats, **kinds)  # fmt: skip
    logging.disable(before)
    draft.unlink()


def fold_padding(model: Any) -> None:
    """Move each Pad into the convolution after it: left between them, it would turn the integers back into floats."""
    graph = model.graph
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    pads = {node.output[0]: node for node in graph.node if node.op_type == "Pad"}
    for node in [one for one in graph.node if one.op_type == "Conv" and one.input[0] in pads]:
        pad = pads[node.input[0]]
        top, left, bottom, right = constants[pad.input[1]].reshape(2, 4)[:, 2:].ravel().tolist()
        node.input[0] = pad.input[0]
        kept = [one for one in node.attribute if one.name != "pads"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", [top, left, bottom, right])])
    for pad in pads.values():
        graph.node.remove(pad)
