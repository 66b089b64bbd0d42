"""Images at load time: masks, boxes and points stay right whatever geometry, augmentation and stored padding do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from images import encoded, picture
from torch_sets import prepared

from pairloom import CenterCrop, Geometry, Letterbox, NativePatches, Stretch
from pairloom.errors import UsageError
from pairloom.torch import Augment, Batching, Collate, Machine, PairLoader, aspect_buckets, transform_of
from pairloom.torch.augment import seeded
from pairloom.torch.images import Images, image_lengths

TRANSFORMS = [transform_of(Letterbox(64)), transform_of(CenterCrop(64)), transform_of(Stretch(64)), aspect_buckets(64),
              replace(transform_of(NativePatches(16, 40)), fill=(122, 116, 104))]  # fmt: skip
WIDTH, HEIGHT = 240, 150


def marked(x: int, y: int) -> np.ndarray:
    """A grey picture with one red block around (x, y)."""
    pixels = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    pixels[y - 9 : y + 9, x - 9 : x + 9] = (255, 0, 0)
    return pixels


def red(pixels: np.ndarray) -> tuple[float, float] | None:
    rows, columns = np.nonzero((pixels[..., 0].astype(int) - pixels[..., 1]) > 150)
    return None if len(rows) < 4 else (columns.mean() + 0.5, rows.mean() + 0.5)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(TRANSFORMS), st.integers(60, 180), st.integers(60, 90), st.booleans(), st.integers(0, 99))
def test_a_point_goes_where_the_geometry_says(transform, x: int, y: int, flip: bool, seed: int) -> None:  # type: ignore[no-untyped-def]
    images = Images(transform, Augment(min_area=0.5, flip=float(flip)))
    data = encoded(marked(x, y))
    (shown,) = images.show(data, (0.0, 0.0, WIDTH, HEIGHT), (WIDTH, HEIGHT), (), seeded(seed, 0, "key", "image"))
    found, said = red(shown.pixels), shown.geometry.to_canvas(x, y)
    left, top, right, bottom = shown.geometry.box
    margin = 9 * max(map(abs, shown.geometry.scale)) + 1
    if found is None or not (left + margin < said[0] < right - margin and top + margin < said[1] < bottom - margin):
        return  # cut off, in part at least
    assert np.abs(np.subtract(found, said)).max() < 1.6
    back = shown.geometry.to_source(*said)
    assert back == pytest.approx((x, y))


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.mode)
def test_a_crop_keeps_the_ratio_and_the_floor(transform) -> None:  # type: ignore[no-untyped-def]
    whole = Images(transform).geometry((0, 0, WIDTH, HEIGHT), (WIDTH, HEIGHT))
    for seed in range(20):
        one = Augment(min_area=0.6).geometry(whole, np.random.default_rng(seed))
        assert one.box == whole.box and one.distortion == pytest.approx(whole.distortion)
        kept = np.prod(np.subtract(one.crop[2:], one.crop[:2])) / np.prod(np.subtract(whole.crop[2:], whole.crop[:2]))
        assert 0.6 - 1e-9 <= kept <= 1
        assert min(one.crop) >= 0 and one.crop[2] <= WIDTH and one.crop[3] <= HEIGHT


def test_colours_never_touch_the_padding(tmp_path: Path) -> None:
    output = prepared(tmp_path, 14)
    augment = Augment(brightness=0.9, contrast=0.9, saturation=0.9, greyscale=0.5, blur=0.9, flip=0.5)
    loader = PairLoader(output, 14, image=Letterbox(64, "black"), augment=augment, collate=Collate(dtype="uint8"))
    (batch,) = loader
    padding = ~batch["pixel_mask"][:, None].expand_as(batch["pixel_values"])
    assert padding.any() and not batch["pixel_values"][padding].any()
    left, top, right, bottom = batch["image_box"].round().long().unbind(1)
    assert (batch["pixel_mask"].sum((1, 2)) == (right - left) * (bottom - top)).all()


def test_stored_padding_is_padding_still(tmp_path: Path) -> None:
    """A set of baked letterboxes gives the masks, and nearly the pixels, of one that kept its shapes."""
    plain, baked = (prepared(tmp_path / name, 14, geometry) for name, geometry in
                    (("plain", "contain: {longest: 96}"), ("baked", "letterbox: {size: 96, fill: white}")))  # fmt: skip
    options = {"image": Letterbox(96), "collate": Collate(dtype="uint8")}
    one, two = (next(iter(PairLoader(path, Batching(14, shuffle=False), **options))) for path in (plain, baked))
    assert torch.equal(one["pixel_mask"][0], two["pixel_mask"][0]) and not one["pixel_mask"].all()
    difference = (one["pixel_values"].int() - two["pixel_values"].int()).abs().float()
    assert difference[0].mean() < 3


def test_a_crop_never_reaches_into_stored_padding() -> None:
    content = (0.0, 40.0, 96.0, 70.0)
    images = Images(transform_of(CenterCrop(32)), Augment(min_area=0.5))
    data = encoded(picture(96, 96))
    for seed in range(20):
        (shown,) = images.show(data, content, (96, 96), (), np.random.default_rng(seed))
        left, top, right, bottom = shown.geometry.crop
        assert left >= 0 and top >= 40 and right <= 96 and bottom <= 70


def test_buckets_distort_no_more_than_they_say() -> None:
    transform = aspect_buckets(224, 1.25)
    for width, height in [(100, 100), (130, 100), (300, 100), (1000, 60), (60, 1000), (512, 340), (512, 21), (21, 512)]:
        geometry = transform.geometry(width, height)
        assert geometry.distortion <= 1.25 + 1e-6
        assert (geometry.width, geometry.height) in transform.buckets
        assert geometry.padded < 0.02 or max(width, height) / min(width, height) > 3.6
    bucket, grid = image_lengths(transform, np.array([[100, 100], [400, 100], [101, 100]], np.int32))
    assert bucket[0] == bucket[2] != bucket[1] and grid.tolist() == [[14, 14], [8, 24], [14, 14]]


def test_buckets_make_batches_of_one_shape(tmp_path: Path) -> None:
    loader = PairLoader(prepared(tmp_path, 70), 5, image=aspect_buckets(64))
    batches = list(loader)
    assert len({batch["pixel_values"].shape[2:] for batch in batches}) > 2
    assert loader.stats()["distortion"] <= 1.25 + 1e-6
    shown = sum(float(batch["pixel_mask"].float().mean()) for batch in batches) / len(batches)
    assert shown > 0.95


def test_tiles_are_cut_where_the_ledger_says(tmp_path: Path) -> None:
    loader = PairLoader(prepared(tmp_path, 14), 7, image=Letterbox(64), tiles=True)
    batch = next(iter(loader))
    views = batch["pixel_mask"].flatten(2).any(2).sum(1)
    assert batch["pixel_values"].shape[1:] == (views.max(), 3, 64, 64) and views.max() > 1
    assert batch["image_crop"].shape == (7, views.max(), 4)
    with pytest.raises(UsageError, match="one size"):
        PairLoader(tmp_path / "prepared", 7, image=aspect_buckets(64), tiles=True)


def test_augmentation_depends_on_seed_epoch_and_key_alone(tmp_path: Path) -> None:
    output = prepared(tmp_path, 14)

    def shown(batching: Batching, epoch: int = 0, **options: object) -> dict[str, torch.Tensor]:
        loader = PairLoader(output, batching, image=Letterbox(48), augment=Augment(min_area=0.5), **options)
        loader.set_epoch(epoch)
        return {key: pixels for batch in loader for key, pixels in zip(batch["keys"], batch["pixel_values"], strict=True)}

    one, other = shown(Batching(7)), shown(Batching(2, shuffle=False), machine=Machine(rank=0, ranks=1))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    assert not any(torch.equal(one[key], pixels) for key, pixels in shown(Batching(7), seed=1).items())
    assert not any(torch.equal(one[key], pixels) for key, pixels in shown(Batching(7), epoch=1).items())


def test_identity_needs_no_resize() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    images = Images(transform_of(Letterbox(64)))
    (shown,) = images.show(encoded(pixels), (0, 0, 64, 64), (64, 64), (), np.random.default_rng(0))
    assert np.array_equal(shown.pixels, pixels) and shown.geometry == Geometry.identity(64, 64)
