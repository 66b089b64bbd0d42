"""Models of transformers, from a folder or by their name on the hub, without torchvision."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pairloom.errors import UsageError
from pairloom.extras import need
from pairloom.models.device import torch_device
from pairloom.models.model import Model
from pairloom.models.preprocessor import read_transform
from pairloom.models.reader import Ids, TextReader
from pairloom.models.settings import Settings, read_json, read_settings
from pairloom.models.torch_run import TorchRun
from pairloom.models.transform import Array, ImageTransform
from pairloom.models.trial import tried
from pairloom.tokenizer import load_tokenizer

KINDS = ("clip", "siglip", "siglip2", "chinese_clip", "altclip")
"""The dual encoders of transformers that are read here, as `config.json` calls them."""

_TRAINED = {"chinese_clip": 52, "altclip": 77}  # tokens they were trained with; their text towers have places for 512
_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "sentencepiece.bpe.model", "tokenizer.model")
_FILES = ["*.json", "*.txt", "*.model", "model*.safetensors"]
_FAULTS = (OSError, ValueError, RuntimeError, ImportError, LookupError, TypeError)  # each has been seen from `from_pretrained`


@dataclass(frozen=True)
class HuggingFaceTowers:
    """A dual encoder of transformers; `masks` says whether its text tower is told which tokens are padding."""

    model: Any
    run: TorchRun
    transform: ImageTransform
    masks: bool

    def images(self, inputs: Sequence[Array]) -> Array:
        """As `Towers.images`; all inputs share one shape, save for NaFlex."""
        if self.transform.mode != "naflex":
            return self.run(self.model.get_image_features, pixel_values=np.stack(inputs))
        patches, mask, shapes = self.transform.patches(inputs)
        return self.run(self.model.get_image_features, pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes)

    def texts(self, ids: Ids, mask: Ids) -> Array:
        """As `Towers.texts`."""
        return self.run(self.model.get_text_features, input_ids=ids, attention_mask=mask if self.masks else None)


def open_huggingface(name: str, source: str, device: str, threads: int) -> Model:
    """Open a checkpoint and try it once; `source` is a folder or a name on the hub, `name` what the model is called.

    Raises:
        UsageError: if a package, a file or the device is missing, or the files don't fit together.
    """
    torch = need("torch", "torch", name)
    transformers = need("transformers", "torch", name)
    device = torch_device(device, torch)
    folder = _folder(source)
    config, settings, transform = read_json(folder / "config.json"), read_settings(folder), read_transform(folder)
    if config.get("model_type") not in KINDS:
        raise UsageError(f"{folder} holds {config.get('model_type') or 'no model'}; what can be read is {', '.join(KINDS)}")
    run = TorchRun(device, _precision(device, config), threads)
    weights = _weights(transformers, torch, folder, run)
    reader, masks = _reader(transformers, folder, weights.config, settings)
    towers = HuggingFaceTowers(weights.to(device).eval(), run, transform, masks)
    model = Model(name, settings.dimension or 0, transform, reader, towers, device, run.precision,
                  tuple(sorted(folder.glob("model*.safetensors"))), settings.languages, settings.pooling)  # fmt: skip
    return tried(model, _FAULTS)


def _folder(source: str) -> Path:
    """The folder of a checkpoint; that of a hub name in the cache, downloaded if need be and allowed."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source):
        raise UsageError(f"there is no folder {source}, and it's no name on the hub either")
    hub = need("huggingface_hub", "torch", f"hf:{source}")
    offline = hub.constants.HF_HUB_OFFLINE or os.environ.get("TRANSFORMERS_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    try:
        return Path(hub.snapshot_download(source, allow_patterns=_FILES, local_files_only=bool(offline)))
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as fault:
        said = str(fault).strip().partition("\n")[0]
        if offline:
            said = "it is not in the local cache, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids to fetch it"
        raise UsageError(f"hf:{source} can't be had: {said}. Give the path of a folder that holds the checkpoint, or fetch it "
                         f"where there is a network: hf download {source}") from None  # fmt: skip


def _weights(transformers: Any, torch: Any, folder: Path, run: TorchRun) -> Any:
    if not list(folder.glob("model*.safetensors")):
        raise UsageError(f"{folder} has no model.safetensors; weights in other formats can run code and are not loaded")
    safetensors = need("safetensors", "torch", str(folder))
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()  # many workers load at once
    try:
        model, found = transformers.AutoModel.from_pretrained(
            folder, dtype=getattr(torch, run.precision), use_safetensors=True, trust_remote_code=False, local_files_only=True,
            output_loading_info=True,
        )  # fmt: skip
    except (*_FAULTS, safetensors.SafetensorError) as fault:
        raise UsageError(f"the model in {folder} can't be loaded: {' '.join(str(fault).split())[:500]}") from None
    finally:
        if shown:
            bars.enable_progress_bar()
    if found["missing_keys"] or found["mismatched_keys"]:
        names = sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]]))
        raise UsageError(f"the weights in {folder} lack {len(names)} parts that config.json asks for, such as {names[0]}")
    return model


