"""Decode: every kind of file gives upright sRGB pixels or a reason; nothing else gets out, and memory stays bounded."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from images import EXAMPLES, batch_of, encoded, example, picture, psnr
from PIL import Image, ImageCms, ImageOps

from pairloom.errors import Reject
from pairloom.steps.decode import Decode
from pairloom.steps.encode import Encode
from pairloom.steps.image import Contain, Letterbox
from pairloom.steps.jpeg import count_scans

PHOTO = picture()
LOSSLESS = [
    ("PNG", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("BMP", {}),
    ("PPM", {}),
    ("WEBP", {"lossless": True}),
]
LOSSLESS += [("JPEG2000", {})]
LOSSY = [
    ("JPEG", {"quality": 95}),
    ("JPEG", {"quality": 95, "progressive": True}),
    ("WEBP", {"quality": 95}),
    ("AVIF", {"quality": 95}),
]


def code_of(data: bytes, **options: Any) -> str:
    with pytest.raises(Reject) as caught:
        Decode(**options).image(data)
    return caught.value.code


@pytest.mark.parametrize(("format", "options"), LOSSLESS)
def test_lossless_files_give_the_same_pixels(format: str, options: dict[str, Any]) -> None:
    done = Decode().image(encoded(PHOTO, format, **options))
    assert np.array_equal(done.pixels, PHOTO)
    assert (done.width, done.height, done.orientation, done.format) == (160, 120, 1, format.lower())


@pytest.mark.parametrize(("format", "options"), LOSSY)
def test_lossy_files_give_nearly_the_same_pixels(format: str, options: dict[str, Any]) -> None:
    assert psnr(Decode().image(encoded(PHOTO, format, **options)).pixels, PHOTO) > 30


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_made_upright(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(PHOTO)
    image.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(image)
    done = Decode().image(encoded(PHOTO, format, exif=exif))
    assert (done.orientation, done.width, done.height) == (orientation, *upright.size)
    assert psnr(done.pixels, np.asarray(upright)) > 28
    assert done.pixels.flags.c_contiguous


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_all_modes_become_rgb(mode: str) -> None:
    grey = Image.fromarray(PHOTO).convert("L")
    deep = mode == "I;16"
    image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if deep else Image.fromarray(PHOTO).convert(mode)
    expected = grey if deep else image
    for format in ("PNG", "TIFF"):
        if (mode, format) != ("CMYK", "PNG"):
            assert np.array_equal(Decode().image(encoded(image, format)).pixels, np.asarray(expected.convert("RGB")))


def test_cmyk_jpeg_is_not_inverted() -> None:
    done = Decode().image(encoded(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=95))
    assert psnr(done.pixels, PHOTO) > 28


def test_floats_between_0_and_1_are_stretched_and_others_are_not() -> None:
    small, large = np.full((4, 4), 0.5, np.float32), np.full((4, 4), 127.0, np.float32)
    assert Decode().image(encoded(small, "TIFF")).pixels[0, 0, 0] == Decode().image(encoded(large, "TIFF")).pixels[0, 0, 0] == 127


def test_transparency_shows_the_background_whatever_kind_it_is() -> None:
    rgba = np.dstack([PHOTO, np.full((120, 160), 255, np.uint8)])
    rgba[:, :80, 3] = 0
    rgba[:, 80:100, 3] = 128
    key = Image.new("P", (4, 4), 1)
    key.putpalette([255, 0, 0, 0, 0, 255])
    key.putpixel((0, 0), 0)
    deep = np.full((4, 4), 20_000, np.uint16)
    deep[0, 0] = 300
    blue = Decode(background=(0, 0, 255))
    pixels = blue.image(encoded(rgba, "PNG")).pixels
    assert (pixels[:, :80] == (0, 0, 255)).all() and np.array_equal(pixels[:, 100:], PHOTO[:, 100:])
    half = (PHOTO[:, 80:100].astype(int) * 128 + np.array([0, 0, 255]) * 127) / 255
    assert np.abs(pixels[:, 80:100] - half).max() <= 1
    assert blue.image(encoded(key, "PNG", transparency=0)).pixels[0, 0].tolist() == [0, 0, 255]
    assert blue.image(encoded(key, "GIF", transparency=1)).pixels[0, 0].tolist() == [255, 0, 0]
    assert blue.image(encoded(deep, "PNG", transparency=300)).pixels[:1, :2].tolist() == [[[0, 0, 255], [78, 78, 78]]]


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken_and_no_other_decoded(format: str) -> None:
    frames = [Image.new("RGB", (64, 48), (255, 0, 0))] + [Image.fromarray(picture(64, 48, seed)) for seed in range(20)]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=50)
    assert np.abs(Decode().image(data).pixels.astype(int) - (255, 0, 0)).max() < 4
    if format == "GIF":  # the rest may even be missing
        assert Decode().image(data[:2000]).pixels.shape == (48, 64, 3)


def test_mpo_gives_its_first_picture() -> None:
    data = encoded(PHOTO, "MPO", save_all=True, append_images=[Image.new("RGB", (160, 120))])
    done = Decode().image(data)
    assert done.format == "mpo" and psnr(done.pixels, PHOTO) > 28


def test_profiles_are_tried_not_read_by_name() -> None:
    """A profile with other primaries changes the colours, one that is sRGB changes nothing, a broken one is ignored."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    at = srgb.index(b"rXYZ", 128) + 4  # swap red and green: the name still says sRGB
    other = bytearray(srgb)
    green = srgb.index(b"gXYZ", 128) + 4
    other[at : at + 8], other[green : green + 8] = srgb[green : green + 8], srgb[at : at + 8]
    for format, options in (("PNG", {}), ("JPEG", {"quality": 100, "subsampling": 0})):
        plain = Decode().image(encoded(PHOTO, format, **options)).pixels
        assert np.array_equal(Decode().image(encoded(PHOTO, format, icc_profile=srgb, **options)).pixels, plain)
        assert np.array_equal(Decode().image(encoded(PHOTO, format, icc_profile=b"rubbish" * 40, **options)).pixels, plain)
        swapped = Decode().image(encoded(PHOTO, format, icc_profile=bytes(other), **options)).pixels
        assert psnr(swapped, plain[..., [1, 0, 2]]) > 35 > 20 > psnr(swapped, plain)


