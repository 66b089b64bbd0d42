"""How fast one thread turns files into 512 letterbox JPEGs (quality 95), and how good they are, beside img2dataset.

    pip install pairloom img2dataset
    NO_ALBUMENTATIONS_UPDATE=1 python benchmarks/prepare_speed.py --cache DIR
    NO_ALBUMENTATIONS_UPDATE=1 python benchmarks/prepare_speed.py --files 'FOLDER/*.jpg' --files 'TAR/*.tar'

All contenders work on the same files in memory, in small interleaved rounds. `photos` (the default) are cut from the
photographs of two Debian packages, see `photos`. PSNR is that of the image's area, without padding, against a full decode
and Lanczos: `pixels` before the JPEG encoder, `jpeg` after it.
"""

from __future__ import annotations

import argparse
import glob
import io
import random
import statistics
import tarfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from img2dataset.resizer import Resizer
from packages import fetch_debian
from PIL import Image

from pairloom.errors import Reject
from pairloom.steps.decode import Decode
from pairloom.steps.image import Encode, Letterbox, draw

SIZE, QUALITY = 512, 95
PACKAGES = {"mate-backgrounds": "nature/*.jpg", "lomiri-wallpapers-16.04": "*.jpg"}
IMAGES = (".jpg", ".jpeg", ".png", ".webp")
Prepare = Callable[[bytes], Any]


def photos(cache: Path, count: int) -> Iterator[bytes]:
    """Web-like JPEGs (quality 85, 4:2:0, mean about 0.95 MP): seeded cuts of real photographs, Lanczos-reduced."""
    found = [path for package, glob_ in PACKAGES.items() for path in sorted(fetch_debian(package, cache).rglob(glob_))]
    sources = [image for path in found if min((image := Image.open(path)).size) >= 1000 and not path.is_symlink()]
    if not sources:
        raise SystemExit("error: the packages hold no photographs")
    chance = random.Random(0)
    for number in range(count):
        source = sources[number % len(sources)].convert("RGB")
        ratio = chance.choice([4 / 3, 3 / 2, 16 / 9, 1.0, 3 / 4, 2 / 3])
        width = min(source.width, source.height * ratio) * chance.uniform(0.6, 1.0)
        left, top = chance.uniform(0, source.width - width), chance.uniform(0, source.height - width / ratio)
        area = min(4e6, max(2e5, chance.lognormvariate(13.6, 0.55)))
        side = min(width, (area * ratio) ** 0.5)
        size, box = (round(side), round(side / ratio)), (left, top, left + width, top + width / ratio)
        out = io.BytesIO()
        source.resize(size, Image.Resampling.LANCZOS, box=box).save(out, "JPEG", quality=85, subsampling="4:2:0")
        yield out.getvalue()


def load(patterns: list[str], count: int, least: int) -> list[bytes]:
    """The images of files and tars, a seeded choice of `count` with a longer side of at least `least`, up to 25 MP."""
    found: list[bytes] = []
    for path in sorted(path for pattern in patterns for path in map(Path, glob.glob(pattern))):  # noqa: PTH207 - any pattern
        if path.suffix == ".tar":
            with tarfile.open(path) as archive:
                members = [member for member in archive if member.name.endswith(IMAGES)]
                found += [archive.extractfile(member).read() for member in members]  # type: ignore[union-attr]
        else:
            found.append(path.read_bytes())
    random.Random(0).shuffle(found)
    sizes = ((data, Image.open(io.BytesIO(data)).size) for data in found)
    fit = (data for data, (width, height) in sizes if max(width, height) >= least and width * height <= 25_000_000)
    return [data for data, _ in zip(fit, range(count), strict=False)]


def ours(encode: Encode | None) -> Prepare:
    """Pairloom's steps, called as the line calls them."""
    letterbox = Letterbox(size=SIZE)
    decode = Decode().bind([letterbox, Encode()])

    def prepare(data: bytes) -> Any:
        decoded = decode.image(data)  # type: ignore[attr-defined]
        pixels = draw(decoded.pixels, letterbox.geometry(decoded.width, decoded.height), letterbox.fill)
        return encode.image(pixels) if encode else pixels

    return prepare


def naive(encoded: bool) -> Prepare:
    """The script that everybody writes first: OpenCV's aliased resize, a grey canvas."""

    def prepare(data: bytes) -> Any:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        height, width = image.shape[:2]
        w, h = fitted(width, height)
        canvas = np.full((SIZE, SIZE, 3), 114, np.uint8)
        top, left = (SIZE - h) // 2, (SIZE - w) // 2
        canvas[top : top + h, left : left + w] = cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)
        return cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes() if encoded else canvas[..., ::-1]

    return prepare


