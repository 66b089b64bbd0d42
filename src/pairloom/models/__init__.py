"""Dual encoders behind one small interface: images and texts in, unit vectors of one space out.

>>> model = load("mini")  # doctest: +SKIP
>>> model.embed_texts(["a photo of a cat", "一只猫"]).shape  # doctest: +SKIP
(2, 384)
"""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import replace
from pathlib import Path

from pairloom import plugins
from pairloom.alignment.attention import Pooling
from pairloom.errors import UsageError
from pairloom.models.bank import bank_digest, embed_bank
from pairloom.models.device import check_device
from pairloom.models.model import Model
from pairloom.models.reader import TextReader
from pairloom.models.transform import ImageTransform
from pairloom.models.trial import tried

__all__ = ["FORMS", "MINI", "ImageTransform", "Model", "Pooling", "TextReader", "bank_digest", "embed_bank", "load"]

MINI = Path(__file__).parent / "mini"
"""The folder of the model that comes with Pairloom."""

FORMS = {
    "mini": "the model that comes with Pairloom: English and Chinese, small, not a replacement for a real CLIP",
    "onnx:FOLDER": "two ONNX graphs with tokenizer.json and preprocessor_config.json",
    "hf:NAME_OR_FOLDER": "CLIP, SigLIP, SigLIP 2, Chinese-CLIP or AltCLIP through transformers",
    "openclip:NAME/PRETRAINED": "a model of open_clip, such as openclip:ViT-B-32/laion2b_s34b_b79k",
}
"""The forms of a model's name, each with what it means."""

OWN = frozenset(form.partition(":")[0] for form in FORMS)
"""First words of names that are Pairloom's own: no package may add a model under one."""

_lock = threading.Lock()


def load(name: str, device: str = "auto", threads: int | None = None) -> Model:
    """Open a model by its name, once a process; `FORMS` lists the forms of names.

    `device` is auto, cpu, cuda, cuda:N or mps. `threads` is how many a tower may use on a CPU: by default the environment
    variable `PAIRLOOM_MODEL_THREADS`, else 1, so that worker processes don't crowd each other and results stay the same.

    Raises:
        UsageError: if there is no such model or device, a package is missing, or files are missing or don't fit together.
    """
    check_device(device)
    with _lock:  # two threads that ask for one model get one
        return _open(name, device, threads or _threads(), os.getpid())


@functools.cache
def _open(name: str, device: str, threads: int, process: int) -> Model:
    """`process` is there because sessions and GPUs don't survive a fork."""
    kind, _, rest = name.partition(":")
    if name == "mini":
        from pairloom.models.onnx import open_onnx

        if not MINI.is_dir():
            raise UsageError("this installation of Pairloom lacks the model mini; install it again")
        return open_onnx(name, MINI, device, threads)
    if kind == "onnx" and rest:
        from pairloom.models.onnx import open_onnx

        return open_onnx(name, Path(rest).expanduser(), device, threads)
    if kind == "hf" and rest:
        from pairloom.models.huggingface import open_huggingface

        return open_huggingface(name, rest, device, threads)
    if kind == "openclip" and rest:
        from pairloom.models.openclip import open_openclip

        return open_openclip(name, rest, device, threads)
    if kind not in OWN and (opener := plugins.load("models", kind)) is not None:
        return _from_package(kind, opener(name, rest, device, threads))
    forms = ", ".join((*FORMS, *plugins.names("models", OWN)))
    raise UsageError(f"there is no model {name!r}; a name is one of {forms}")


def _from_package(kind: str, model: object) -> Model:
    """A model that an installed package opened, tried, with the package's name and version."""
    if not isinstance(model, Model):
        raise UsageError(f"{plugins.about('models', kind)} gives no Model")
    [(package, version)] = plugins.packages("models", [kind]).items()
    return tried(replace(model, package=f"{package} {version}"), ())


def _threads() -> int:
    said = os.environ.get("PAIRLOOM_MODEL_THREADS", "1")
    if not said.isdecimal() or int(said) < 1:
        raise UsageError(f"PAIRLOOM_MODEL_THREADS is {said!r}; it must be a number from 1 on")
    return int(said)
