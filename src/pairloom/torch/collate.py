"""From single pairs to a batch: padded as far as its longest member, never further, with a mask for every kind of padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from pairloom.drawing import shown_box
from pairloom.errors import UsageError
from pairloom.models.reader import TextReader
from pairloom.models.transform import ImageTransform
from pairloom.torch.images import Shown

Batch = dict[str, Any]
"""Tensors by the names that transformers gives them; `keys` is a list of strings."""

IGNORED = -100
"""The label that losses pass over."""


@dataclass(frozen=True)
class Collate:
    """How batches are laid out.

    `dtype` of pixels is float32, normalised, or uint8 (normalise on the device; not for native patches). Texts are padded to
    a multiple of `text_multiple`, native patches to one of `patch_multiple`. With `pack`, texts of several pairs share rows
    of at most that many tokens; `image_token` then puts one such id for each patch of a pair's image before its text, and
    `labels` are added.
    """

    dtype: Literal["float32", "uint8"] = "float32"
    text_multiple: int = 8
    patch_multiple: int = 16
    pack: int | None = None
    image_token: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "uint8"):
            raise UsageError(f"dtype is {self.dtype!r}; it must be float32 or uint8")
        for name in ("text_multiple", "patch_multiple", "pack"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UsageError(f"{name} is {value}; it must be at least 1")
        if self.image_token is not None and not self.pack:
            raise UsageError("image_token needs pack")


@dataclass
class Counts:
    """What batches are made of: pairs, bad pairs replaced, and useful and padded places for text tokens and image patches.

    `text_most` and `image_most` are the places that padding to the maximum would have taken; `distortion` is the largest
    change of an aspect ratio, 1 for none.
    """

    pairs: int = 0
    replaced: int = 0
    text_useful: int = 0
    text_padded: int = 0
    text_most: int = 0
    image_useful: float = 0.0
    image_padded: float = 0.0
    distortion: float = 1.0
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, other: Counts) -> None:
        """Take in the counts of another batch."""
        for name in ("pairs", "replaced", "text_useful", "text_padded", "text_most", "image_useful", "image_padded"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.distortion = max(self.distortion, other.distortion)
        for reason, count in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count


def image_batch(images: Sequence[Sequence[Shown]], transform: ImageTransform, collate: Collate, counts: Counts) -> Batch:
    """The image part of a batch of B pairs.

    `pixel_values` (B, 3, H, W) with `pixel_mask` bool (B, H, W), true where there is image; of tiles (B, T, 3, H, W) and
    (B, T, H, W), with missing tiles masked whole. Native patches: `pixel_values` float32 (B, N, patch * patch * 3),
    `pixel_attention_mask` int32 (B, N) and `spatial_shapes` int64 (B, 2) as (rows, columns). Always `image_box` and `image_crop`,
    float32 (B, 4) or (B, T, 4): where `image_crop`, in pixels of the stored image, went on the canvas.
    """
    flat = [shown for one in images for shown in one]
    counts.distortion = max([counts.distortion, *(_distortion(shown) for shown in flat)])
    tiled = any(len(one) != 1 for one in images) or None
    batch = _boxes(images, tiled)
    if transform.mode == "naflex":
        return batch | _patches(flat, transform, collate, counts)
    height, width = (max(shown.pixels.shape[side] for shown in flat) for side in (0, 1))
    pixels = _room((len(images), max(map(len, images)), 3, height, width), collate.dtype)
    values = pixels.numpy()
    if len(flat) < len(images) * values.shape[1] or any(shown.pixels.shape[:2] != (height, width) for shown in flat):
        _fill(values, transform)
    mask = np.zeros((len(images), values.shape[1], height, width), bool)
    for number, one in enumerate(images):
        for tile, shown in enumerate(one):
            left, top, right, bottom = shown_box(shown.geometry)
            _draw(values[number, tile], shown.pixels, transform)
            mask[number, tile, top:bottom, left:right] = True
            counts.image_useful += (bottom - top) * (right - left) / transform.patch**2
            counts.image_padded -= (bottom - top) * (right - left) / transform.patch**2
    counts.image_padded += mask.size / transform.patch**2
    shown_mask = torch.from_numpy(mask)
    return batch | {"pixel_values": pixels if tiled else pixels[:, 0], "pixel_mask": shown_mask if tiled else shown_mask[:, 0]}


def _room(shape: Sequence[int], dtype: str) -> Any:
    """An empty tensor; in a worker, in memory that is shared already, as in torch's own collation, since copying costs much."""
    kind = getattr(torch, dtype)
    if torch.utils.data.get_worker_info() is None:
        return torch.empty(*shape, dtype=kind)
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * kind.itemsize, device="cpu")
    return torch.empty(0, dtype=kind).set_(storage, 0, tuple(shape))


