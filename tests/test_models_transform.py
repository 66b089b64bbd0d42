"""What a checkpoint does to images: compared with its own processor, read from every kind of file, sound for any size."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import picture

from pairloom.errors import UsageError
from pairloom.models.preprocessor import from_open_clip, from_preprocessor, read_transform
from pairloom.models.transform import ImageTransform

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
BUCKETS = ((224, 224), (192, 256), (256, 192), (160, 320), (320, 160))
TRANSFORMS = {
    "squash": ImageTransform("squash", (24, 16), (24, 16), MEAN, STD),
    "squash and crop": ImageTransform("squash", (24, 24), (32, 28), MEAN, STD),
    "shortest": ImageTransform("shortest", (32, 32), (36, 36), MEAN, STD),
    "shortest, larger canvas": ImageTransform("shortest", (50, 31), (32, 32), MEAN, STD, rounding="even"),
    "letterbox": ImageTransform("letterbox", (32, 32), (32, 32), MEAN, STD, fill=(9, 8, 7), rounding="even"),
    "buckets": ImageTransform("buckets", (224, 224), (224, 224), MEAN, STD, buckets=BUCKETS),
    "naflex": ImageTransform("naflex", (256, 256), (256, 256), MEAN, STD, "bilinear"),
}
PROCESSORS: dict[str, dict[str, Any]] = {
    "CLIP": {},
    "CLIP, odd": {"size": {"shortest_edge": 33}, "crop_size": {"height": 30, "width": 27}},
    "CLIP, crop beyond the image": {"size": {"shortest_edge": 20}, "crop_size": {"height": 31, "width": 44}},
    "CLIP, squashed then cropped": {"size": {"height": 40, "width": 50}, "crop_size": {"height": 32, "width": 32}},
    "CLIP, rescaled to 2 and not normalised": {"rescale_factor": 2 / 255, "do_normalize": False},
    "Siglip": {},
    "Siglip, bilinear": {"resample": 2, "size": {"height": 48, "width": 64}},
    "Siglip2": {},
    "Siglip2, small": {"patch_size": 14, "max_num_patches": 50},
    "ChineseCLIP": {"size": {"height": 224, "width": 224}, "do_center_crop": False},
}
SIZES = [(500, 375), (375, 501), (224, 300), (31, 333), (1, 1), (640, 223), (1001, 707)]


@pytest.mark.parametrize("name", PROCESSORS)
def test_as_the_checkpoints_own_processor(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    kind, options = name.partition(",")[0], PROCESSORS[name]
    theirs = getattr(transformers, f"{kind}ImageProcessorPil")(**options)
    ours = from_preprocessor(json.loads(theirs.to_json_string()))
    for seed, size in enumerate(SIZES):
        pixels = picture(*size, seed)
        expected = theirs(images=[pixels], return_tensors="np", input_data_format="channels_last")
        made = ours.apply(pixels)
        if kind == "Siglip2":
            patches, mask, shapes = ours.patches([made])
            assert ours.size == (ours.patch * math.isqrt(ours.max_patches),) * 2
            assert np.array_equal(mask, expected["pixel_attention_mask"]) and np.array_equal(shapes, expected["spatial_shapes"])
            made = patches[0]
        assert made.shape == expected["pixel_values"][0].shape and made.dtype == np.float32
        assert np.abs(made - expected["pixel_values"][0]).max() < 1e-5, size


def test_a_strip_too_long_to_scale_whole_is_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 255 levels, on average; not nothing, since Pillow chooses by the shape which axis to resize first."""
    for transform in TRANSFORMS.values():
        for size in [(600, 41), (500, 375)]:
            whole = transform.draw(picture(*size))
            with monkeypatch.context() as patch:
                patch.setattr("pairloom.models.transform._WHOLE", 0)
                assert np.abs(transform.draw(picture(*size)).astype(float) - whole).mean() < 0.5
    strip = np.zeros((1, 60_000, 3), np.uint8)
    assert TRANSFORMS["shortest"].draw(strip).shape == (32, 32, 3)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=list(TRANSFORMS))
@settings(deadline=None)
@given(width=st.integers(1, 20_000), height=st.integers(1, 20_000))
def test_any_size_gives_a_sound_geometry(transform: ImageTransform, width: int, height: int) -> None:
    made = transform.geometry(width, height)
    left, top, right, bottom = made.crop
    assert 0 <= left < right <= width * (1 + 1e-12) and 0 <= top < bottom <= height * (1 + 1e-12)
    left, top, right, bottom = made.box
    assert 0 <= left < right <= made.width and 0 <= top < bottom <= made.height
    if transform.mode not in ("buckets", "naflex"):
        assert (made.width, made.height) == transform.size
    needed = transform.needs(width, height)
    assert 1 <= needed[0] <= width and 1 <= needed[1] <= height
    x, y = made.scale
    assert needed[0] >= min(width, math.floor(width * x)) and needed[1] >= min(height, math.floor(height * y))


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=list(TRANSFORMS))
@pytest.mark.parametrize("size", [(60, 40), (3, 50), (1, 1), (700, 500)])
def test_what_is_applied_has_the_shape_that_geometry_says(transform: ImageTransform, size: tuple[int, int]) -> None:
    geometry = transform.geometry(*size)
    assert transform.apply(picture(*size)).shape == (3, geometry.height, geometry.width)


