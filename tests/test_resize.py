"""The resize: byte for byte Pillow's, on every kernel that this machine has, whatever the shape, the box and the memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import picture
from PIL import Image

from pairloom import resize as module
from pairloom.batch import Pixels
from pairloom.resize import KERNEL, Box, Interpolation, resize

FILTERS: list[Interpolation] = ["box", "bilinear", "hamming", "bicubic", "lanczos"]
KERNELS = ["pillow", *(module._resize.kernels() if module._resize else ())]
sides = st.integers(1, 200)


@pytest.fixture(autouse=True, scope="module", params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> object:
    """Each test runs on each kernel: the compiled ones by name, and Pillow as where no compiler was."""
    compiled, name = module._resize, request.param

    class Named:
        @staticmethod
        def resize(source: Pixels, target: Pixels, box: Box, interpolation: str) -> None:
            assert compiled
            compiled.resize(source, target, box, interpolation, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_resize", None if name == "pillow" else Named)
        yield name


def by_pillow(pixels: Pixels, size: tuple[int, int], box: Box | None, interpolation: Interpolation) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling[interpolation.upper()], box))


def noise(width: int, height: int, seed: int, hard: bool = False) -> Pixels:
    """Random pixels, or only black and full ones, so that sums go beyond a byte."""
    drawn = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return (drawn // 128 * 255).astype(np.uint8) if hard else drawn


def part(low: float, high: float, whole: int) -> tuple[float, float]:
    """Two fractions as a stretch of `whole` pixels that isn't empty."""
    start, end = sorted((low * whole, high * whole))
    return (start, end) if end - start > 1e-3 else (0.0, float(whole))


def test_the_kernel_has_a_name() -> None:
    assert KERNEL in ("vnni", "avx2", "portable", "pillow")


@settings(max_examples=150)
@given(
    width=sides, height=sides, size=st.tuples(sides, sides), corners=st.none() | st.tuples(*[st.floats(0, 1)] * 4),
    interpolation=st.sampled_from(FILTERS), seed=st.integers(0, 9), hard=st.booleans(),
)  # fmt: skip
def test_any_size_and_box_is_pillows(
    width: int,
    height: int,
    size: tuple[int, int],
    corners: tuple[float, ...] | None,
    interpolation: Interpolation,
    seed: int,
    hard: bool,
) -> None:
    pixels = noise(width, height, seed, hard)
    box = None
    if corners:
        (left, right), (top, bottom) = part(corners[0], corners[1], width), part(corners[2], corners[3], height)
        box = (left, top, right, bottom)
    assert np.array_equal(resize(pixels, size, box, interpolation), by_pillow(pixels, size, box, interpolation))


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (1, 20_000, (1, 512)), (20_000, 1, (512, 1)), (20_000, 1, (1, 20_000)), (1, 1, (300, 200)), (3000, 2000, (512, 341)),
        (600, 1500, (205, 512)), (2, 3000, (300, 2)), (1050, 780, (512, 380)), (97, 61, (97, 61)), (640, 480, (640, 100)),
        (640, 480, (90, 480)),
    ],
)  # fmt: skip
def test_large_and_odd_sizes_are_pillows(width: int, height: int, size: tuple[int, int], interpolation: Interpolation) -> None:
    pixels = noise(width, height, 1, hard=True)
    assert np.array_equal(resize(pixels, size, None, interpolation), by_pillow(pixels, size, None, interpolation))


def test_boxes_at_the_edges_and_of_whole_pixels() -> None:
    pixels = noise(50, 40, 2)
    for box in [(49.9, 39.9, 50, 40), (0, 0, 0.1, 0.1), (10, 5, 30, 25), (10.5, 5, 30.5, 25), (0, 0, 50, 39.5)]:
        for size in [(20, 20), (7, 90)]:
            assert np.array_equal(resize(pixels, size, box), by_pillow(pixels, size, box, "bicubic"))
    assert np.array_equal(resize(pixels, (20, 20), (10, 5, 30, 25)), pixels[5:25, 10:30])


