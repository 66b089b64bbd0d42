"""A file to CLIP's input: the shorter side 224, antialiased bicubic, the middle cut out, float32 (3, 224, 224)."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from speed.contender import Contender, Make, each
from speed.pictures import Size, covering, load, psnr, scaled, ssim

SIDE = 224
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)

__all__ = ["CONTENDERS", "compare", "load"]


def pairloom() -> Contender:
    """The drop-in for open_clip's `preprocess_val`."""
    from pairloom import CenterCrop
    from pairloom.torch import image_transform

    return _of(image_transform(CenterCrop(SIDE)))


def limit() -> Contender:
    """The scaled decode and the kernel alone: neither cut nor normalised."""
    import simplejpeg

    from pairloom import CenterCrop
    from pairloom.resize import resize
    from pairloom.steps.decode import Decode

    bound: Any = Decode().bind([CenterCrop(SIDE)])
    known: dict[int, tuple[dict[str, Any], Size]] = {}

    def work(data: bytes) -> np.ndarray:
        if id(data) not in known:
            size = Image.open(io.BytesIO(data)).size
            shrink, spare = bound._shrink(*size)
            known[id(data)] = {"fastupsample": spare, **scaled(*size, shrink)}, covering(*size, SIDE)
        how, size = known[id(data)]
        return resize(simplejpeg.decode_jpeg(data, **how), size)

    return Contender(each(work))


def open_clip() -> Contender:
    """`image_transform` for evaluation, from the bytes of a file."""
    let_torchvision_import()
    from open_clip.transform import image_transform

    transform = image_transform(SIDE, is_train=False)
    return _of(lambda data: transform(Image.open(io.BytesIO(data))))


def transformers(name: str) -> Make:
    """`CLIPImageProcessor` with its own defaults, from the bytes of a file."""

    def make() -> Contender:
        let_torchvision_import()
        import transformers as hub

        processor = getattr(hub, name)()
        return _of(lambda data: processor(Image.open(io.BytesIO(data)).convert("RGB"), return_tensors="pt")["pixel_values"][0])

    return make


def dali() -> Contender:
    """A pipeline on the CPU, in batches of 30."""
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=30, num_threads=1, device_id=None, prefetch_queue_depth=1)
    def pipe(source: Callable[[], list[np.ndarray]]) -> Any:
        files = fn.external_source(source, dtype=types.UINT8, ndim=1)
        images = fn.decoders.image(files, device="cpu", output_type=types.RGB)
        images = fn.resize(images, resize_shorter=SIDE, interp_type=types.INTERP_CUBIC, antialias=True)
        return fn.crop_mirror_normalize(
            images, crop=(SIDE, SIDE), mean=list(MEAN * 255), std=list(STD * 255), dtype=types.FLOAT, output_layout="CHW"
        )

    waiting: list[list[np.ndarray]] = []
    built = pipe(lambda: waiting.pop(0))
    built.build()

    def run(items: Any) -> list[np.ndarray]:
        files = [np.frombuffer(data, np.uint8) for data in items]
        batches = [files[start : start + 30] for start in range(0, len(files), 30)]
        waiting.extend(batches)
        return [np.array(one) for _ in batches for one in built.run()[0].as_cpu()]

    return Contender(run, lambda data: _shown(run([data])[0]))


CONTENDERS: dict[str, tuple[str, Make]] = {
    "Pairloom": ("pairloom", pairloom),
    "limit": ("pairloom", limit),
    "open_clip": ("torch", open_clip),
    "transformers, slow": ("torch", transformers("CLIPImageProcessorPil")),
    "transformers, fast": ("torch", transformers("CLIPImageProcessor")),
    "DALI on the CPU": ("dali", dali),
}


def compare(data: bytes, pixels: np.ndarray, reference: Callable[[bytes, Size], np.ndarray]) -> tuple[float, float]:
    """PSNR and SSIM; where an odd margin is cut to either side, both are right."""
    size = covering(*Image.open(io.BytesIO(data)).size, SIDE)
    whole = reference(data, size)
    left, top = size[0] - SIDE, size[1] - SIDE
    targets = [whole[y : y + SIDE, x : x + SIDE] for x in {left // 2, -(-left // 2)} for y in {top // 2, -(-top // 2)}]
    target = max(targets, key=lambda one: psnr(pixels, one))
    return psnr(pixels, target), ssim(pixels, target)


def _of(work: Callable[[bytes], Any]) -> Contender:
    return Contender(each(work), lambda data: _shown(np.asarray(work(data))))


def _shown(values: np.ndarray) -> np.ndarray:
    """A model's input as pixels of 0 to 255, float32 (h, w, 3)."""
    return (values.transpose(1, 2, 0) * STD + MEAN) * 255


def let_torchvision_import() -> None:
    """Beside a torch without CUDA torchvision's own operators don't load, and it stops where it describes them.

    Its transforms use none of them, so the description may be missing.
    """
    import torch

    torch.set_num_threads(1)
    sys.modules["torchvision._meta_registrations"] = ModuleType("_meta_registrations")
