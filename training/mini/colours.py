"""How much of a picture has which colour, read from the pixels, and put beside what the networks saw.

Networks that were taught the 1,000 classes hardly tell colours, while people name them: the blue shirt, the white dog. A colour
is a range of hue, saturation and brightness, with soft edges, set by eye; its share counts more in the middle of the picture. Two
more shares tell of the ground, for which the 1,000 classes have no names: green and pale below.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import onnx
import torch
from images import MEAN, STD
from onnx import compose, helper
from torch import Tensor, nn
from torch.nn import functional

# name, hue in degrees and how far from it, saturation, brightness, where: "middle" of the picture or "below"
RANGES: tuple[tuple[str, float, float, tuple[float, float], tuple[float, float], str], ...] = (
    ("red", 358, 14, (0.55, 1), (0.25, 1), "middle"),
    ("orange", 26, 14, (0.6, 1), (0.6, 1), "middle"),
    ("yellow", 55, 13, (0.45, 1), (0.5, 1), "middle"),
    ("green", 116, 48, (0.25, 1), (0.2, 1), "middle"),
    ("blue", 226, 36, (0.35, 1), (0.25, 1), "middle"),
    ("purple", 286, 24, (0.3, 1), (0.2, 1), "middle"),
    ("pink", 330, 20, (0.25, 1), (0.55, 1), "middle"),
    ("brown", 27, 17, (0.35, 1), (0.15, 0.6), "middle"),
    ("black", 0, 180, (0, 1), (0, 0.16), "middle"),
    ("white", 0, 180, (0, 0.12), (0.82, 1), "middle"),
    ("gray", 0, 180, (0, 0.12), (0.3, 0.75), "middle"),
    ("grass", 105, 60, (0.15, 1), (0.15, 1), "below"),
    ("snow", 0, 180, (0, 0.25), (0.6, 1), "below"),
)
NAMES, GROUNDS = (tuple(row[0] for row in RANGES if row[5] == where) for where in ("middle", "below"))
COUNT = len(RANGES)
POOL, LEAST, SOFT, WIDTH = 8, 0.001, 0.04, 0.25


class Colours(nn.Module):
    """Normalised pixels (n, 3, h, w) to the logarithm of each colour's share (n, COUNT)."""

    def __init__(self) -> None:
        super().__init__()
        hues = torch.tensor([math.radians(hue) for _, hue, *_ in RANGES])
        self.register_buffer("hue", torch.stack([hues.cos(), hues.sin()], 1)[:, :, None, None])
        self.register_buffer("near", self._column([math.cos(math.radians(far)) - (far == 180) for _, _, far, *_ in RANGES]))
        for place, name in ((3, "saturation"), (4, "brightness")):
            low, high = zip(*(row[place] for row in RANGES), strict=True)
            self.register_buffer(f"{name}_low", self._column([x - (x == 0) for x in low]))
            self.register_buffer(f"{name}_high", self._column([x + (x == 1) for x in high]))
        self.register_buffer("below", torch.tensor([float(row[5] == "below") for row in RANGES])[None, :, None])

    @staticmethod
    def _column(values: list[float]) -> Tensor:
        return torch.tensor(values)[None, :, None, None]

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        rgb = (functional.avg_pool2d(pixels, POOL) * STD + MEAN) / 255
        most, least = rgb.amax(1, keepdim=True), rgb.amin(1, keepdim=True)
        red, green, blue = rgb[:, :1], rgb[:, 1:2], rgb[:, 2:]
        across, up = red - (green + blue) / 2, (green - blue) * (3**0.5 / 2)
        way = torch.cat([across, up], 1) / (across * across + up * up + 1e-6).sqrt()
        share = self._within((way[:, None] * self.hue).sum(2) - self.near)
        saturation = (most - least) / (most + 1e-3)
        share = share * self._within(saturation - self.saturation_low) * self._within(self.saturation_high - saturation)
        share = share * self._within(most - self.brightness_low) * self._within(self.brightness_high - most)
        down, along = self._places(share.shape[2]), self._places(share.shape[3])
        bell = torch.exp(-(down * down) / (2 * WIDTH**2))
        rows = self.below * (down > 0) + (1 - self.below) * bell
        columns = self.below + (1 - self.below) * torch.exp(-(along * along) / (2 * WIDTH**2))
        rows, columns = rows / rows.sum(2, keepdim=True), columns / columns.sum(2, keepdim=True)
        found = ((share * columns[:, :, None]).sum(3) * rows).sum(2)
        return (found + LEAST).log()

    @staticmethod
    def _within(x: Tensor) -> Tensor:
        """0 to 1 with a soft edge around 0."""
        return (x / SOFT + 0.5).clamp(0, 1)

    @staticmethod
    def _places(count: Tensor | int) -> Tensor:
        """Where each cell lies, -0.5 to 0.5, (1, 1, count)."""
        return ((torch.arange(count) + 0.5) / count - 0.5)[None, None]


def add_colours(path: Path) -> None:
    """Let a graph from `pixels` to `features` give the shares beside the features."""
    own = path.with_name("colours.onnx")
    names: dict[str, Any] = {"input_names": ["pixels"], "output_names": ["colours"], "opset_version": 17, "dynamo": False}
    axes = {"pixels": {0: "n", 2: "h", 3: "w"}, "colours": {0: "n"}}
    torch.onnx.export(Colours().eval(), (torch.zeros(2, 3, 288, 224),), str(own), dynamic_axes=axes, **names)
    model, colours = onnx.load(str(path)), onnx.load(str(own))
    colours = compose.add_prefix(colours, "colours/", rename_inputs=False, rename_outputs=False)
    own.unlink()
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["seen" if name == "features" else name for name in node.output]
    graph.node.extend(colours.graph.node)
    graph.initializer.extend(colours.graph.initializer)
    graph.node.append(helper.make_node("Concat", ["seen", "colours"], ["features"], axis=1))
    width = graph.output[0].type.tensor_type.shape.dim[1]
    if width.HasField("dim_value"):
        width.dim_value += COUNT
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
