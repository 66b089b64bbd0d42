"""How fast one thread resizes, beside Pillow, whose bytes are the same: for each kernel that this processor runs.

    python benchmarks/resize_speed.py [--rounds 15] [--filters bicubic lanczos]

CPU time of interleaved rounds: the median for Pillow in milliseconds, and how many times as fast each kernel is, by the
median of the rounds' ratios. Pillow's own resize is timed alone; copying pixels to and from Pillow, which a caller with
arrays pays too, is in the last column. Every result is compared with Pillow's first. Before each call of ours one pixel is
resized, so that no coefficients are left of the call before, as for images of different sizes; its time counts as ours.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from pairloom import _resize
from pairloom.resize import Interpolation, get_args

SIZES = [((1050, 780), (512, 380)), ((4000, 3000), (512, 384)), ((512, 512), (224, 224)), ((1920, 1080), (512, 288)),
         ((800, 600), (512, 384)), ((320, 240), (512, 384))]  # fmt: skip


def contenders(pixels: np.ndarray, size: tuple[int, int], interpolation: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Pillow and each kernel, the kernels once compared with it."""
    image, filter_ = Image.fromarray(pixels), Image.Resampling[interpolation.upper()]
    yield "pillow", lambda: image.resize(size, filter_)
    yield "pillow+copies", lambda: np.asarray(Image.fromarray(pixels).resize(size, filter_))
    box = (0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[0]))
    out, pixel = np.empty((size[1], size[0], 3), np.uint8), np.zeros((1, 1), np.uint8)
    target = np.zeros((1, 1), np.uint8)

    def other(kernel: str) -> None:
        _resize.resize(pixel, target, (0.0, 0.0, 1.0, 1.0), interpolation, kernel)

    for kernel in _resize.kernels():
        _resize.resize(pixels, out, box, interpolation, kernel)
        if not np.array_equal(out, np.asarray(image.resize(size, filter_))):
            raise SystemExit(f"error: {kernel} differs from Pillow with {interpolation} at {size}")
        yield kernel, lambda kernel=kernel: (other(kernel), _resize.resize(pixels, out, box, interpolation, kernel))


def measure(work: dict[str, Callable[[], object]], rounds: int, least: float = 0.004) -> dict[str, list[float]]:
    """CPU seconds of a call, one measurement a round; short calls are repeated, so that the clock's steps don't show."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, call in work.items():
            start, calls = time.process_time(), 0
            while (spent := time.process_time() - start) < least or not calls:
                call()
                calls += 1
            times[name].append(spent / calls)
    return times


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description="Speed of the resize kernels beside Pillow.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--filters", nargs="+", choices=get_args(Interpolation), default=list(get_args(Interpolation)))
    options = parser.parse_args()
    kernels = _resize.kernels()
    print(f"{'from':>10} {'to':>8} {'filter':9} {'Pillow, ms':>10}", *(f"{name:>9}" for name in kernels), f"{'with copies':>12}")
    for (width, height), size in SIZES:
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        for interpolation in options.filters:
            times = measure(dict(contenders(pixels, size, interpolation)), options.rounds)
            ratios = [statistics.median(a / b for a, b in zip(times["pillow"], times[name], strict=True)) for name in kernels]
            copies = statistics.median(a / b for a, b in zip(times["pillow+copies"], times[kernels[0]], strict=True))
            name = f"{width:>5}x{height:<4} {size[0]:>4}x{size[1]:<3} {interpolation:9}"
            print(
                name, f"{statistics.median(times['pillow']) * 1e3:>10.2f}", *(f"{x:>8.1f}x" for x in ratios), f"{copies:>11.1f}x"
            )


if __name__ == "__main__":
    main()
