"""The planes of a JPEG: the same from both libraries, drawn and encoded as well as RGB, and never where they don't belong."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from images import EXAMPLES, batch_of, encoded, example, picture, psnr
from PIL import Image, ImageCms
from test_decode import jpegs

from pairloom.batch import Batch, Pixels
from pairloom.drawing import draw
from pairloom.errors import Reject
from pairloom.geometry import Geometry
from pairloom.planes import Ahead, Planes, rgb, to_ycc
from pairloom.recipe import Recipe
from pairloom.resize import halve, resize, to_rgb
from pairloom.run import run_steps
from pairloom.stats import StepCount
from pairloom.step import Step, lift, threads
from pairloom.steps import image, jpeg
from pairloom.steps.decode import Decode
from pairloom.steps.encode import Encode
from pairloom.steps.image import BrightnessContrast, CenterCrop, Contain, Letterbox, Stretch

compiled = pytest.mark.skipif(jpeg._jpeg is None, reason="installed without a compiler")


@pytest.fixture(params=["compiled", "pure"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With what is compiled, and without."""
    if request.param == "pure":
        monkeypatch.setattr("pairloom.resize._resize", None)
        monkeypatch.setattr("pairloom.steps.jpeg._jpeg", None)
    return str(request.param)


def planes_of(data: bytes, shrink: int = 1) -> Planes | None:
    header = jpeg.read_header(data)
    return jpeg.read_planes(data, *header, shrink) if header else None


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def same(one: Planes, other: Planes) -> bool:
    return all(map(np.array_equal, (one.y, one.cb, one.cr), (other.y, other.cb, other.cr)))


