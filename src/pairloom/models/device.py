"""Devices by name: auto, cpu, cuda, cuda:N, mps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pairloom.errors import UsageError


def check_device(device: str) -> None:
    """Raises `UsageError` if the name of a device is none."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise UsageError(f"there is no device {device!r}; give auto, cpu, cuda, cuda:N or mps")


def torch_device(device: str, torch: Any) -> str:
    """The device that PyTorch is to use, as cpu, cuda:N or mps. Raises `UsageError` if it isn't there."""
    gpus, mps = torch.cuda.device_count() if torch.cuda.is_available() else 0, torch.backends.mps.is_available()
    if device == "auto":
        device = "cuda" if gpus else "mps" if mps else "cpu"
    if device == "mps" and not mps:
        raise UsageError("device mps was asked for, but PyTorch finds none here; give --device cpu or auto")
    if not device.startswith("cuda"):
        return device
    number = int(device.partition(":")[2] or 0)
    if number >= gpus:
        built = "" if torch.version.cuda else " (this PyTorch is built without CUDA)"
        raise UsageError(f"device {device} was asked for, but PyTorch finds {gpus} GPUs here{built}; give --device cpu or auto")
    return f"cuda:{number}"


def onnx_device(device: str, providers: Iterable[str]) -> str:
    """The device that ONNX Runtime is to use, as cpu or cuda:N. Raises `UsageError` if it isn't there."""
    there = "CUDAExecutionProvider" in providers
    if device == "auto":
        device = "cuda" if there else "cpu"
    if device == "mps":
        raise UsageError("ONNX models run on cpu or cuda, not on mps; give --device cpu or auto")
    if device == "cpu":
        return device
    if not there:
        raise UsageError(
            f"device {device} was asked for, but this ONNX Runtime is built without CUDA: "
            "pip uninstall onnxruntime && pip install onnxruntime-gpu, or give --device cpu or auto"
        )
    return f"cuda:{int(device.partition(':')[2] or 0)}"


def sums_exactly() -> bool:
    """Whether the processor is known to add products of 8-bit integers without clipping the sums to 16 bits (VNNI).

    ONNX Runtime has a slower way that is exact on every x86 processor (`session.x64quantprecision`); both give the same bytes.
    """
    try:
        return re.search(rb"\bavx(512)?_vnni\b", Path("/proc/cpuinfo").read_bytes()) is not None
    except OSError:
        return False