def _reader(transformers: Any, folder: Path, config: Any, settings: Settings) -> tuple[TextReader, bool]:
    """The text rules of a checkpoint, and whether its text tower is given a mask."""
    said, kind, text = read_json(folder / "tokenizer_config.json"), config.model_type, config.text_config
    siglip = said.get("tokenizer_class", "SiglipTokenizer" if kind == "siglip" else "") == "SiglipTokenizer"
    if (folder / "tokenizer.json").is_file():
        load_tokenizer(str(folder / "tokenizer.json"))  # says what is wrong with a broken one, where transformers only raises
    try:
        tokenizer = _siglip_tokenizer(transformers, folder, said) if siglip else _tokenizer(transformers, folder)
    except _FAULTS as fault:
        raise UsageError(f"the tokenizer in {folder} can't be loaded: {' '.join(str(fault).split())[:500]}") from None
    backend = tokenizer.backend_tokenizer
    if backend.get_vocab_size() > text.vocab_size:
        raise UsageError(f"the tokenizer in {folder} has {backend.get_vocab_size()} tokens, the model knows {text.vocab_size}: "
                         "they belong to different models")  # fmt: skip
    backend.no_truncation()
    backend.no_padding()
    context = min(text.max_position_embeddings, tokenizer.model_max_length, _TRAINED.get(kind, 1 << 20))
    pad = tokenizer.pad_token_id if settings.pad_token_id is None else settings.pad_token_id
    fixed = kind in ("siglip", "siglip2")
    reader = TextReader(backend, settings.context_length or context, pad or 0, fixed, tokenizer.padding_side, siglip)
    return reader, "attention_mask" in tokenizer.model_input_names


def _tokenizer(transformers: Any, folder: Path) -> Any:
    if not any((folder / name).is_file() for name in _TOKENIZERS):  # transformers would make an empty one
        raise OSError(f"it has none of {', '.join(_TOKENIZERS)}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} can't be had as a tokenizer.json")
    return tokenizer


def _siglip_tokenizer(transformers: Any, folder: Path, said: dict[str, Any]) -> Any:
    """SigLIP's own class runs SentencePiece from Python; T5's makes the same ids of the same file."""
    options = {"model_max_length": 64, "pad_token": "</s>", "model_input_names": ["input_ids", "attention_mask"]}
    options |= {name: said[name] for name in (*options, "padding_side") if name in said}
    if (folder / "tokenizer.json").is_file():
        return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **options)
    if not (folder / "spiece.model").is_file():  # transformers would make an empty one
        raise OSError("it has neither tokenizer.json nor spiece.model")
    if not find_spec("sentencepiece") or not find_spec("google"):
        raise ImportError("it has no tokenizer.json, and to read spiece.model: pip install sentencepiece protobuf")
    return transformers.T5Tokenizer.from_pretrained(folder, extra_ids=0, local_files_only=True, **options)


def _precision(device: str, config: dict[str, Any]) -> str:
    """Half precision on a GPU: float16, which is finer, unless the checkpoint was made in bfloat16."""
    if not device.startswith("cuda"):
        return "float32"
    return "bfloat16" if (config.get("dtype") or config.get("torch_dtype")) == "bfloat16" else "float16"