def odd_markers(data: bytes) -> Iterator[bytes]:
    """The same JPEG with markers before its header that say something about colours, or nothing."""
    yield data[:2] + b"\xff\xff\xff" + data[2:]  # fillers
    yield data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\1" + data[2:]
    yield data[:2] + b"\xff\xe0\0\x04no" + data[2:]
    frame = data.index(b"\xff\xc0")
    bare = data[:2] + data[data.index(b"\xff\xdb") :]  # without JFIF
    yield bare
    yield bare[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + bare[2:]  # RGB
    yield data[:frame] + b"\xff\x01" + data[frame:]
    letters = bytearray(bare)
    for place, letter in zip((10, 13, 16), b"RGB", strict=True):
        letters[bare.index(b"\xff\xc0") + place] = letter
    yield bytes(letters)


@compiled
@pytest.mark.parametrize("shrink", [1, 2, 4, 8])
def test_both_libraries_give_the_same_planes_or_none(shrink: int, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [data for _, data in jpegs()]
    files += [
        encoded(picture(width, height), "JPEG", quality=90, subsampling=sub, progressive=width % 2 == 0)
        for width, height in ((1, 1), (2, 3), (7, 9), (16, 16), (17, 33), (255, 1), (1, 255), (301, 299))
        for sub in (0, 1, 2)
    ]
    files += odd_markers(encoded(picture(), "JPEG", subsampling="4:2:0"))
    ours = [planes_of(data, shrink) for data in files]
    monkeypatch.setattr(jpeg, "_jpeg", None)
    theirs = [planes_of(data, shrink) for data in files]
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        assert one is None or (other is not None and same(one, other))
    assert {one is None for one in ours} == {True, False}


def test_planes_show_what_the_pixels_do(either: str) -> None:
    for sub, least in ((0, float("inf")), (1, 38), (2, 36)):
        data = encoded(picture(161, 119), "JPEG", quality=95, subsampling=sub)
        planes = planes_of(data)
        assert planes and planes.shape == (119, 161, 3)
        # libjpeg smooths colours by another filter: where they need not be enlarged, every value is the same
        assert psnr(planes.rgb(), simplejpeg.decode_jpeg(data)) >= least


def test_grey_cmyk_and_rare_samplings_have_no_planes() -> None:
    shown = Image.fromarray(picture())
    assert planes_of(encoded(shown.convert("L"), "JPEG")) is None
    assert planes_of(encoded(shown.convert("CMYK"), "JPEG")) is None
    rare = bytearray(encoded(shown, "JPEG", subsampling=0))
    rare[rare.index(b"\xff\xc0") + 11] = 0x12  # 4:4:0
    assert planes_of(bytes(rare)) is None


@settings(max_examples=60)
@given(width=st.integers(1, 70), height=st.integers(1, 70), seed=st.integers(0, 99))
def test_what_is_compiled_gives_the_same_as_numpy(width: int, height: int, seed: int) -> None:
    wide = [noise(height, width + 3, seed + number)[:, :width] for number in range(3)]
    with_c = to_rgb(*wide), halve(wide[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pairloom.resize._resize", None)
        without = to_rgb(*wide), halve(wide[0])
    assert all(map(np.array_equal, with_c, without))
    assert with_c[1].shape == (-(-height // 2), -(-width // 2))


def test_every_colour_and_every_mean_is_right(either: str) -> None:
    light, blue = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    for red in range(0, 256, 5):
        shown = to_rgb(light, blue, np.full_like(light, red)).astype(float)
        b, r = blue.astype(float) - 128, red - 128.0
        exact = np.stack([light + 1.402 * r, light - 0.344136 * b - 0.714136 * r, light + 1.772 * b], 2).clip(0, 255)
        assert np.abs(shown - exact).max() <= 0.51
    plane = noise(9, 13)
    even = np.pad(plane, ((0, 1), (0, 1)), "edge").reshape(5, 2, 7, 2).mean((1, 3))
    assert np.abs(halve(plane) - even).max() <= 0.5
    assert halve(np.array([[1, 2, 1, 2], [1, 2, 1, 2]], np.uint8)).tolist() == [[1, 2]]  # halves go down and up in turn


@settings(max_examples=60)
@given(
    width=st.integers(1, 120), height=st.integers(1, 120), size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    filter=st.sampled_from(["box", "bilinear", "hamming", "bicubic", "lanczos"]), seed=st.integers(0, 9),
)  # fmt: skip
def test_a_plane_is_resized_as_a_channel_of_rgb(width: int, height: int, size: tuple[int, int], filter: Any, seed: int) -> None:
    plane = noise(height, width, seed)
    box = (0.25, 0.0, float(width), height - 0.5)
    canvas = np.zeros((size[1] + 2, size[0] + 3), np.uint8)
    resize(plane, size, box, filter, canvas[1:-1, 1:-2])
    assert np.array_equal(canvas[1:-1, 1:-2], resize(np.dstack([plane] * 3), size, box, filter)[..., 0])
    assert not canvas[0].any() and not canvas[-1].any() and not canvas[:, 0].any() and not canvas[:, -2:].any()


def test_a_resize_that_is_asked_for_again_and_by_many_threads_is_the_same() -> None:
    sizes = [(40, 30), (31, 17), (40, 30), (8, 200)] * 8
    pixels = noise(97, 143)
    alone = [resize(pixels, size) for size in sizes]
    with threads(4):
        together, rejects = lift(lambda size: resize(pixels, size), sizes)
    assert not rejects and all(map(np.array_equal, alone, together))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "step", [Letterbox(300), Letterbox(333, upscale=False), Contain(77), Stretch(64), CenterCrop(99)], ids=repr
)
@pytest.mark.parametrize("sub", [0, 1, 2])
def test_drawn_planes_are_as_good_as_drawn_pixels(step: Any, sub: int, either: str) -> None:
    source = picture(401, 299)
    data = encoded(source, "JPEG", quality=95, subsampling=sub)
    decoded = Decode().bind([step, Encode()]).image(data)  # type: ignore[attr-defined]
    assert isinstance(decoded.picture, Planes)
    geometry = step.geometry(401, 299)
    drawn, target = draw(decoded.picture, geometry, step.fill), draw(source, geometry, step.fill)
    shown = rgb(drawn)
    assert shown.shape == (geometry.height, geometry.width, 3)
    object.__setattr__(step, "takes_planes", False)
    by_pixels = draw(Decode().bind([step]).image(data).pixels, geometry, step.fill)  # type: ignore[attr-defined]
    object.__delattr__(step, "takes_planes")
    assert psnr(shown, target) > min(49, psnr(by_pixels, target) - 1.6)  # levels are rounded twice
    stored = Encode().image(drawn)
    assert simplejpeg.decode_jpeg_header(stored) == (geometry.height, geometry.width, "YCbCr", "420")
    ours, theirs = (simplejpeg.decode_jpeg(file) for file in (stored, Encode().image(by_pixels)))
    assert psnr(ours, target) > psnr(theirs, target) - 0.3


@pytest.mark.parametrize("fill", ["mean", "black", "white", "edge", (10, 200, 30)])
def test_padding_has_its_colour_and_the_edge_goes_on(fill: Any) -> None:
    step = Letterbox(80, fill=fill)
    data = encoded(picture(160, 80), "JPEG", quality=95)
    planes = Decode().bind([step, Encode()]).image(data).picture  # type: ignore[attr-defined]
    shown = rgb(step.image(planes)).astype(int)
    expected = shown[20] if fill == "edge" else np.array({"mean": (122, 116, 104), "black": 0, "white": 255}.get(fill, fill))
    assert np.abs(shown[:20] - expected).max() <= 1
    assert to_ycc((255, 255, 255)) == (255, 128, 128) and to_ycc((0, 0, 0)) == (0, 128, 128)


def test_what_is_not_changed_keeps_its_planes() -> None:
    """Decoded and encoded without a resize, colours are neither enlarged nor made smaller."""
    data = encoded(picture(160, 121), "JPEG", quality=95, subsampling="4:2:0")
    for steps in ([Encode()], [Contain(512), Encode()]):
        planes = Decode().bind(steps).image(data).picture  # type: ignore[attr-defined]
        kept = steps[0].image(planes) if len(steps) > 1 else planes  # type: ignore[attr-defined]
        assert kept is planes and planes.cb.shape == (61, 80)
        back = planes_of(Encode(quality=100).image(planes))
        assert back and np.abs(back.cb.astype(int) - planes.cb).max() <= 3


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 1), (2, 2), (3, 5), (16, 17), (33, 32), (1, 300), (151, 1)])
def test_any_size_is_encoded_and_nothing_beside_it_is_read(height: int, width: int) -> None:
    made = []
    for beside in (0, 255):  # what lies around each plane in memory
        room = [np.full((height + 9, width + 9), beside, np.uint8) for _ in range(3)]
        for number, plane in enumerate(room):
            plane[3 : 3 + height, 2 : 2 + width] = noise(height, width, number) // 4 + 90
        made.append(Encode().image(Planes(*(plane[3 : 3 + height, 2 : 2 + width] for plane in room))))
    assert made[0] == made[1]
    back = planes_of(made[0]) or pytest.fail("no planes")
    assert back.y.shape == (height, width)
    assert np.abs(back.y.astype(int) - (noise(height, width, 0) // 4 + 90)).max() < 25


def test_pixels_turned_by_exif_and_colours_of_a_profile_stay_pixels() -> None:
    exif, wide = Image.Exif(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif[0x0112] = 6
    bound: Any = Decode().bind([Contain(100), Encode()])
    assert isinstance(bound.image(encoded(picture(), "JPEG", exif=exif)).picture, np.ndarray)
    assert isinstance(bound.image(encoded(picture(), "JPEG", icc_profile=wide)).picture, Planes)  # sRGB changes nothing
    swapped = bytearray(wide)
    red, blue = wide.index(b"rXYZ"), wide.index(b"bXYZ")
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    assert isinstance(bound.image(encoded(picture(), "JPEG", icc_profile=bytes(swapped))).picture, np.ndarray)
    assert isinstance(bound.image(encoded(picture(), "PNG")).picture, np.ndarray)
    for steps in ([BrightnessContrast(), Contain(100)], [Encode(format="png")], []):
        assert isinstance(Decode().bind(steps).image(encoded(picture(), "JPEG")).picture, np.ndarray)  # type: ignore[attr-defined]


FILES = [
    *(path.read_bytes() for path in sorted(EXAMPLES.glob("*"))[:60] if path.suffix in (".jpg", ".png", ".webp")),
    encoded(picture(300, 201), "JPEG"), encoded(picture(5, 900), "JPEG"), encoded(picture(64, 64), "PNG"), b"rotten",
]  # fmt: skip
LINES = [
    "decode, {letterbox: {size: 96}}, encode",
    "decode, {contain: {longest: 101}}, token_ratio, encode",
    "decode, {contain: {longest: 300}}, {letterbox: {size: 64, fill: edge}}, {encode: {format: webp}}",
    "decode, {random_crop: {size: 50}}, image_hash, encode",
    "decode, {letterbox: {size: 60}}, brightness_contrast, encode",
    "decode, {native_patches: {max_patches: 30}}, {encode: {format: png}}",
    "decode, image_hash, {contain: {longest: 90}}, encode",
    "decode, encode",
]


def through(line: str, files: list[bytes]) -> Batch:
    """What the steps make of files; `token_ratio` gets what it needs."""
    batch = batch_of(*files).with_columns({"tokens_kept": pa.int32()}, tokens_kept=[3] * len(files))
    steps = Recipe.from_yaml(f"steps: [{line.replace('token_ratio, ', '')}]").bound()
    if "token_ratio" in line:
        steps = (*steps[:-1], image.TokenRatio(), steps[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run_steps(steps, batch, [StepCount(step.name) for step in steps], lambda bad, name: None)


@pytest.mark.parametrize("line", LINES)
def test_made_ahead_or_in_its_turn_all_is_the_same(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = through(line, FILES)
    with threads(3):
        many = through(line, FILES)
    for kind in (image.GeometryStep, Encode):
        monkeypatch.setattr(kind, "ahead", Step.ahead)
    in_turn = through(line, FILES)
    assert 20 < len(ahead) < len(FILES) and ahead.table.equals(in_turn.table) and ahead.table.equals(many.table)
    assert ahead.pictures is None and in_turn.pictures is None


@pytest.mark.parametrize("line", [LINES[0], LINES[1], LINES[3]])
def test_a_package_without_its_compiled_parts_gives_the_same_bytes(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = through(line, FILES)
    monkeypatch.setattr("pairloom.resize._resize", None)
    monkeypatch.setattr("pairloom.steps.jpeg._jpeg", None)
    assert compiled.table.equals(through(line, FILES).table)


def test_who_looks_sees_pixels_whatever_flows() -> None:
    data = encoded(picture(200, 120), "JPEG", quality=95)
    steps = Recipe.from_yaml("steps: [decode, {letterbox: {size: 96}}, encode]").bound()
    decoded = steps[0](batch_of(data, encoded(picture(50, 50), "PNG")))
    assert decoded.pictures and all(isinstance(one, Ahead) and isinstance(one.made, bytes) for one in decoded.pictures)
    drawn = steps[1](decoded)
    target = draw(picture(200, 120), Letterbox(96).geometry(200, 120))
    for batch in (decoded, drawn, decoded.take([0])):
        assert batch.pixels and batch.pixels[0].shape == (96, 96, 3) and psnr(batch.pixels[0], target) > 28
    assert drawn["width"] == [96, 96] and drawn["geometry"][0]["padded"] == pytest.approx(0.396, abs=0.01)
    assert steps[2](drawn)["image"] == [one.made for one in decoded.pictures]  # type: ignore[union-attr]


class Mirrored(Letterbox):
    """A step of others that does more than draw."""

    def __call__(self, batch: Batch) -> Batch:
        return super().__call__(batch.with_pixels([pixels[:, ::-1] for pixels in batch.pixels or ()]))


def test_a_step_that_does_more_than_draw_is_left_its_turn() -> None:
    data = encoded(picture(200, 120), "JPEG", quality=95)
    step = Mirrored(96)
    batch = Decode().bind([step, Encode()])(batch_of(data))
    assert batch.pictures and not isinstance(batch.pictures[0], Ahead)
    shown = step(batch).pixels
    assert shown and psnr(shown[0], draw(picture(200, 120)[:, ::-1], Letterbox(96).geometry(200, 120))) > 28


def test_a_step_that_cannot_do_its_part_says_so_itself() -> None:
    counts = [StepCount(name) for name in ("decode", "letterbox", "encode")]
    steps = Recipe.from_yaml("steps: [decode, {letterbox: {size: 9000}}, encode]").bound()
    kept = run_steps(steps, batch_of(encoded(picture(), "JPEG")), counts, lambda bad, name: None)
    assert len(kept) == 0 and [dict(count.reasons) for count in counts] == [{}, {"too_many_pixels": 1}, {}]
    tall = encoded(Image.new("RGB", (3, 17_000)), "JPEG")
    counts = [StepCount(name) for name in ("decode", "contain", "encode")]
    steps = Recipe.from_yaml("steps: [decode, {contain: {longest: 17000}}, {encode: {format: webp}}]").bound()
    kept = run_steps(steps, batch_of(tall), counts, lambda bad, name: None)
    assert len(kept) == 0 and [dict(count.reasons) for count in counts] == [{}, {}, {"not_encodable": 1}]


@compiled
def test_the_compiled_reader_refuses_what_does_not_fit() -> None:
    from pairloom import _jpeg

    data = encoded(picture(40, 40), "JPEG")
    room = [np.zeros((48, 40), np.uint8), np.zeros((32, 24), np.uint8), np.zeros((32, 24), np.uint8)]
    assert _jpeg.decode(data, 1, *room) and not _jpeg.decode(data[:-40], 1, *room) and not _jpeg.decode(b"", 1, *room)
    for bad in ([room[1]] * 3, [room[0][:40], *room[1:]], [room[0][:, :39], *room[1:]], [room[0][::-1, ::-1], *room[1:]]):
        with pytest.raises(ValueError, match="too small"):
            _jpeg.decode(data, 1, *bad)
    with pytest.raises(ValueError, match="too small"):
        _jpeg.decode(data, 1, np.zeros((48, 40, 1), np.uint8), *room[1:])
    with pytest.raises(ValueError, match="1, 2, 4 or 8"):
        _jpeg.decode(data, 3, *room)
    frozen = np.zeros((48, 40), np.uint8)
    frozen.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        _jpeg.decode(data, 1, frozen, *room[1:])


def test_a_damaged_file_is_refused_as_before(either: str) -> None:
    bound: Any = Decode().bind([Contain(50), Encode()])
    data = encoded(picture(), "JPEG", quality=90)
    with pytest.raises(Reject, match="truncated"):
        bound.image(data[: len(data) // 2])
    whole = bound.image(data[:-2])  # only the end marker is missing
    assert isinstance(whole.picture, np.ndarray) and whole.pixels.shape == (60, 80, 3)
    lenient: Any = Decode(allow_truncated=True).bind([Contain(50), Encode()])
    assert lenient.image(data[: len(data) // 2]).pixels.shape == (60, 80, 3)


def test_a_sample_pair_becomes_what_it_shows() -> None:
    names = [path.name for path in sorted(EXAMPLES.glob("*.jpg")) if planes_of(path.read_bytes())]
    assert len(names) > 10
    for name, made in zip(names, through(LINES[0], list(map(example, names)))["image"], strict=True):
        source = Decode().image(example(name)).pixels
        target = draw(source, Letterbox(96).geometry(source.shape[1], source.shape[0]))
        assert psnr(np.array(Image.open(io.BytesIO(made))), target) > 28, name


def test_geometry_of_a_crop_holds_for_planes_of_half_the_size() -> None:
    pixels = np.full((101, 101, 3), 40, np.uint8)
    pixels[:, 60:64] = (250, 20, 20)
    planes = planes_of(encoded(pixels, "JPEG", quality=95, subsampling="4:2:0"))
    assert planes
    cut = Geometry(101, 101, (31.0, 11.0, 91.0, 91.0), 240, 320, (0.0, 0.0, 240.0, 320.0))
    red = rgb(draw(planes, cut))[160].astype(float) @ [1, -0.5, -0.5]
    red = np.clip(red - red.min() - 20, 0, None)
    assert (red * (np.arange(240) + 0.5)).sum() / red.sum() == pytest.approx((62 - 31) * 4, abs=1.5)


def test_the_last_of_an_odd_number_of_colours_lies_half_beyond_the_edge(either: str) -> None:
    """Colour number i stands for the pixels 2i and 2i + 1: a ramp must go on as a ramp, to the last pixel."""
    ramp = np.tile(4 * np.arange(51, dtype=np.uint8) + 1, (51, 1))
    for cb, cr in ((ramp, ramp.T.copy()), (ramp.T.copy(), ramp)):
        shown = Planes(np.full((101, 101), 128, np.uint8), cb, cr).rgb().astype(float)
        blue = np.clip(128 + 1.772 * (2.0 * np.arange(101) - 128), 0, 255)
        found = shown[50, :, 2] if cb is ramp else shown[:, 50, 2]
        assert np.abs(found - blue)[3:-3].max() <= 2
