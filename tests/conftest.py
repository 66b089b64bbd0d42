"""What many tests start from: a folder of real pairs, small enough to run whole in every test."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples" / "pairs"


def picture(width: int, height: int, seed: int = 0, format: str = "JPEG") -> bytes:
    """A smooth picture of that size, different for each seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (5, 7, 3), np.uint8))
    buffer = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(buffer, format)
    return buffer.getvalue()


def write_pairs(folder: Path, count: int, bad: tuple[int, ...] = ()) -> Path:
    """A folder of pairs whose texts differ; those in `bad` have an image that is none."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        data = b"<html>404</html>" if number in bad else picture(90 + number, 60 + 2 * number, number)
        (folder / f"pair-{number:03d}.jpg").write_bytes(data)
        (folder / f"pair-{number:03d}.txt").write_text(f"Picture number {number}. It shows colours.  They are smooth.\n", "utf-8")
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Ten pairs, two of which have no image that can be read."""
    return write_pairs(tmp_path / "pairs", 10, bad=(3, 7))


@pytest.fixture
def examples() -> Path:
    """The sample pairs that come with Pairloom, honest bad files among them."""
    return EXAMPLES


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is cached for the user must not come from, nor go to, the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