def _fill(values: Any, transform: ImageTransform) -> None:
    """Padding where nothing will be drawn: tiles that are missing, canvases smaller than the largest."""
    for channel, (scale, shift) in enumerate(_normaliser(transform)):
        level = transform.fill[channel]
        values[:, :, channel] = level if values.dtype == np.uint8 else level * scale - shift


def _draw(room: Any, pixels: Any, transform: ImageTransform) -> None:
    """RGB uint8 (h, w, 3) to channels, normalised if they are floats; a pass each takes a third of the time of tensors."""
    height, width = pixels.shape[:2]
    for channel, (scale, shift) in enumerate(_normaliser(transform)):
        place = room[channel, :height, :width]
        if room.dtype == np.uint8:
            place[:] = pixels[..., channel]
        else:
            np.multiply(pixels[..., channel], scale, out=place)
            place -= shift


def _normaliser(transform: ImageTransform) -> list[tuple[np.float32, np.float32]]:
    """What a level of each channel is multiplied with, and what is then taken off."""
    return [
        (np.float32(1 / (255 * std)), np.float32(mean / std)) for mean, std in zip(transform.mean, transform.std, strict=True)
    ]


def _distortion(shown: Shown) -> float:
    x, y = (abs(scale) for scale in shown.geometry.scale)
    return max(x / y, y / x)


def _boxes(images: Sequence[Sequence[Shown]], tiled: bool | None) -> Batch:
    boxes = np.zeros((2, len(images), max(map(len, images)), 4), np.float32)
    for number, one in enumerate(images):
        for tile, shown in enumerate(one):
            boxes[:, number, tile] = shown.geometry.box, shown.geometry.crop
    box, crop = torch.from_numpy(boxes)
    return {"image_box": box, "image_crop": crop} if tiled else {"image_box": box[:, 0], "image_crop": crop[:, 0]}


def _patches(flat: Sequence[Shown], transform: ImageTransform, collate: Collate, counts: Counts) -> Batch:
    inputs = [transform.normalise(shown.pixels) for shown in flat]
    most = max(one.shape[1] * one.shape[2] // transform.patch**2 for one in inputs)
    most = min(-(-most // collate.patch_multiple) * collate.patch_multiple, max(most, transform.max_patches))
    patches, mask, shapes = transform.patches(inputs, most)
    counts.image_useful += int(mask.sum())
    counts.image_padded += int(mask.size - mask.sum())
    return {
        "pixel_values": torch.from_numpy(patches),
        "pixel_attention_mask": torch.from_numpy(mask),
        "spatial_shapes": torch.from_numpy(shapes),
    }


def text_batch(texts: Sequence[Sequence[Sequence[int]]], reader: TextReader, collate: Collate, counts: Counts) -> Batch:
    """The text part of a batch of B pairs, each with the tokens of one or more segments.

    `input_ids` and `attention_mask` int64 (B, L), and `segment_ids` int64 (B, L), which number the segments of a row from 1
    on and are 0 on padding.
    """
    rows = [[token for segment in segments for token in segment] for segments in texts]
    numbers = [[number for number, segment in enumerate(segments, 1) for _ in segment] for segments in texts]
    most = reader.context_length * max(map(len, texts))
    length = most if reader.fixed else min(round_up(max(map(len, rows)), collate.text_multiple), most)
    count_text(counts, rows, length, reader.context_length * sum(map(len, texts)))
    return {
        "input_ids": rectangle(rows, length, reader.pad_id, reader.side),
        "attention_mask": rectangle([[1] * len(row) for row in rows], length, 0, reader.side),
        "segment_ids": rectangle(numbers, length, 0, reader.side),
    }


def count_text(counts: Counts, rows: Sequence[Sequence[int]], length: int, most: int) -> None:
    """Count the places of rows that are padded to `length`."""
    useful = sum(map(len, rows))
    counts.text_useful += useful
    counts.text_padded += len(rows) * length - useful
    counts.text_most += most


def round_up(length: int, multiple: int) -> int:
    """The next multiple."""
    return -(-length // multiple) * multiple


def rectangle(rows: Sequence[Sequence[int]], length: int, fill: int, side: str = "right") -> Any:
    """Rows of whole numbers as a tensor, int64 (rows, length)."""
    filled = np.full((len(rows), length), fill, np.int64)
    for number, row in enumerate(rows):
        filled[number, slice(length - len(row), None) if side == "left" else slice(len(row))] = row
    return torch.from_numpy(filled)
