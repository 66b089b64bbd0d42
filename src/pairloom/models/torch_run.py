"""Runs torch modules on NumPy arrays: device, precision and threads in one place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pairloom.models.transform import Array


@dataclass(frozen=True)
class TorchRun:
    """Where and how a torch model computes: device cpu, cuda:N or mps; precision float32, float16 or bfloat16."""

    device: str
    precision: str
    threads: int

    def __call__(self, module: Callable[..., Any], **inputs: npt.NDArray[Any] | None) -> Array:
        """Call `module` with the arrays as tensors, those of float in this precision; its features as float32 (n, d)."""
        import torch

        with torch.inference_mode(), _pool(torch, self.threads):
            given = {name: self._tensor(torch, array) for name, array in inputs.items() if array is not None}
            features = module(**given)
            pooled = getattr(features, "pooler_output", features)  # transformers before 5 gives a tensor
            array: Array = pooled.float().cpu().numpy()
            return array

    def _tensor(self, torch: Any, array: npt.NDArray[Any]) -> Any:
        tensor = torch.from_numpy(array).to(self.device)
        return tensor.to(getattr(torch, self.precision)) if array.dtype == np.float32 else tensor


_lock = threading.Lock()
_inside: list[int] = []  # for each call that is under way, how many threads torch used before the first of them


@contextmanager
def _pool(torch: Any, threads: int) -> Iterator[None]:
    """The setting of torch is for the whole process, which may train something else: the last call out puts it back."""
    with _lock:
        _inside.append(_inside[0] if _inside else torch.get_num_threads())
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        with _lock:
            before = _inside.pop()
            if not _inside:
                torch.set_num_threads(before)