def test_damaged_exif_says_nothing() -> None:
    for rubbish in (b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02"):
        assert Decode().image(encoded(PHOTO, "JPEG", exif=rubbish)).orientation == 1


def test_what_follows_the_end_of_a_file_does_not_matter() -> None:
    for format in ("JPEG", "PNG", "GIF", "WEBP", "BMP"):
        data = encoded(PHOTO, format)
        assert np.array_equal(Decode().image(data + b"garbage" * 99).pixels, Decode().image(data).pixels)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_jpeg_is_truncated_wherever_it_is_cut(progressive: bool) -> None:
    data = encoded(PHOTO, "JPEG", progressive=progressive)
    assert {code_of(data[:end]) for end in range(3, len(data) - 20, 7)} == {"truncated"}
    assert Decode(allow_truncated=True).image(data[: len(data) * 2 // 3]).pixels.shape == PHOTO.shape


def test_a_jpeg_may_lack_its_end_marker_or_hold_stray_bytes() -> None:
    data = encoded(PHOTO, "JPEG")
    whole = Decode().image(data).pixels
    assert np.array_equal(Decode().image(data[:-2]).pixels, whole)
    for stray in (data.index(b"\xff\xdb"), len(data) - 2):
        assert psnr(Decode().image(data[:stray] + bytes(5) + data[stray:]).pixels, whole) > 40


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF"])
def test_other_cut_files_are_truncated_and_a_part_is_kept_where_one_can_be(format: str) -> None:
    data = encoded(PHOTO, format)
    cut = data[: len(data) * 2 // 3]
    assert code_of(cut) == "truncated"
    if format in ("WEBP", "TIFF"):
        assert code_of(cut, allow_truncated=True) == "truncated"
    else:
        kept = Decode(allow_truncated=True).image(cut).pixels
        whole = Decode().image(data).pixels
        rows = slice(90, None) if format == "BMP" else slice(30)  # BMP begins at the bottom
        assert np.array_equal(kept[rows], whole[rows]) and not np.array_equal(kept, whole)


def test_each_kind_of_wrong_has_its_code() -> None:
    jpeg = encoded(PHOTO, "JPEG")
    damaged = bytearray(encoded(PHOTO, "PNG"))
    damaged[200:240] = bytes(40)
    assert code_of(b"") == "empty_image"
    assert code_of(jpeg, max_bytes=100) == "too_many_bytes"
    assert code_of(jpeg, max_pixels=100) == "too_many_pixels"
    assert code_of(encoded(PHOTO, "JPEG2000"), max_pixels=160 * 120) == "too_many_pixels"  # its codec needs more memory
    assert code_of(example("bad-08-huge-header.png")) == "too_many_pixels"
    assert code_of(example("bad-02-html-404.jpg")) == "not_an_image"
    assert code_of(example("bad-01-truncated.jpg")) == "truncated"
    assert code_of(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") == "unsupported_format"
    assert code_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == "unsupported_format"
    assert code_of(bytes(damaged)) == "undecodable"
    start = jpeg.index(b"\xff\xda")
    assert code_of(jpeg[:start] + b"\xff\xda\0\0" * 501 + jpeg[start:]) == "undecodable"


def test_scans_are_counted_unless_the_first_is_known_to_be_the_only_one() -> None:
    jpeg, progressive = encoded(PHOTO, "JPEG"), encoded(PHOTO, "JPEG", progressive=True)
    thumbnail = b"\xff\xe1\x00\x12" + b"\xff\xda" * 8
    assert count_scans(jpeg) == count_scans(jpeg[:2] + thumbnail + jpeg[2:]) == 1  # what lies in a segment isn't counted
    assert count_scans(progressive) == progressive.count(b"\xff\xda") > 1
    start = jpeg.index(b"\xff\xda")
    one_colour = jpeg[:start] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 3 + jpeg[start:]
    assert count_scans(one_colour) == 4
    for cut in range(len(jpeg[: start + 12])):
        assert count_scans(jpeg[:cut]) <= 1
    assert count_scans(b"\xff\xd8\xff\xff" + jpeg[2:]) == 1 and count_scans(b"\xff\xd8" + b"\xff\xda" * 9) == 9


def test_colours_are_smoothed_unless_the_image_is_made_much_smaller() -> None:
    data = encoded(picture(400, 300), "JPEG", quality=90, subsampling="4:2:0")
    smooth, rough = (simplejpeg.decode_jpeg(data, fastupsample=fast) for fast in (False, True))
    assert not np.array_equal(smooth, rough)
    for step, expected in [(Contain(400), smooth), (Contain(300), smooth), (Letterbox(512), smooth), (Contain(250), rough)]:
        object.__setattr__(step, "takes_planes", False)
        assert np.array_equal(Decode().bind([step]).image(data).pixels, expected)  # type: ignore[attr-defined]
    assert np.array_equal(Decode().image(data).pixels, smooth)


def test_header_and_content_that_disagree_do_no_harm() -> None:
    jpeg = bytearray(encoded(PHOTO, "JPEG"))
    size = jpeg.index(b"\xff\xc0") + 5
    jpeg[size : size + 2] = (12_000).to_bytes(2, "big")  # 160 x 12,000 with the data of 160 x 120
    assert code_of(bytes(jpeg)) == "truncated"


def test_rare_subsampling_is_decoded_all_the_same() -> None:
    for factors in (0x31, 0x13, 0x14):  # simplejpeg refuses these; the data fit no longer, but every block can be read
        jpeg = bytearray(encoded(PHOTO, "JPEG", subsampling=0))
        jpeg[jpeg.index(b"\xff\xc0") + 11] = factors
        assert Decode().image(bytes(jpeg)).pixels.shape == PHOTO.shape


def jpegs() -> Iterator[tuple[str, bytes]]:
    """The sample JPEGs, and files of every kind that the fast path might read otherwise, each whole and damaged."""
    yield from ((path.name, path.read_bytes()) for path in sorted(EXAMPLES.glob("*.jpg")))
    image, grey = Image.fromarray(PHOTO), Image.fromarray(PHOTO).convert("L")
    kinds: dict[str, bytes] = {f"4:{sub}": encoded(image, "JPEG", quality=90, subsampling=sub) for sub in (0, 1, 2)}
    kinds["progressive"] = encoded(image, "JPEG", quality=90, progressive=True)
    kinds["grey"], kinds["CMYK"] = encoded(grey, "JPEG"), encoded(image.convert("CMYK"), "JPEG")
    kinds["restarts"] = encoded(image, "JPEG", quality=90, restart_marker_blocks=3)
    frame, table = kinds["4:2"].index(b"\xff\xc0") + 4, kinds["4:2"].index(b"\xff\xdb") + 5
    kinds["12 bits"] = kinds["4:2"][:frame] + b"\x0c" + kinds["4:2"][frame + 1 :]
    kinds["huge coefficients"] = kinds["4:2"][:table] + b"\xff" * 64 + kinds["4:2"][table + 64 :]
    restart = kinds["restarts"].index(b"\xff\xd3")
    kinds["a restart is missing"] = kinds["restarts"][:restart] + kinds["restarts"][restart + 2 :]
    kinds["restarts out of order"] = kinds["restarts"][:restart] + b"\xff\xd6" + kinds["restarts"][restart + 2 :]
    dice = random.Random(3)
    for name, data in kinds.items():
        yield name, data
        yield f"{name}, cut", data[: dice.randrange(10, len(data))]
        for _ in range(60):
            damaged = bytearray(data)
            for _ in range(dice.randint(1, 3)):
                damaged[dice.randrange(len(data))] = dice.randrange(256)
            yield f"{name}, damaged", bytes(damaged)


@pytest.mark.filterwarnings("ignore")
def test_the_fast_path_gives_the_pixels_of_the_slow_one_and_refuses_no_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow passes over damage that the fast path refuses, and misses the end marker. All else is the same, in every value."""

    def outcome(data: bytes) -> Any:
        try:
            return Decode().image(data).pixels
        except Reject as reject:
            return reject.code

    files = list(jpegs())
    fast = [outcome(data) for _, data in files]
    monkeypatch.setattr("pairloom.steps.decode.read_header", lambda data: None)
    seen = set()
    for (name, data), ours in zip(files, fast, strict=True):
        slow = outcome(data)
        if isinstance(slow, str) and not isinstance(ours, str):
            slow = outcome(data + b"\xff\xd9")
        if isinstance(ours, str):
            assert ours in ("truncated", "undecodable") if not isinstance(slow, str) else ours == slow, name
        else:
            assert np.array_equal(ours, slow), name
        seen.add((isinstance(ours, str), isinstance(slow, str)))
    assert seen == {(False, False), (True, False), (True, True)}


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_give_pixels_or_a_reject() -> None:
    dice = random.Random(7)
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba = np.dstack([picture(48, 40), np.tile(np.linspace(0, 255, 48, dtype=np.uint8), (40, 1))])
    image = Image.fromarray(rgba)
    files = [encoded(image, format, exif=exif) for format in ("PNG", "WEBP", "AVIF", "TIFF")]
    files += [encoded(image.convert("RGB"), format) for format in ("JPEG", "GIF", "BMP", "PPM", "JPEG2000", "MPO")]
    files += [encoded(image.convert("CMYK"), "JPEG"), encoded(image.quantize(16), "PNG"), encoded(rgba[:, :, 0] * np.uint16(257))]
    steps = (Decode(), Decode(allow_truncated=True), Decode().bind([Letterbox(8)]))
    outcomes = set()
    for number in range(3000):
        data = bytearray(files[number % len(files)])
        for _ in range(dice.choice((1, 2, 8))):
            place = dice.randrange(len(data) if dice.random() < 0.5 else min(300, len(data)))
            data[place : place + dice.randrange(3)] = dice.randbytes(dice.randrange(3))
        try:
            done = steps[number % 3].image(bytes(data))
        except Reject as reject:
            outcomes.add(reject.code)
        else:
            outcomes.add("fine")
            assert done.pixels.dtype == np.uint8 and done.pixels.shape[2:] == (3,)
            assert number % 3 == 2 or done.pixels.shape[:2] == (done.height, done.width)
    assert {"fine", "truncated", "undecodable"} <= outcomes


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_no_more_is_decoded_than_later_steps_need_and_it_looks_the_same(format: str) -> None:
    big = picture(1601, 1203)
    data = encoded(big, format)
    bound = Decode().bind([Contain(250), Encode()])
    done = bound.image(data)
    assert (done.width, done.height) == (1601, 1203)
    assert done.pixels.shape == (301, 401, 3)  # a quarter: 1.5 times 250 at least
    full = Decode().image(data)
    assert psnr(Contain(250).image(full.pixels), Contain(250).image(done.pixels)) > 38
    assert Decode().bind([Encode()]).image(data).pixels.shape == (1203, 1601, 3)


def test_transparency_is_composited_before_anything_is_reduced() -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[:, ::2] = (255, 0, 0, 255)  # red lines between transparent black ones: half red, half white, no black
    done = Decode().bind([Contain(16)]).image(encoded(rgba)).pixels
    assert np.abs(done.astype(int) - (255, 127, 127)).max() <= 1


def test_a_batch_keeps_its_rows_and_names_the_bad_ones() -> None:
    batch = Decode()(batch_of(encoded(PHOTO), b"", b"not an image"))
    assert [cell and cell["code"] for cell in batch["reject"]] == [None, "empty_image", "not_an_image"]
    assert batch["width"] == [160, 1, 1] and batch["original_height"] == [120, 1, 1]
    assert batch["geometry"][0]["crop"] == [0, 0, 160, 120]


_MEASURE = """
import io, resource, sys
import numpy as np
from PIL import Image
from pairloom.steps.decode import Decode
from pairloom.steps.jpeg import count_scans
from pairloom.steps.image import Contain
Image.init()
data = open(sys.argv[1], "rb").read()
Decode().image(open(sys.argv[2], "rb").read())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
Decode().bind([Contain(512)] if sys.argv[3] == "small" else []).image(data)
unit = 1 if sys.platform == "darwin" else 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    Image.new("RGBA", (7071, 7071), (10, 200, 30, 128)).save(folder / "large.png", compress_level=1)
    (folder / "small.png").write_bytes(encoded(PHOTO))
    return folder


@pytest.mark.parametrize(("what", "most"), [("small", 280), ("full", 420)])
def test_a_transparent_png_of_50_megapixels_stays_in_bounds(what: str, most: int, large: Path) -> None:
    command = [sys.executable, "-c", _MEASURE, str(large / "large.png"), str(large / "small.png"), what]
    used = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert used < most << 20
