"""The same geometry and text rules for other loops: open_clip's `preprocess` and `tokenizer`, transformers' image processor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from pairloom.batch import Pixels
from pairloom.extras import need
from pairloom.models.preprocessor import read_transform, to_preprocessor
from pairloom.models.reader import TextReader
from pairloom.models.transform import ImageTransform
from pairloom.recipe import Recipe
from pairloom.steps.colour import to_pixels
from pairloom.torch.augment import Augment
from pairloom.torch.choose import Source, augment_of, reader_of, transform_of
from pairloom.torch.collate import Batch, Collate, Counts, image_batch
from pairloom.torch.images import Images, Shown

Picture = Image.Image | Pixels | bytes
"""An image of Pillow, RGB uint8 (h, w, 3), or the bytes of a file."""


@dataclass(frozen=True)
class Preprocess:
    """A drop-in for open_clip's `preprocess_train` and `preprocess_val`: one image to float32 (3, H, W).

    What `augment` draws depends on torch's random state, which DataLoader seeds in each worker.
    """

    transform: ImageTransform
    augment: Augment | None = None

    def __call__(self, image: Picture) -> Any:
        return torch.from_numpy(self.transform.normalise(self.show(image).pixels))

    def show(self, image: Picture) -> Shown:
        """The canvas and where everything went. Raises `Reject` if bytes are no image."""
        images = Images(self.transform, self.augment)
        rng = np.random.default_rng(int(torch.randint(2**62, ())) if self.augment else 0)
        if isinstance(image, bytes):
            return images.show_file(image, rng)
        pixels = _pixels(image)
        size = pixels.shape[1], pixels.shape[0]
        return images.drawn(pixels, (0.0, 0.0, float(size[0]), float(size[1])), size, rng)


@dataclass(frozen=True)
class Tokenize:
    """A drop-in for open_clip's tokenizer: texts to int64 (n, context_length), cut with the end mark kept, padded to the end."""

    reader: TextReader

    def __call__(self, texts: str | Sequence[str], context_length: int | None = None) -> Any:
        length = context_length or self.reader.context_length
        reader = reader_of(self.reader, length)
        rows = reader.read([texts] if isinstance(texts, str) else list(texts))
        ids = torch.full((len(rows), length), reader.pad_id)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
        return ids


class PairImageProcessor:
    """An image processor as transformers calls it, for any geometry of Pairloom, with masks."""

    def __init__(self, transform: ImageTransform) -> None:
        self.transform = transform

    def __call__(self, images: Picture | Sequence[Picture], return_tensors: str = "pt") -> Any:
        """Images to a `BatchFeature` of the entries of `image_batch`; all that PyTorch has no tensors for is refused."""
        if return_tensors != "pt":
            raise ValueError(f"return_tensors is {return_tensors!r}; there is only pt")
        several = images if isinstance(images, Sequence) and not isinstance(images, bytes) else [images]
        if not len(several):
            raise ValueError("there is no image")
        shown = [[Preprocess(self.transform).show(image)] for image in several]
        batch: Batch = image_batch(shown, self.transform, Collate(), Counts())
        return need("transformers", "torch", "PairImageProcessor").BatchFeature(batch)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `preprocessor_config.json`, which scoring and `from_pretrained` read."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        said = json.dumps(to_preprocessor(self.transform), indent=2)
        (Path(folder) / "preprocessor_config.json").write_text(said + "\n", "utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> PairImageProcessor:
        """The processor of any checkpoint's folder. Raises `UsageError` if it asks for what can't be done here."""
        return cls(read_transform(Path(folder)))


def image_transform(source: Source = None, train: bool = False, size: int | None = None) -> Preprocess:
    """`preprocess_train` or `preprocess_val` for what `transform_of` takes; training crops as a recipe says, or keeps 90 %."""
    return Preprocess(transform_of(source, size), (augment_of(source) or Augment()) if train else None)


def tokenizer(source: TextReader | Recipe | str | None = None, max_tokens: int | None = None) -> Tokenize:
    """The tokenizer for what `reader_of` takes."""
    return Tokenize(reader_of(source, max_tokens))


def open_clip_batch(batch: Batch) -> Batch:
    """A batch under the names of open_clip's training loop: `image`, `text` and `text_valid`; nothing is copied.

    Native patches become NaFlex's dictionary: `patches` float32 (B, N, patch * patch * 3), `patch_coord` int64 (B, N, 2) as
    (row, column), `patch_valid` bool (B, N).
    """
    text = {"text": batch["input_ids"], "text_valid": batch["attention_mask"].bool()}
    if "spatial_shapes" not in batch:
        return {"image": batch["pixel_values"], **text}
    valid = batch["pixel_attention_mask"].bool()
    place = torch.arange(valid.shape[1]).expand_as(valid)
    columns = batch["spatial_shapes"][:, 1:].cpu()
    coord = torch.stack([place // columns, place % columns], -1).to(valid.device) * valid[..., None]
    return {"image": {"patches": batch["pixel_values"], "patch_coord": coord, "patch_valid": valid}, **text}


def _pixels(image: Image.Image | Pixels) -> Pixels:
    if isinstance(image, Image.Image):
        return to_pixels(ImageOps.exif_transpose(image), image.info.get("icc_profile"), (255, 255, 255), 1)
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"an image is Pillow's, RGB uint8 (h, w, 3) or the bytes of a file, not {pixels.dtype} {pixels.shape}")
    return pixels
