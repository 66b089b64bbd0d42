"""A training step of the real open_clip and of timm's NaFlex tower on the loader's batches, as they are.

    pip install open_clip_torch          # brings torchvision and timm; in an environment of its own, beside pairloom
    pairloom run SETS/gimp-en gimp --shard-size 500
    python benchmarks/trainers.py gimp

Prints the loss of two steps each; random weights. transformers' models are trained on such batches in the tests.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import open_clip
import timm
import torch
from open_clip.loss import ClipLoss

from pairloom import CenterCrop, NativePatches
from pairloom.torch import PairLoader, open_clip_batch, text_reader


def steps(model: torch.nn.Module, loss_of: Callable[[], torch.Tensor]) -> list[float]:
    """The losses of two steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    losses = []
    for _ in range(2):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    """Train two steps of each."""
    parser = argparse.ArgumentParser(description="The loader's batches in other people's models.")
    parser.add_argument("output", help="an output of pairloom run")
    options = parser.parse_args()
    clip = open_clip.create_model("RN50", pretrained=None)
    batch = next(iter(PairLoader(options.output, 8, image=CenterCrop(224), text=text_reader("clip", 77, fixed=True))))
    print("open_clip RN50", steps(clip, lambda: ClipLoss()(*clip(batch["pixel_values"], batch["input_ids"]))))
    tower = timm.create_model("naflexvit_base_patch16_gap", pretrained=False, num_classes=64)
    native = open_clip_batch(next(iter(PairLoader(options.output, 4, image=NativePatches(16, 64)))))
    print("timm naflexvit", steps(tower, lambda: tower(native["image"]).pow(2).mean()))


if __name__ == "__main__":
    main()