def theirs(encode_format: str, quality: int) -> Prepare:
    """img2dataset's resizer with its own defaults; as PNG its pixels before the JPEG encoder."""
    resizer = Resizer(SIZE, "border", False, "lanczos", "area", encode_format=encode_format, encode_quality=quality)

    def prepare(data: bytes) -> Any:
        result = resizer(io.BytesIO(data))
        if result[0] is None:
            raise ValueError(result[-1])
        return result[0] if encode_format == "jpg" else np.asarray(Image.open(io.BytesIO(result[0])).convert("RGB"))

    return prepare


def fitted(width: int, height: int) -> tuple[int, int]:
    """The size of the image in the square."""
    scale = SIZE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def reference(data: bytes) -> np.ndarray:
    """A full decode on white and one Lanczos resize, without padding."""
    image = Image.open(io.BytesIO(data))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB")
    return np.asarray(image.resize(fitted(*image.size), Image.Resampling.LANCZOS))


def psnr(result: Any, target: np.ndarray) -> float:
    """Decibels over the area of the image."""
    pixels = np.asarray(Image.open(io.BytesIO(result)).convert("RGB")) if isinstance(result, bytes) else result
    h, w = target.shape[:2]
    top, left = (SIZE - h) // 2, (SIZE - w) // 2
    error = np.mean((pixels[top : top + h, left : left + w].astype(np.float64) - target) ** 2)
    return float(10 * np.log10(255**2 / max(error, 0.01)))


def usable(files: list[bytes], contenders: list[Prepare]) -> list[bytes]:
    """The files that every contender takes, so that none is faster by refusing."""

    def taken(data: bytes) -> bool:
        try:
            return all(prepare(data) is not None for prepare in contenders)
        except (Reject, ValueError, cv2.error, AttributeError):
            return False

    return [data for data in files if taken(data)]


def measure(files: list[bytes], contenders: dict[str, Prepare], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """For each contender, images a second by the wall clock and by CPU time, one pair a round."""
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            wall, cpu = time.perf_counter(), time.process_time()
            for data in files:
                contenders[name](data)
            rates[name].append((len(files) / (time.perf_counter() - wall), len(files) / (time.process_time() - cpu)))
    return rates


def said(values: list[float], digits: int) -> str:
    """Median and the interval of the middle 80 %."""
    low, high = np.percentile(values, [10, 90])
    return f"{statistics.median(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main() -> None:
    """Print one table of speeds and one of quality."""
    parser = argparse.ArgumentParser(description="Speed and quality of preparing images, beside img2dataset.")
    parser.add_argument("--cache", type=Path, default=Path("bench-cache"), help="where packages are fetched to")
    parser.add_argument("--files", action="append", default=[], help="glob of images or tars, instead of `photos`")
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--least", type=int, default=1, help="with --files: at least so many pixels along the longer side")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    contenders = {"pairloom": ours(Encode(quality=QUALITY)), "img2dataset": theirs("jpg", QUALITY), "naive": naive(True)}
    raw = {"pairloom": ours(None), "img2dataset": theirs("png", 1), "naive": naive(False)}
    found = load(options.files, options.count, options.least) if options.files else list(photos(options.cache, options.count))
    files = usable(found, list(contenders.values()))
    area = statistics.mean(width * height for width, height in (Image.open(io.BytesIO(data)).size for data in files)) / 1e6
    print(f"{len(files)} files of {len(found)} that all can read, mean {area:.2f} MP, {options.rounds} rounds, one thread")
    rates = measure(files, contenders, options.rounds)
    targets = [reference(data) for data in files]
    print(f"{'':12} {'images/s, wall':>22} {'images/s, CPU':>22} {'against naive':>20} {'against img2dataset':>20}")
    for name, pairs in rates.items():
        to = [said([a[1] / b[1] for a, b in zip(pairs, rates[other], strict=True)], 2) for other in ("naive", "img2dataset")]
        wall, cpu = (said([pair[place] for pair in pairs], 1) for place in (0, 1))
        print(f"{name:12} {wall:>22} {cpu:>22} {to[0]:>20} {to[1]:>20}")
    print(f"{'PSNR, dB':12} {'pixels: mean':>14} {'worst 5 %':>10} {'jpeg: mean':>14} {'worst 5 %':>10}")
    for name in contenders:
        line = f"{name:12}"
        for prepare in (raw[name], contenders[name]):
            values = [psnr(prepare(data), target) for data, target in zip(files, targets, strict=True)]
            line += f" {statistics.mean(values):>14.2f} {np.percentile(values, 5):>10.2f}"
        print(line)


if __name__ == "__main__":
    main()
