"""Geometry steps, drawing, encoding: where pixels go, that they go there, and that nothing grows without being told to."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from images import EXAMPLES, batch_of, encoded, picture, psnr
from pydantic import ValidationError

from pairloom.errors import Reject
from pairloom.geometry import Geometry
from pairloom.recipe import Recipe
from pairloom.step import STEPS
from pairloom.steps.decode import Decode
from pairloom.steps.encode import Encode
from pairloom.steps.image import (
    BrightnessContrast,
    CenterCrop,
    Contain,
    GeometryStep,
    Letterbox,
    NativePatches,
    RandomCrop,
    Stretch,
    TokenRatio,
    draw,
)
from pairloom.steps.processor import AnyRes, SmartResize

GEOMETRIES: list[GeometryStep] = [
    Contain(),
    Contain(longest=300, upscale=True),
    Letterbox(),
    Letterbox(size=33, upscale=False),
    Stretch(),
    CenterCrop(),
    RandomCrop(min_area=0.3),
    NativePatches(),
    NativePatches(patch=14, max_patches=100, upscale=True),
    NativePatches(max_patches=1),
    SmartResize(),
    SmartResize(factor=32, min_pixels=70_000, max_pixels=90_000),
    AnyRes(),
    AnyRes(canvases=((96, 64),), fill="edge"),
]
KEEP_RATIO = (Contain, Letterbox, CenterCrop, RandomCrop)
sides = st.integers(1, 20_000)


def named(step: GeometryStep) -> str:
    return repr(step)


def test_every_geometry_step_is_tested_here() -> None:
    assert {type(step) for step in GEOMETRIES} == {kind for kind in STEPS.values() if issubclass(kind, GeometryStep)}


@pytest.mark.parametrize("step", GEOMETRIES, ids=named)
@given(width=sides, height=sides, key=st.text("0123456789", max_size=8), x=st.floats(0, 1), y=st.floats(0, 1))
def test_any_size_gives_a_sound_geometry(step: GeometryStep, width: int, height: int, key: str, x: float, y: float) -> None:
    assume(not isinstance(step, SmartResize) or max(width, height) <= 200 * min(width, height))
    made = step.geometry(width, height, key)
    assert (made.source_width, made.source_height) == (width, height)
    left, top, right, bottom = made.crop
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    left, top, right, bottom = made.box
    assert 0 <= left < right <= made.width and 0 <= top < bottom <= made.height
    assert all(side == round(side) for side in made.box)
    assert made.to_source(*made.to_canvas(x * width, y * height)) == pytest.approx(
        (x * width, y * height), abs=1e-6 * (width + height)
    )
    assert 0 <= made.lost < 1 and 0 <= made.padded < 1 and made.distortion >= 1
    needs = step.needs(width, height)
    assert needs and 1 <= needs[0] <= width and 1 <= needs[1] <= height
    crop = made.crop  # what is needed of the whole image is no less than what the crop shows on the canvas, unless enlarged
    assert needs[0] >= min(width, math.floor((made.box[2] - made.box[0]) * width / (crop[2] - crop[0]) - 1e-6))
    if isinstance(step, KEEP_RATIO):
        shown = min(made.box[2] - made.box[0], made.box[3] - made.box[1])
        assert shown == 1 or made.distortion <= 1 + 1 / shown  # whole pixels, nothing more


@given(width=sides, height=sides)
def test_nothing_grows_without_upscale(width: int, height: int) -> None:
    for step in (Contain(), Letterbox(upscale=False)):
        assert max(step.geometry(width, height).scale) <= 1 or 1 in (width, height)
    made = NativePatches().geometry(width, height)
    assert made.width <= max(16, width) and made.height <= max(16, height)
    assert NativePatches().geometry(5, 9).width == NativePatches().geometry(5, 9).height == 16


def siglip2(height: int, width: int, patch: int, most: int) -> tuple[int, int]:
    """`get_image_size_for_max_num_patches` of transformers (Apache-2.0), as Siglip2ImageProcessor uses it."""
    eps = 1e-5

    def scaled(scale: float, size: int) -> int:
        return max(patch, math.ceil(size * scale / patch) * patch)

    low, high = eps / 10, 100.0
    while (high - low) >= eps:
        scale = (low + high) / 2
        if (scaled(scale, height) / patch) * (scaled(scale, width) / patch) <= most:
            low = scale
        else:
            high = scale
    return scaled(low, height), scaled(low, width)


@given(width=sides, height=sides, patch=st.sampled_from([14, 16, 32]), most=st.integers(1, 2000))
def test_native_patches_are_those_of_siglip2(width: int, height: int, patch: int, most: int) -> None:
    full = NativePatches(patch=patch, max_patches=most, upscale=True).geometry(width, height)
    assert (full.height, full.width) == siglip2(height, width, patch, most)
    ours = NativePatches(patch=patch, max_patches=most).geometry(width, height)
    assert ours.width % patch == ours.height % patch == 0
    assert ours.width * ours.height <= most * patch**2
    if min(width, height) >= 2 * patch and min(full.scale) < 1 and full.width + patch <= width and full.height + patch <= height:
        assert (ours.width, ours.height) == (full.width, full.height)  # so that the processor leaves it as it is
        assert siglip2(ours.height, ours.width, patch, most) == (ours.height, ours.width)


@given(width=sides, height=sides, key=st.text(max_size=8), seed=st.integers(0, 9))
def test_random_crop_depends_on_key_and_seed_alone(width: int, height: int, key: str, seed: int) -> None:
    step = RandomCrop(size=64, min_area=0.25, seed=seed)
    first = step.geometry(width, height, key)
    step.geometry(1234, 987, "another")
    assert step.geometry(width, height, key) == first
    places = {RandomCrop(min_area=0.25, seed=other).geometry(1000, 500, key).crop for other in range(5)}
    assert len(places) == 5
    assert 1 - first.lost >= 0.25 * min(width, height) / max(width, height) - 1e-9


def test_padding_is_exact_and_the_image_lies_where_the_geometry_says() -> None:
    step = Letterbox(size=100, fill=(1, 2, 3))
    white = np.full((50, 200, 3), 255, np.uint8)
    done = step.image(white)
    left, top, right, bottom = (int(side) for side in step.geometry(200, 50).box)
    assert (left, top, right, bottom) == (0, 37, 100, 62)
    assert (done[top:bottom] == 255).all()
    assert (done[:top] == (1, 2, 3)).all() and (done[bottom:] == (1, 2, 3)).all()
    assert (Letterbox(size=100, fill="edge").image(white) == 255).all()
    assert Letterbox(size=100).image(white)[0, 0].tolist() == [122, 116, 104]


@pytest.mark.parametrize("step", GEOMETRIES, ids=named)
@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (1, 1), (3, 7)])
def test_extreme_ratios_are_drawn(step: GeometryStep, size: tuple[int, int]) -> None:
    grey = np.full((size[1], size[0], 3), 77, np.uint8)
    if isinstance(step, SmartResize) and size[0] * size[1] == 20_000:
        with pytest.raises(Reject, match="more than 200 times as long as wide"):
            step.image(grey)
        return
    made = step.geometry(*size)
    done = step.image(grey)
    assert done.shape == (made.height, made.width, 3)
    left, top, right, bottom = (int(side) for side in made.box)
    assert (done[top:bottom, left:right] == 77).all()


def test_a_huge_canvas_is_refused_before_it_is_made() -> None:
    for step in (
        Letterbox(size=65_000),
        Contain(longest=65_000, upscale=True),
        NativePatches(patch=512, max_patches=4096, upscale=True),
    ):
        with pytest.raises(Reject, match="too_many_pixels"):
            step.image(picture(100, 90))


@pytest.mark.parametrize(
    "step", [Contain(96), Letterbox(size=96), CenterCrop(size=80), NativePatches(max_patches=30), RandomCrop(80)]
)
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_drawing_from_a_scaled_decode_looks_the_same(step: GeometryStep, format: str) -> None:
    for width, height in ((1601, 1203), (999, 777), (640, 481)):
        data = encoded(picture(width, height), format)
        less, full = Decode().bind([step, Encode()]).image(data), Decode().image(data)  # type: ignore[attr-defined]
        made = step.geometry(width, height, "key")
        assert less.pixels.size < full.pixels.size / 3
        assert psnr(draw(less.pixels, made), draw(full.pixels, made)) > 40


@pytest.mark.parametrize("name", ["gimp-en-10-taj-orig.jpg", "handbook-zh-05-package-lifecycle.png"])
def test_so_do_real_photos_and_diagrams(name: str) -> None:
    data = (EXAMPLES / name).read_bytes()
    full = Decode().image(data)
    step = Letterbox(size=max(full.width, full.height) // 3 - 1)
    less = Decode().bind([step]).image(data)  # type: ignore[attr-defined]
    assert less.pixels.size < full.pixels.size / 3
    assert psnr(step.image(full.pixels), draw(less.pixels, step.geometry(full.width, full.height))) > 36


def test_columns_follow_the_pixels_through_two_steps() -> None:
    batch = Decode()(batch_of(encoded(picture(400, 200)), encoded(picture(30, 90))))
    batch = CenterCrop(size=60)(Letterbox(size=100, upscale=False)(batch))
    assert batch["width"] == batch["height"] == [60, 60]
    assert batch["original_width"] == [400, 30]
    assert [pixels.shape for pixels in batch.pixels or ()] == [(60, 60, 3)] * 2
    cell = batch["geometry"][0]
    assert cell["crop"] == [0, 0, 400, 200] and cell["box"] == [0, 15, 60, 45] and cell["padded"] == 0.5


def test_a_crop_of_nothing_but_padding_is_a_reject() -> None:
    batch = Decode()(batch_of(encoded(picture(4, 400)), encoded(picture(40, 40))))
    batch = Letterbox(size=64, upscale=False)(batch)
    corner = RandomCrop(
        size=8, min_area=0.01, seed=next(s for s in range(99) if RandomCrop(8, 0.01, s).geometry(64, 64, "00000000").crop[2] < 30)
    )
    done = corner(batch)
    assert done["reject"][0]["code"] == "nothing_left"
    assert done["width"][0] == 64 and len(done) == 2


@pytest.mark.parametrize("format", ["jpeg", "webp", "png"])
def test_encode_gives_upright_plain_files(format: str) -> None:
    pixels = picture()
    step = Encode(format=format)  # type: ignore[arg-type]
    data = step.image(pixels)
    assert step.image(pixels[::-1][::-1]) == data  # a view is as good as a copy
    back = Decode().image(data)
    assert psnr(back.pixels, pixels) > 28 and back.format == format and back.orientation == 1
    with pytest.raises(Reject, match="not_encodable"):
        Encode(format="webp").image(np.zeros((1, 17_000, 3), np.uint8))
    with pytest.raises(Reject, match="not_encodable"):
        Encode(format="jpeg").image(np.zeros((1, 66_000, 3), np.uint8))


def test_brightness_and_contrast_stay_near_and_depend_on_the_key() -> None:
    pixels, step = picture(), BrightnessContrast(brightness=0.2, contrast=0.2)
    one, two = step.image(pixels, "1"), step.image(pixels, "2")
    assert np.array_equal(one, step.image(pixels, "1")) and not np.array_equal(one, two)
    assert psnr(one, pixels) > 12
    assert np.array_equal(BrightnessContrast(0, 0).image(pixels, "1"), pixels)
    scaled = Decode().bind([step, Contain(30)]).image(encoded(pixels))  # type: ignore[attr-defined]
    assert scaled.pixels.shape == (60, 80, 3)


def test_token_ratio_counts_patches_and_marks() -> None:
    batch = Decode()(batch_of(encoded(picture(33, 16)), encoded(picture(16, 16))))
    done = TokenRatio()(batch.with_columns({"tokens_kept": pa.int32()}, tokens_kept=[4, None]))
    assert done["image_tokens"] == [3, 1]
    assert done["token_ratio"] == [0.5, 0.5]
    assert done.table.schema.field("image_tokens").type == pa.int32()
    assert done.table.schema.field("token_ratio").type == pa.float32()
    assert TokenRatio().needs(100, 100) is None


def test_what_speaks_of_the_size_stands_after_the_geometry() -> None:
    assert Contain().problems({"tiles", "width"}) and Contain().problems({"image_tokens"}) and not Contain().problems({"width"})
    with pytest.raises(Exception, match="put `tiles` after it"):
        Recipe.from_yaml("steps: [decode, tiles, contain, encode]")


@settings(max_examples=20)
@given(level=st.sampled_from([-1, 256, 1000]))
def test_colours_outside_a_byte_are_refused(level: int) -> None:
    for make in (lambda: Letterbox(fill=(0, 0, level)), lambda: Decode(background=(level, 0, 0))):
        with pytest.raises(ValidationError):
            make()


def test_a_scaled_decode_of_odd_size_is_not_stretched() -> None:
    """1001 columns at a half are 501, of which the last is half beyond the edge: a line must stay where it was."""
    pixels = np.zeros((1001, 1001, 3), np.uint8)
    pixels[:, 990:994] = 255
    less = Decode().bind([Contain(250)]).image(encoded(pixels)).pixels  # type: ignore[attr-defined]
    assert less.shape == (501, 501, 3)
    made = Geometry.resize((1001, 1001), (1001, 1001))
    centre = (draw(less, made)[500, :, 0].astype(float) * np.arange(1001)).sum() / draw(less, made)[500, :, 0].sum()
    assert centre == pytest.approx(991.5, abs=0.15)
