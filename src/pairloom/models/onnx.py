"""Models as a folder of two ONNX graphs, run by ONNX Runtime without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairloom.errors import UsageError
from pairloom.models.device import onnx_device, sums_exactly
from pairloom.models.model import Model
from pairloom.models.preprocessor import read_transform
from pairloom.models.reader import Ids, TextReader
from pairloom.models.settings import Settings, read_json, read_settings
from pairloom.models.transform import Array
from pairloom.models.trial import tried
from pairloom.tokenizer import load_tokenizer

IMAGE = ("image.onnx", "vision_model.onnx", "visual.onnx")
TEXT = ("text.onnx", "text_model.onnx", "textual.onnx")
"""File names of the towers, ours first, then those of common exports; each also in a folder `onnx` inside."""

_LONGEST = 1 << 20  # a tokenizer's length beyond this only says that it sets none


@dataclass(frozen=True)
class OnnxTowers:
    """Two sessions; `image_output` and `text_output` name what they give."""

    image: Any
    text: Any
    image_output: str
    text_output: str

    def images(self, inputs: Sequence[Array]) -> Array:
        """As `Towers.images`; all inputs share one shape."""
        features: Array = self.image.run([self.image_output], {"pixel_values": np.stack(inputs)})[0]
        return features

    def texts(self, ids: Ids, mask: Ids) -> Array:
        """As `Towers.texts`."""
        given = {"input_ids": ids, "attention_mask": mask}
        features: Array = self.text.run([self.text_output], {one.name: given[one.name] for one in self.text.get_inputs()})[0]
        return features


def open_onnx(name: str, folder: Path, device: str, threads: int) -> Model:
    """Open the model in `folder` and try it once; `name` is what it is called.

    Raises:
        UsageError: if a file is missing or they don't fit together, or the device isn't there.
    """
    import onnxruntime

    if not folder.is_dir():
        raise UsageError(f"{name}: there is no folder {folder}")
    device = onnx_device(device, onnxruntime.get_available_providers())
    paths = _find(folder, IMAGE), _find(folder, TEXT)
    settings, transform = read_settings(folder), read_transform(folder)
    image, text = (_session(onnxruntime, path, device, threads) for path in paths)
    _check_inputs(paths[0], image, {"pixel_values"}, {"pixel_values"})
    _check_inputs(paths[1], text, {"input_ids"}, {"input_ids", "attention_mask"})
    towers = OnnxTowers(image, text, _output(image, "image_embeds"), _output(text, "text_embeds"))
    reader = _reader(folder, settings, text)
    weights = tuple(part for path in paths for part in sorted(path.parent.glob(f"{path.name}*")))
    model = Model(name, settings.dimension or 0, transform, reader, towers, device, "float32", weights,
                  settings.languages, settings.pooling)  # fmt: skip
    return tried(model, _faults())


def _find(folder: Path, names: Sequence[str]) -> Path:
    places = [folder / name for name in names] + [folder / "onnx" / name for name in names]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise UsageError(f"{folder} is no model: it has no {names[0]} (nor {', '.join(names[1:])}, nor any of them in onnx/)")
    return found


def _session(onnxruntime: Any, path: Path, device: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # warnings speak to whoever exported the graph
    if not sums_exactly():
        options.add_session_config_entry("session.x64quantprecision", "1")
    kind, _, number = device.partition(":")
    providers: list[Any] = ["CPUExecutionProvider"]
    if kind == "cuda":
        # heuristic choice of algorithms: trying them out would make results depend on timing; no TF32: parity with the CPU
        cuda = {"device_id": int(number), "cudnn_conv_algo_search": "HEURISTIC", "use_tf32": 0}
        providers.insert(0, ("CUDAExecutionProvider", cuda))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers)
    except _faults() as fault:
        said = str(fault).partition("\n")[0]
        raise UsageError(f"{path} can't be opened as an ONNX graph: {said}") from None


def _check_inputs(path: Path, session: Any, needed: set[str], known: set[str]) -> None:
    there = {one.name for one in session.get_inputs()}
    if not needed <= there <= known:
        raise UsageError(f"{path} takes {', '.join(sorted(there))}, where {', '.join(sorted(known))} belong")


def _output(session: Any, name: str) -> str:
    """The named output, else the first with one row an input."""
    outputs = session.get_outputs()
    flat = [one.name for one in outputs if len(one.shape) == 2]
    return name if name in {one.name for one in outputs} else str((flat or [outputs[0].name])[0])


def _reader(folder: Path, settings: Settings, text: Any) -> TextReader:
    path, config = folder / "tokenizer.json", read_json(folder / "tokenizer_config.json")
    tokenizer, said = load_tokenizer(str(path)), read_json(path)
    length = next((one.shape[1] for one in text.get_inputs() if isinstance(one.shape[1], int)), None)
    context = settings.context_length or length or _entry(said, "truncation", "max_length") or config.get("model_max_length")
    if not isinstance(context, int) or context > _LONGEST:
        raise UsageError(f'{folder} does not say how many tokens a text may have: put {{"context_length": N}} in pairloom.json')
    pad = settings.pad_token_id if settings.pad_token_id is not None else _entry(said, "padding", "pad_id")
    if pad is None:
        pad = tokenizer.token_to_id(str(config.get("pad_token"))) or 0
    inputs = {one.name for one in text.get_inputs()}
    # a graph that takes no mask was exported for texts padded to the end (SigLIP), or doesn't look there (CLIP)
    fixed = length is not None or "attention_mask" not in inputs
    strips = config.get("tokenizer_class") == "SiglipTokenizer"
    return TextReader(tokenizer, context, pad, fixed, "right", strips)


def _entry(config: dict[str, Any], part: str, name: str) -> Any:
    return (config.get(part) or {}).get(name)


def _faults() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; its exceptions have no common root but `Exception`."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return ValueError, *own