@pytest.mark.parametrize(
    "view", ["rows", "columns", "backwards", "mirrored", "turned", "repeated", "channels"]
)  # fmt: skip
def test_any_memory_can_be_read(view: str) -> None:
    whole = picture(120, 90)
    views = {
        "rows": whole[::2], "columns": whole[:, 10:70], "backwards": whole[::-1], "mirrored": whole[:, ::-1],
        "turned": whole.transpose(1, 0, 2), "repeated": np.broadcast_to(whole[:1], whole.shape), "channels": whole[..., ::-1],
    }  # fmt: skip
    pixels = views[view]
    pixels.flags.writeable = False
    assert np.array_equal(resize(pixels, (40, 30)), by_pillow(np.ascontiguousarray(pixels), (40, 30), None, "bicubic"))


def test_it_is_drawn_into_a_canvas_and_nowhere_else() -> None:
    pixels = picture(120, 90)
    canvas = np.full((64, 64, 3), 9, np.uint8)
    into = canvas[8:56, 3:61]
    assert resize(pixels, (58, 48), out=into) is into
    assert np.array_equal(into, resize(pixels, (58, 48)))
    into[:] = 9
    assert (canvas == 9).all()
    resize(pixels, (58, 48), out=into[::-1])
    resize(pixels, (48, 58), out=np.empty((48, 58, 3), np.uint8).transpose(1, 0, 2))
    assert np.array_equal(into[::-1], resize(pixels, (58, 48)))


def test_it_may_be_drawn_into_its_own_source() -> None:
    pixels = picture(120, 90)
    expected = resize(pixels, (60, 45))
    resize(pixels, (60, 45), out=pixels[:45, :60])
    assert np.array_equal(pixels[:45, :60], expected)


def test_what_cannot_be_used_is_refused() -> None:
    good = picture(20, 10)
    for bad in (
        good[..., :1],
        good[0, 0],
        good.astype(np.float32),
        good.astype(np.int8),
        good[:0],
        np.zeros((4, 4, 4), np.uint8),
    ):
        with pytest.raises(ValueError, match="must be uint8"):
            resize(bad, (5, 5))
        with pytest.raises(ValueError, match="must be"):
            resize(good, (5, 5), out=bad)
    nan = float("nan")
    for box in [
        (0, 0, 21, 10),
        (-1, 0, 5, 5),
        (5, 5, 5, 6),
        (6, 5, 5, 6),
        (0, 0, nan, 5),
        (nan, 0, 5, 5),
        (0, 0, 5, float("inf")),
    ]:
        with pytest.raises(ValueError, match="box"):
            resize(good, (5, 5), box)
    with pytest.raises(ValueError, match="no pixels"):
        resize(good, (0, 5))
    with pytest.raises(ValueError, match="none of box"):
        resize(good, (5, 5), interpolation="nearest")  # type: ignore[arg-type]
    frozen = np.zeros((5, 5, 3), np.uint8)
    frozen.flags.writeable = False
    for out in (frozen, np.zeros((5, 6, 3), np.uint8)):
        with pytest.raises(ValueError, match="writeable and of size"):
            resize(good, (5, 5), out=out)


@pytest.mark.skipif(module._resize is None, reason="not compiled")
def test_the_compiled_module_checks_for_itself() -> None:
    from pairloom import _resize

    good, out, box = picture(20, 10), np.zeros((5, 5, 3), np.uint8), (0.0, 0.0, 20.0, 10.0)
    for source, target, where, name in [
        (good[..., :2], out, box, "bicubic"), (good[:, ::2], out, box, "bicubic"), (good[:0], out, box, "bicubic"),
        (good.astype(np.int16), out, box, "bicubic"), (good, out.transpose(1, 0, 2), box, "bicubic"), (good, out, box, "nearest"),
        (good, out, (0.0, 0.0, 21.0, 10.0), "bicubic"), (good, out, (0.0, float("nan"), 20.0, 10.0), "bicubic"),
    ]:  # fmt: skip
        with pytest.raises(ValueError):
            _resize.resize(source, target, where, name)
    with pytest.raises(ValueError, match="no kernel"):
        _resize.resize(good, out, box, "bicubic", "abacus")
    with pytest.raises((BufferError, ValueError)):
        _resize.resize(good, np.broadcast_to(out[:1], out.shape), box, "bicubic")  # read-only
