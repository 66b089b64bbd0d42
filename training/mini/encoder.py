"""The shipped folder as a user runs it: ONNX Runtime, the tokenizer and the settings, nothing of the training code."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from images import Pixels, fit_pixels
from onnxruntime import InferenceSession, SessionOptions
from tokenizers import Tokenizer

from pairloom.models.device import sums_exactly

Array = npt.NDArray[np.float32]


def open_session(path: Path, threads: int = 2) -> InferenceSession:
    """ONNX Runtime with exact sums of 8-bit products on every processor."""
    options = SessionOptions()
    options.intra_op_num_threads = threads
    if not sums_exactly():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Encoder:
    """Images and texts to normalised vectors, with the batch size and the threads of the caller."""

    def __init__(self, folder: Path, threads: int = 2) -> None:
        self.image, self.text = (open_session(folder / name, threads) for name in ("image.onnx", "text.onnx"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.settings: dict[str, Any] = json.loads((folder / "pairloom.json").read_text(encoding="utf-8"))
        self.pixels: dict[str, Any] = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))

    def embed_images(self, images: Sequence[Pixels], batch: int = 32) -> Array:
        """(n, d) of RGB uint8 arrays of any size."""
        mean, std = (np.array(self.pixels[name], np.float32) * 255 for name in ("image_mean", "image_std"))
        sized = [fit_pixels(image, self.pixels["resize_mode"]) for image in images]
        shapes: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, image in enumerate(sized):
            shapes[image.shape].append(number)
        out = np.zeros((len(images), self.settings["dimension"]), np.float32)
        for numbers in shapes.values():
            for first in range(0, len(numbers), batch):
                part = numbers[first : first + batch]
                pixels = (np.stack([sized[number] for number in part]).astype(np.float32) - mean) / std
                out[part] = self.image.run(None, {"pixel_values": np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))})[0]
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    def embed_texts(self, texts: Sequence[str], batch: int = 64) -> Array:
        """(m, d); a text beyond the context is cut, with its end mark kept."""
        limit = self.settings["context_length"]
        ids = [
            one.ids if len(one.ids) <= limit else [*one.ids[: limit - 1], one.ids[-1]]
            for one in self.tokenizer.encode_batch(list(texts))
        ]
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        out = np.zeros((len(texts), self.settings["dimension"]), np.float32)
        for first in range(0, len(order), batch):
            part = order[first : first + batch]
            width = max(len(ids[place]) for place in part)
            rows = np.array(
                [[*ids[place], *[self.settings["pad_token_id"]] * (width - len(ids[place]))] for place in part], np.int64
            )
            mask = np.array([[1] * len(ids[place]) + [0] * (width - len(ids[place])) for place in part], np.int64)
            out[part] = self.text.run(None, {"input_ids": rows, "attention_mask": mask})[0]
        return out / np.linalg.norm(out, axis=1, keepdims=True)
