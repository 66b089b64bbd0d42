"""Random sizes, boxes and memory through a compiled module that was built with sanitizers, against Pillow: `make fuzz`.

    python tests/fuzz_resize.py MODULE SECONDS [SEED]

Arrays end where their memory ends, so that a read or write beyond them is seen. A difference or a fault ends with an error.
What `fuzz_jpeg.py` needs of it is here, too.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import random
import sys
import time
from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

import pairloom.resize as resizing

FILTERS: list[resizing.Interpolation] = ["box", "bilinear", "hamming", "bicubic", "lanczos"]
AREA = 400_000  # pixels of an image: sanitizers and Pillow are slow


def loaded(path: str, name: str = "_resize") -> ModuleType:
    """The module at `path`."""
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def side(chance: random.Random, most: int) -> int:
    """1 to `most`, small ones as often as large ones."""
    return min(most, round(most ** chance.random()))


def shape(chance: random.Random) -> tuple[int, int]:
    """Height and width, each up to 20,000."""
    one = side(chance, 20_000)
    other = side(chance, max(1, AREA // one))
    return (one, other) if chance.random() < 0.5 else (other, one)


def memory(chance: random.Random, height: int, width: int, channels: int = 3) -> np.ndarray:
    """An array of that size with gaps between rows or none, upside down or not, which ends where its memory ends."""
    gap = chance.choice([0, 0, 1, 7, 64, 4096])
    row = channels * width
    data = np.random.default_rng(chance.getrandbits(32)).integers(0, 256, (height - 1) * (row + gap) + row, np.uint8)
    if chance.random() < 0.3:
        data = (data // 128 * 255).astype(np.uint8)
    rows = np.lib.stride_tricks.as_strided(data, (height, width, channels), (row + gap, channels, 1))
    rows = rows[..., 0] if channels == 1 else rows
    return rows[::-1] if chance.random() < 0.3 else rows


def box(chance: random.Random, height: int, width: int) -> resizing.Box | None:
    """A stretch of each axis, fractions or whole pixels, sometimes tiny, sometimes all."""
    if chance.random() < 0.4:
        return None
    corners = []
    for whole in (width, height):
        start, end = sorted(chance.uniform(0, whole) for _ in range(2))
        if chance.random() < 0.3:
            start, end = float(int(start)), float(int(end) + 1)
        corners.append((start, end) if start < end <= whole else (0.0, float(whole)))
    return corners[0][0], corners[1][0], corners[0][1], corners[1][1]


def misuse(chance: random.Random, module: Any) -> None:
    """Arguments that don't fit: an exception, nothing else."""
    shapes = [(0, 3, 3), (3, 3), (3, 3, 4), (2, 5, 3), (4, 4, 3)]
    source, target = (np.zeros(chance.choice(shapes), chance.choice([np.uint8, np.int16])) for _ in range(2))
    where = tuple(chance.choice([0.0, 1.5, 4.0, -1.0, float("nan"), float("inf"), 1e30]) for _ in range(4))
    with contextlib.suppress(ValueError, BufferError):
        module.resize(source[:, :: chance.choice([1, -1, 2])], target, where, chance.choice([*FILTERS, ""]))
    with contextlib.suppress(ValueError, BufferError, OverflowError, TypeError):
        module.composite(source, target, tuple(chance.choice([0, 255, 256, -1, 0.5]) for _ in range(3)))


def flattened(chance: random.Random, module: Any) -> None:
    """One comparison of transparency on a colour."""
    height, width = shape(chance)
    pixels, out = memory(chance, height, width, 4), memory(chance, height, width)
    colour = tuple(chance.randrange(256) for _ in range(3))
    image = Image.fromarray(np.ascontiguousarray(pixels))
    canvas = Image.new("RGB", image.size, colour)
    canvas.paste(image.convert("RGB"), mask=image.getchannel("A"))
    module.composite(pixels, out, colour)
    if not np.array_equal(out, np.asarray(canvas)):
        raise SystemExit(f"differs: {width}x{height} on {colour}, strides {pixels.strides}")


def once(chance: random.Random, module: Any, kernel: str) -> None:
    """One comparison."""
    height, width = shape(chance)
    size = shape(chance)[::-1]
    channels = chance.choice([1, 3])
    pixels, out = memory(chance, height, width, channels), memory(chance, size[1], size[0], channels)
    where, interpolation = box(chance, height, width), chance.choice(FILTERS)
    expected = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling[interpolation.upper()], where))
    resizing._resize = type("Named", (), {"resize": staticmethod(lambda *given: module.resize(*given, kernel))})  # type: ignore[assignment]
    if not np.array_equal(resizing.resize(pixels, size, where, interpolation, out), expected):
        raise SystemExit(f"differs: {kernel} {interpolation} {width}x{height} to {size} of {where}, strides {pixels.strides}")


def recoloured(chance: random.Random, module: Any) -> None:
    """One comparison of planes made RGB, and of one made smaller, with numpy."""
    height, width = shape(chance)
    planes = [memory(chance, height, width, 1) for _ in range(3)]
    out, half = memory(chance, height, width), memory(chance, -(-height // 2), -(-width // 2), 1)
    module.rgb(*planes, out)
    module.halve(planes[0], half)
    resizing._resize = None
    if not np.array_equal(out, resizing.to_rgb(*planes)) or not np.array_equal(half, resizing.halve(planes[0])):
        raise SystemExit(f"colours differ: {width}x{height}, strides {[plane.strides for plane in planes]}")
    with contextlib.suppress(ValueError, BufferError):
        module.rgb(planes[0], planes[1][: chance.choice([height, 1])], planes[2], out[:, : chance.choice([width, 1])])
    with contextlib.suppress(ValueError, BufferError):
        module.halve(planes[0][:, :: chance.choice([1, 2])], half)


def main() -> None:
    """Run until the time is over."""
    module, until = loaded(sys.argv[1]), time.monotonic() + float(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().getrandbits(32)
    print(f"seed {seed}, kernels {', '.join(module.kernels())}")
    chance, done = random.Random(seed), Counter[str]()
    while time.monotonic() < until:
        kernel = chance.choice(module.kernels())
        once(chance, module, kernel)
        flattened(chance, module)
        recoloured(chance, module)
        misuse(chance, module)
        done[kernel] += 1
    print(f"no difference and no fault in {sum(done.values())} resizes: {dict(done)}")


if __name__ == "__main__":
    main()
