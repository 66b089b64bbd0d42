"""What only an import tells, tried in processes of their own: a broken package may crash, hang or print what it likes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairloom.doctor.finding import Finding, size
from pairloom.plugins import installed, version

_SECONDS = 30.0
_REINSTALL = "pip install --force-reinstall"
_CODECS = {"webp": "WebP", "avif": "AVIF", "jpg_2000": "JPEG 2000", "libtiff": "TIFF", "zlib": "PNG"}

_CORE = """
import ftfy, jinja2, kornia_rs.io, numpy, onnxruntime, py3langid, pyarrow.parquet
import safetensors, sentencex, simplejpeg, tokenizers, xxhash
from PIL import ImageCms, features
from pairloom import models, plugins, readers, registry, resize
from pairloom.export import FORMATS
from pairloom.steps import jpeg
told["codecs"] = {name: bool(features.check(name)) for name in ("webp", "avif", "jpg_2000", "libtiff", "zlib", "littlecms2")}
told["kernel"], told["planes"] = resize.KERNEL, jpeg.PLANES
told["onnx"] = onnxruntime.get_available_providers()
models.load("mini", "cpu")
told["plugins"] = registry.load_plugins()
for group, core in (("models", models.OWN), ("readers", readers.OWN), ("writers", FORMATS)):
    told["plugins"] += plugins.refused(group, core)
    for name in plugins.names(group, core):
        try:
            plugins.load(group, name)
        except plugins.UsageError as fault:
            told["plugins"].append(str(fault))
"""
_TORCH = """
import torch
told["cuda"] = torch.version.cuda or torch.version.hip
told["gpus"] = [[torch.cuda.get_device_name(n), torch.cuda.get_device_properties(n).total_memory]
                for n in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
told["mps"] = torch.backends.mps.is_available()
"""
_TELL = "\ntold['whole'] = True\nprint('\\n' + json.dumps(told))\n"


class Probe:
    """Python code running in a process of its own; it fills the dict `told`."""

    def __init__(self, code: str, seconds: float = _SECONDS) -> None:
        words = [sys.executable, "-c", f"import json\ntold = {{}}\n{code}{_TELL}"]
        self._end = time.monotonic() + seconds
        self._seconds = seconds
        self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def told(self) -> dict[str, Any] | str:
        """What it found out, or why it could not."""
        try:
            said, errors = self._process.communicate(timeout=max(0, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return f"took longer than {self._seconds:g} seconds"
        status = self._process.returncode
        if status < 0:
            return f"died of {signal.Signals(-status).name}"
        if status:
            return (errors.decode("utf-8", "replace").strip().splitlines() or [f"ended with {status}"])[-1]
        last = said.splitlines()[-1:]
        if not last or not last[0].startswith(b'{"'):
            return "ended before it had told anything"
        told: dict[str, Any] = json.loads(last[0])
        return told


class Probes:
    """All of them, running beside each other from the moment this is made. torch is not touched where it is not installed."""

    def __init__(self) -> None:
        self._core = Probe(_CORE)
        self._torch = None if version("torch") is None else Probe(_TORCH)

    def look(self, gpu: bool | None = None) -> Iterator[Finding]:
        """All findings; `gpu` says whether the machine has one of NVIDIA's."""
        core = self._core.told()
        if isinstance(core, str):
            yield Finding("imports", "problem", core, f"{_REINSTALL} pairloom")
        else:
            yield from _codecs(core)
            yield Finding("model", "ok", "mini opens")
            yield from _plugins(core["plugins"])
        onnx = [] if isinstance(core, str) else core["onnx"]
        yield from _gpu(self._torch.told() if self._torch else None, onnx, _has_gpu() if gpu is None else gpu)


def _codecs(core: dict[str, Any]) -> Iterator[Finding]:
    missing = [name for code, name in _CODECS.items() if not core["codecs"][code]]
    if missing:
        said = f"this Pillow can't read {', '.join(missing)}: such images are rejected"
        yield Finding("codecs", "note", said, f"{_REINSTALL} --only-binary :all: pillow")
    else:
        yield Finding("codecs", "ok", "the common JPEG by simplejpeg, the common PNG by kornia-rs, all others by Pillow")
    if not core["codecs"]["littlecms2"]:
        said = "this Pillow has no LittleCMS: colour profiles can't be applied"
        yield Finding("colour profiles", "problem", said, f"{_REINSTALL} --only-binary :all: pillow")
    if core["kernel"] == "pillow":
        said = "by Pillow: the same bytes as the compiled one, but slower; install a C compiler, then type this"
        yield Finding("resize", "note", said, f"{_REINSTALL} --no-deps --no-cache-dir pairloom")
    else:
        yield Finding("resize", "ok", f"compiled, {core['kernel']}")
    if core["planes"] == "simplejpeg":
        said = "by simplejpeg: the same bytes, but slower; a C compiler and Pillow's own wheel do better, then type this"
        yield Finding("planes of JPEG", "note", said, f"{_REINSTALL} --no-deps --no-cache-dir pairloom pillow")
    else:
        yield Finding("planes of JPEG", "ok", "by the libjpeg-turbo of Pillow")


def _plugins(problems: list[str]) -> Iterator[Finding]:
    for package, added in installed().items():
        mine = [problem for problem in problems if package in problem]
        name = package.partition(" ")[0]
        for problem in mine:
            yield Finding("plugin", "problem", problem, f"pip uninstall {name}")
        if not mine:
            yield Finding("plugin", "ok", f"{package}: {', '.join(added)}")


def _gpu(torch: dict[str, Any] | str | None, onnx: list[str], there: bool) -> Iterator[Finding]:
    if isinstance(torch, str):
        yield Finding("torch", "problem", f"can't be imported: {torch}", f"{_REINSTALL} torch")
    elif torch and torch["gpus"]:
        yield Finding("GPU", "ok", "; ".join(f"{name}, {size(memory)}" for name, memory in torch["gpus"]))
        if "CUDAExecutionProvider" not in onnx:
            said = "ONNX Runtime is built without CUDA: `mini` and `onnx:` models score on the CPU"
            yield Finding("ONNX Runtime", "note", said, "pip uninstall onnxruntime && pip install onnxruntime-gpu")
    elif torch and torch["mps"]:
        yield Finding("GPU", "ok", "Apple's, by mps")
    elif there and torch and torch["cuda"]:
        yield Finding("GPU", "problem", f"there is one, but this torch (CUDA {torch['cuda']}) can't use it", "nvidia-smi")
    elif there:
        said = "there is one, but " + ("this torch is built without CUDA" if torch else "torch is not installed")
        yield Finding("GPU", "note", said, f"{_REINSTALL} torch" if torch else "pip install 'pairloom[torch]'")
    else:
        yield Finding("GPU", "ok", "none; models run on the CPU")


def _has_gpu() -> bool:
    return any(Path(place).exists() for place in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))
