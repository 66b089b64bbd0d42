"""Damaged JPEGs of random sizes through a compiled reader that was built with sanitizers, against simplejpeg: `make fuzz`.

    python tests/fuzz_jpeg.py MODULE SECONDS [SEED]

A file is read to the same planes by both, or refused by both. A difference or a fault ends with an error.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections import Counter
from typing import Any

import numpy as np
from fuzz_resize import loaded, memory
from images import encoded
from PIL import Image, _imaging

from pairloom.steps import jpeg


def file(chance: random.Random) -> bytes:
    """A JPEG of any kind, whole or damaged."""
    width, height = (min(600, round(600 ** chance.random())) for _ in range(2))
    noise = np.random.default_rng(chance.getrandbits(32)).integers(0, 256, (1 + height // 9, 1 + width // 9, 3), np.uint8)
    image = Image.fromarray(noise).resize((width, height)).convert(chance.choice(["RGB"] * 8 + ["L", "CMYK"]))
    options: dict[str, Any] = {"quality": chance.choice([1, 30, 90, 100]), "progressive": chance.random() < 0.4}
    if image.mode == "RGB":
        options["subsampling"] = chance.randrange(3)
    data = bytearray(encoded(image, "JPEG", **options, restart_marker_blocks=chance.choice([0, 0, 1, 5])))
    for _ in range(chance.choice([0, 0, 1, 2, 9])):
        data[chance.choice([chance.randrange(len(data)), chance.randrange(min(700, len(data)))])] = chance.randrange(256)
    return bytes(data[: chance.choice([len(data), len(data), chance.randrange(len(data) + 1)])])


def once(chance: random.Random, module: Any) -> bool:
    """One comparison; whether there were planes."""
    data, shrink = file(chance), chance.choice([1, 1, 2, 4, 8])
    header = jpeg.read_header(data) if data else None
    if not header or header[0][0] * header[0][1] > 4_000_000 or jpeg.count_scans(data) > 100:
        return False
    jpeg._jpeg = module
    ours = jpeg.read_planes(data, *header, shrink)
    jpeg._jpeg = None
    theirs = jpeg.read_planes(data, *header, shrink)
    pairs = zip(*((one.y, one.cb, one.cr) for one in (ours, theirs) if one), strict=True)
    if (ours is None) != (theirs is None) or not all(len(two) < 2 or np.array_equal(*two) for two in pairs):
        raise SystemExit(f"differs: {header} at 1/{shrink}: {data.hex()}")
    return ours is not None


def misuse(chance: random.Random, module: Any) -> None:
    """Planes of any size for any file: filled, refused, or an exception, and nothing beside them is written."""
    planes = [memory(chance, *(chance.choice([1, 8, 16, 100, 600]) for _ in range(2)), 1) for _ in range(3)]
    with contextlib.suppress(ValueError, BufferError):
        module.decode(file(chance), chance.choice([0, 1, 2, 3, 4, 8]), *planes)


def main() -> None:
    """Run until the time is over."""
    module, until = loaded(sys.argv[1], "_jpeg"), time.monotonic() + float(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    if module.load(sys.argv[1]) or not module.load(str(_imaging.__file__)):
        raise SystemExit("this Pillow shows no libjpeg-turbo")
    chance, done = random.Random(seed), Counter[bool]()
    while time.monotonic() < until:
        done[once(chance, module)] += 1
        misuse(chance, module)
    print(f"no difference and no fault: {done[True]} files with planes, {done[False]} without")


if __name__ == "__main__":
    main()
