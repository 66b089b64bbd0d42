"""Models of open_clip, by their architecture and the tag or file of their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from pairloom.errors import UsageError
from pairloom.extras import need
from pairloom.models.device import torch_device
from pairloom.models.model import Model
from pairloom.models.preprocessor import from_open_clip
from pairloom.models.reader import Ids
from pairloom.models.torch_run import TorchRun
from pairloom.models.transform import Array
from pairloom.models.trial import tried

_PRECISIONS = {"float32": "fp32", "float16": "fp16"}
_FAULTS = (OSError, ValueError, RuntimeError, ImportError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class OpenClipReader:
    """The text rules of one open_clip model, which pads every text to the whole context; see `Reader`."""

    call: Any
    context_length: int

    @property
    def tokenizer(self) -> Tokenizer | None:
        """That of a tokenizer from the hub; open_clip's own for CLIP is written in Python, for which this is None."""
        found: Tokenizer | None = getattr(getattr(self.call, "tokenizer", None), "backend_tokenizer", None)
        return found

    def canonical(self, text: str) -> str:
        """As `Reader.canonical`: lower case for CLIP, no punctuation either for SigLIP."""
        clean = getattr(self.call, "clean_fn", None)
        return str(clean(text)) if clean else text

    def count(self, text: str) -> int:
        """As `Reader.count`."""
        if hasattr(self.call, "encode"):
            return len(self.call.encode(text)) + 2
        return len(self.call.tokenizer(self.canonical(text)).input_ids)

    def is_empty(self, text: str) -> bool:
        """As `Reader.is_empty`."""
        return not self.canonical(text).strip() or self.count(text) <= self.count("")

    def read(self, texts: Sequence[str]) -> list[list[int]]:
        """As `Reader.read`, with the padding."""
        rows: list[list[int]] = self.call(list(texts), self.context_length).tolist() if texts else []
        return rows

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Ids, Ids]:
        """As `Reader.pad`; the towers take no mask, so that it is 1 everywhere."""
        ids = np.array(rows, np.int64)
        return ids, np.ones_like(ids)

    def rules(self) -> str:
        """As `Reader.rules`."""
        return f"{type(self.call).__name__} {self.context_length} {self.tokenizer.to_str() if self.tokenizer else ''}"


@dataclass(frozen=True)
class OpenClipTowers:
    """A dual encoder of open_clip."""

    model: Any
    run: TorchRun

    def images(self, inputs: Sequence[Array]) -> Array:
        """As `Towers.images`; all inputs share one shape."""
        return self.run(self.model.encode_image, image=np.stack(inputs))

    def texts(self, ids: Ids, mask: Ids) -> Array:
        """As `Towers.texts`; open_clip finds the end mark itself."""
        return self.run(self.model.encode_text, text=ids)


def open_openclip(name: str, source: str, device: str, threads: int) -> Model:
    """Open `source`, an architecture and the tag or file of its weights (`ViT-B-32/laion2b_s34b_b79k`), or `hf-hub:NAME`.

    Raises:
        UsageError: if a package, the weights or the device is missing, or open_clip can't make the model.
    """
    torch, open_clip = need("torch", "openclip", name), need("open_clip", "openclip", name)
    device = torch_device(device, torch)
    run = TorchRun(device, "float16" if device.startswith("cuda") else "float32", threads)
    kind, _, pretrained = (source, "", "") if source.startswith("hf-hub:") else source.partition("/")
    try:
        weights = _weights(open_clip, kind, pretrained)
        model = open_clip.create_model(
            kind, pretrained or None, precision=_PRECISIONS[run.precision], device=device, require_pretrained=True
        )
        call = open_clip.get_tokenizer(kind)
    except _FAULTS as fault:
        raise UsageError(f"{name} can't be opened by open_clip: {' '.join(str(fault).split())[:500]}") from None
    config = {key: value for key, value in _entries(model.visual.preprocess_cfg).items() if value is not None}
    reader = OpenClipReader(call, int(getattr(model, "context_length", None) or call.context_length))
    towers = OpenClipTowers(model.eval(), run)
    return tried(Model(name, 0, from_open_clip(config), reader, towers, device, run.precision, (weights,)), _FAULTS)


def _entries(config: Any) -> dict[str, Any]:
    """open_clip keeps its preprocessing in a dictionary, its older versions in a dataclass."""
    return dict(config if isinstance(config, dict) else vars(config))


def _weights(open_clip: Any, kind: str, pretrained: str) -> Path:
    """The file of the weights, fetched by open_clip if need be. Only safetensors: other formats can run code."""
    fetch = open_clip.pretrained
    if kind.startswith("hf-hub:"):
        path = fetch.download_pretrained_from_hf(kind.removeprefix("hf-hub:"))
    elif tag := fetch.get_pretrained_cfg(kind, pretrained):
        path = fetch.download_pretrained(tag)
    elif Path(pretrained).is_file():
        path = pretrained
    else:
        tags = ", ".join(fetch.list_pretrained_tags_by_model(kind)) or "none: see open_clip.list_models()"
        raise UsageError(f"open_clip has no weights {pretrained!r} for {kind!r}; it has {tags}")
    if Path(path).suffix != ".safetensors":
        raise UsageError(f"{path} is not a safetensors file; weights in other formats can run code and are not loaded")
    return Path(path)
