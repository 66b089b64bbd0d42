"""The perceptual hash: near for copies of an image, far for others, and never in need of a structure to be there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import EXAMPLES, batch_of, encoded, example, picture
from PIL import Image

from pairloom.batch import Pixels
from pairloom.steps.decode import Decode
from pairloom.steps.encode import Encode
from pairloom.steps.hash import ImageHash, distance
from pairloom.steps.image import Contain

NAMES = sorted(path.name for path in EXAMPLES.glob("*.[jp][pn]g") if not path.name.startswith(("bad", "duplicate", "gimp-zh")))[
    ::4
]


def pixels_of(name: str) -> Pixels:
    return Decode().image(example(name)).pixels


@pytest.mark.parametrize("name", NAMES)
def test_copies_are_near(name: str) -> None:
    pixels = pixels_of(name)
    first = ImageHash().image(pixels)
    height, width = pixels.shape[:2]
    half = np.array(Image.fromarray(pixels).resize((width * 2 // 3, height * 2 // 3), Image.Resampling.LANCZOS))
    again = Decode().image(encoded(half, "JPEG", quality=60)).pixels
    assert distance(first, ImageHash().image(again)) <= 6
    brighter = (pixels * 0.8 + 40).astype(np.uint8)
    assert distance(first, ImageHash().image(brighter)) <= 6


def test_different_images_are_far() -> None:
    hashes = [ImageHash().image(pixels_of(name)) for name in NAMES]
    apart = [distance(one, two) for one, two in itertools.combinations(hashes, 2)]
    assert len(NAMES) > 20 and min(apart) > 8 and 24 < np.mean(apart) < 40
    assert distance(ImageHash().image(pixels_of("duplicate-02-near.jpg")), ImageHash().image(picture())) > 12


def test_turned_and_mirrored_images_are_others() -> None:
    pixels = picture()
    for other in (pixels[::-1], pixels[:, ::-1], pixels.transpose(1, 0, 2)):
        assert distance(ImageHash().image(pixels), ImageHash().image(np.ascontiguousarray(other))) > 12


@given(st.tuples(st.integers(1, 70), st.integers(1, 70)), st.integers(0, 255))
def test_flat_images_of_any_size_have_the_empty_hash(size: tuple[int, int], level: int) -> None:
    assert ImageHash().image(np.full((*size, 3), level, np.uint8)) == "0" * 16


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_distance_counts_bits(one: int, two: int) -> None:
    assert distance(f"{one:016x}", f"{two:016x}") == bin(one ^ two).count("1") == distance(f"{two:016x}", f"{one:016x}")
    with pytest.raises(ValueError, match="invalid literal"):
        distance("no hash", "0")


def test_the_hash_is_stored_and_asks_for_few_pixels() -> None:
    data = encoded(picture(1600, 1200), "JPEG")
    bound = Decode().bind([ImageHash(), Contain(100), Encode()])
    less = bound(batch_of(data))
    assert less.pixels is not None and less.pixels[0].shape == (150, 200, 3)
    done = ImageHash()(less)
    assert done.pixels is not None and np.array_equal(done.pixels[0], less.pixels[0])
    [hashed] = done["phash"]
    assert len(hashed) == 16 and int(hashed, 16)
    assert distance(hashed, ImageHash().image(Decode().image(data).pixels)) <= 2
