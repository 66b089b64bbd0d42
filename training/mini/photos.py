"""A few openly licensed photographs, out of the GCompris learning games: they teach the image head's gate what a photograph is.

Their captions play no part, and they are no pairs. The games keep their pictures unpacked inside Qt resource files, where they
are found by the marks at their beginning.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from images import Pixels, view
from pairs import LONGEST, fetch_debian
from PIL import Image, UnidentifiedImageError

GAMES = ("explore_world_animals", "explore_farm_animals", "explore_monuments", "explore_world_music")
START = re.compile(rb"RIFF(....)WEBP|\xff\xd8\xff", re.DOTALL)
SMALLEST, CROPS = 150, 8


def photographs(cache: Path) -> Iterator[Pixels]:
    """The photographs, at most `LONGEST` pixels long."""
    folder = fetch_debian("gcompris-qt-data", cache) / "usr/share/gcompris-qt/rcc"
    for game in GAMES:
        data = (folder / f"{game}.rcc").read_bytes()
        for found in START.finditer(data):
            try:
                with Image.open(io.BytesIO(data[found.start() :])) as image:
                    pixels = image.convert("RGB")
            except (UnidentifiedImageError, OSError):
                continue
            if min(pixels.size) > SMALLEST:
                pixels.thumbnail((LONGEST, LONGEST))
                yield np.array(pixels)


def photo_views(cache: Path, seed: int = 0) -> list[Pixels]:
    """Eight views of each: as a whole, and crops."""
    views = []
    for number, pixels in enumerate(photographs(cache)):
        views += [view(pixels, "buckets" if crop % 4 else "squash", crop, seed + number) for crop in range(CROPS)]
    return views