def test_normalised_values() -> None:
    made = TRANSFORMS["squash"].apply(np.full((5, 9, 3), 51, np.uint8))
    assert np.allclose(made[:, 0, 0], [(0.2 - mean) / std for mean, std in zip(MEAN, STD, strict=True)], atol=1e-6)


def test_buckets_are_chosen_by_the_ratio_of_ratios() -> None:
    shapes = {size: TRANSFORMS["buckets"].geometry(*size) for size in [(100, 100), (100, 140), (140, 100), (10, 99), (113, 100)]}
    found = [(made.width, made.height) for made in shapes.values()]
    assert found == [(224, 224), (192, 256), (256, 192), (160, 320), (224, 224)]


def test_open_clip_rounds_margins_like_torchvision() -> None:
    """Margins of 3 and 5: torchvision cuts round(1.5) = 2 and round(2.5) = 2, transformers 1 and 2."""
    ours = from_open_clip({"size": 10})
    assert (ours.mode, ours.interpolation, ours.size) == ("shortest", "bicubic", (10, 10))
    assert [ours.geometry(side, 100).to_canvas(0, 0)[0] for side in (130, 150)] == [-2, -2]
    theirs = from_preprocessor({"size": 10, "crop_size": 10})
    assert [theirs.geometry(side, 100).to_canvas(0, 0)[0] for side in (130, 150)] == [-1, -2]


def test_open_clips_longest_is_a_letterbox() -> None:
    ours = from_open_clip(
        {"size": [20, 30], "resize_mode": "longest", "fill_color": 7, "interpolation": "bilinear", "mean": None}
    )
    assert ours.size == (30, 20) and ours.fill == (7, 7, 7) and ours.interpolation == "bilinear"
    assert ours.geometry(100, 100).box == (5, 0, 25, 20)
    assert ours.geometry(300, 30).box == (0, 8, 30, 11)
    assert np.array_equal(ours.draw(np.full((30, 300, 3), 200, np.uint8))[::19, 0], np.full((2, 3), 7))


@pytest.mark.parametrize(
    ("file", "config", "mode", "size"),
    [
        ("preprocessor_config.json", {"feature_extractor_type": "CLIPFeatureExtractor", "size": 40, "crop_size": 36},
         "shortest", (36, 36)),
        ("preprocessor_config.json", {"feature_extractor_type": "SiglipFeatureExtractor", "size": 40}, "squash", (40, 40)),
        ("preprocessor_config.json", {"resize_mode": "letterbox", "size": [40, 30], "fill": [1, 2, 3]}, "letterbox", (40, 30)),
        ("preprocessor_config.json", {"resize_mode": "shortest", "size": 40}, "shortest", (40, 40)),
        ("preprocessor_config.json", {"resize_mode": "buckets", "buckets": [[224, 224], [160, 320]]}, "buckets", (224, 224)),
        ("processor_config.json", {"image_processor": {"image_processor_type": "SiglipImageProcessor"}}, "squash", (224, 224)),
        ("open_clip_config.json", {"preprocess_cfg": {"size": 56, "resize_mode": "squash"}}, "squash", (56, 56)),
    ],
)  # fmt: skip
def test_files(tmp_path: Path, file: str, config: dict[str, Any], mode: str, size: tuple[int, int]) -> None:
    (tmp_path / file).write_text(json.dumps(config))
    made = read_transform(tmp_path)
    assert (made.mode, made.size) == (mode, size)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "preprocessor_config.json is not JSON"),
        ('{"do_resize": false}', "do_resize is off"),
        ('{"size": {"shortest_edge": 224}, "do_center_crop": false}', "many shapes"),
        ('{"size": {"longest_edge": 224}}', "neither height and width"),
        ('{"resize_mode": "buckets"}', "there are none"),
        ('{"resize_mode": "zoom"}', "is none of squash"),
        ('{"resample": 9}', "can't be used"),
        ('{"image_mean": [1, 2]}', "can't be used"),
        ("[]", "does not hold a JSON object"),
    ],
)
def test_files_that_can_not_be_used(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_transform(tmp_path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no preprocessor_config\.json"):
        read_transform(tmp_path)
