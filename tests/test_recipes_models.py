"""The shipped recipes of particular models, beside the models' own processors on real images; `pytest -s` prints what differs."""

from __future__ import annotations

import json
import math
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairloom.batch import Batch, Pixels, Row
from pairloom.errors import Reject, UsageError
from pairloom.geometry import Box, best_canvas, patch_grid, smart_size
from pairloom.models.preprocessor import from_preprocessor, to_preprocessor
from pairloom.pipeline import run
from pairloom.recipe import Recipe
from pairloom.steps.decode import Decode
from pairloom.steps.processor import AnyRes, Normalize, SmartResize
from pairloom.steps.tiles import Tiles

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from pairloom.torch import PairLoader, image_transform, reader_of, tokenizer, transform_of  # noqa: E402

PAIRS = Path(__file__).parents[1] / "examples" / "pairs"
SQUARE = {"height": 224, "width": 224}
TILE = {"height": 336, "width": 336}
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "clip": ("CLIPImageProcessorPil", {}),
    "siglip": ("SiglipImageProcessorPil", {}),
    "siglip2-naflex": ("Siglip2ImageProcessorPil", {}),
    "chinese-clip": ("ChineseCLIPImageProcessorPil", {"size": SQUARE, "do_center_crop": False}),
    "llava-anyres": ("LlavaNextImageProcessorPil", {"size": {"shortest_edge": 336}, "crop_size": TILE}),
    "qwen-vl": ("Qwen2VLImageProcessorPil", {"min_pixels": 3136, "max_pixels": 12845056}),
}
"""What the checkpoints' preprocessor_config.json say where it differs from the class."""

EXACT = dict.fromkeys(PROCESSORS, 0.001) | {"clip": 0.5}
"""Most that a mean may differ, in levels of 255. CLIP's scales to whole pixels and then cuts, ours draws the square at once."""


@cache
def photos() -> tuple[tuple[bytes, Pixels], ...]:
    """Files of examples/pairs that are far from square, and their upright pixels."""
    found = []
    for path in sorted(PAIRS.iterdir()):
        if path.suffix in (".png", ".jpg", ".webp") and not path.name.startswith("bad-"):
            pixels = Decode().image(path.read_bytes()).pixels
            if max(pixels.shape[:2]) >= 1.2 * min(pixels.shape[:2]):
                found.append((path.read_bytes(), pixels))
    return tuple(found[::3])


def theirs(name: str, pixels: Pixels) -> Any:
    """The canvases of the model's own processor, float32 (n, 3, h, w)."""
    kind, options = PROCESSORS[name]
    made = getattr(transformers, kind)(**options)(images=[pixels], return_tensors="np", input_data_format="channels_last")
    values = made["pixel_values"]
    if name == "siglip2-naflex":
        rows, columns = made["spatial_shapes"][0]
        cells = values[0, : rows * columns].reshape(rows, columns, 16, 16, 3)
        return cells.transpose(4, 0, 2, 1, 3).reshape(1, 3, rows * 16, columns * 16)
    if name == "qwen-vl":
        _, rows, columns = made["image_grid_thw"][0]
        cells = values.reshape(rows // 2, columns // 2, 2, 2, 3, 2, 14, 14)[:, :, :, :, :, 0]
        return cells.transpose(4, 0, 2, 5, 1, 3, 6).reshape(1, 3, rows * 14, columns * 14)
    return values[0] if name == "llava-anyres" else values


def ours(name: str, pixels: Pixels) -> Any:
    """The canvases of the recipe, normalized by `image_transform`; of `llava-anyres` the whole and the tiles."""
    transform = image_transform(name)
    if name != "llava-anyres":
        return transform(pixels).numpy()[None]
    canvas = AnyRes().image(pixels)
    tiles = Tiles(max_tiles=4, whole=False).boxes(canvas.shape[1], canvas.shape[0])
    return np.stack([transform(pixels).numpy(), *(transform(cut(canvas, box)).numpy() for box in tiles)])


def cut(pixels: Pixels, box: Box) -> Pixels:
    left, top, right, bottom = map(round, box)
    return pixels[top:bottom, left:right]


def prepared(name: str, data: bytes, text: str) -> dict[str, Any]:
    """One pair after all steps of a recipe."""
    batch = Batch.read(["000000000"], [Row("k", "s", data, (text,))])
    for step in Recipe.load(name).bound():
        batch, rejected = step(batch).split()
        assert not len(rejected)
    row: dict[str, Any] = batch.table.to_pylist()[0]
    return row


def odd_margin(pixels: Pixels) -> bool:
    """Whether torchvision, by which CLIP was trained and we go, cuts the middle a pixel beside where transformers does."""
    short, long = sorted(pixels.shape[:2])
    margin = int(224 * long / short) - 224
    return round(margin / 2) != margin // 2


def levels(one: Any, other: Any, name: str) -> float:
    """Mean absolute difference in levels of 255."""
    assert one.shape == other.shape
    return float(np.abs((one - other) * np.array(transform_of(name).std)[:, None, None]).mean() * 255)


@pytest.mark.parametrize("name", PROCESSORS)
def test_tensors_are_those_of_the_models_own_processor(name: str) -> None:
    assert len(photos()) >= 20
    direct, kept = [], []
    for data, pixels in photos():
        expected = theirs(name, pixels)
        if name == "clip" and odd_margin(pixels):
            continue
        direct.append(levels(ours(name, pixels), expected, name))
        row = prepared(name, data, "A sentence.")
        canvas = Decode().image(row["image"]).pixels
        parts = [cut(canvas, tuple(tile.values())) for tile in row["tiles"]] if name == "llava-anyres" else [canvas]
        made = np.stack([image_transform(name)(part).numpy() for part in parts])
        kept.append(levels(made, expected, name))
    print(f"\n{name:15} {len(direct)} images: from files {np.mean(direct):.3f}, from a shard {np.mean(kept):.2f} levels of 255")
    assert max(direct) < EXACT[name] and np.mean(kept) < 3


def test_native_patches_are_siglip2s_for_any_size() -> None:
    from transformers.models.siglip2.image_processing_pil_siglip2 import get_image_size_for_max_num_patches as expected

    for width, height in sizes(3000):
        columns, rows = patch_grid(width, height, 16, 256)
        assert (rows * 16, columns * 16) == expected(height, width, 16, 256), (width, height)


@pytest.mark.parametrize("limits", [(3136, 12845056), (56 * 56, 28 * 28 * 1280), (256 * 784, 1280 * 784), (1000, 50_000)])
def test_smart_sizes_are_qwens_for_any_size(limits: tuple[int, int]) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as expected

    step = SmartResize(min_pixels=limits[0], max_pixels=limits[1])
    for width, height in sizes(5000):
        if max(width, height) > 200 * min(width, height):
            with pytest.raises(ValueError, match="aspect ratio"):
                expected(height, width, 28, *limits)
            with pytest.raises(Reject, match="200 times"):
                step.geometry(width, height)
            continue
        made = step.geometry(width, height)
        assert (made.height, made.width) == expected(height, width, 28, *limits), (width, height)
        if limits[0] <= made.width * made.height <= limits[1]:  # not where a side of one patch is too long for the limits
            assert smart_size(made.width, made.height, 28, limits) == (made.width, made.height)  # theirs leaves it as it is


def test_canvases_are_llavas_for_any_size() -> None:
    from transformers.image_processing_utils import get_patch_output_size, select_best_resolution

    pinpoints = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    for width, height in sizes(5000):
        canvas = best_canvas(width, height, AnyRes().canvases)
        assert canvas[::-1] == select_best_resolution((height, width), pinpoints), (width, height)
        left, top, right, bottom = AnyRes().geometry(width, height).box
        image = np.empty((3, height, width), bool) if width * height < 1e6 else None
        if image is not None:
            assert (bottom - top, right - left) == get_patch_output_size(image, canvas[::-1], "channels_first")


def sizes(count: int) -> list[tuple[int, int]]:
    draw = random.Random(0)
    edges = [1, 13, 14, 15, 27, 28, 42, 55, 56, 224, 255, 256, 336, 672, 1008, 4096]
    some = [(one, two) for one in edges for two in edges]
    return some + [(round(math.exp(draw.uniform(0, 9.2))), round(math.exp(draw.uniform(0, 9.2)))) for _ in range(count)]


@pytest.mark.parametrize("name", PROCESSORS)
def test_mean_and_deviation_are_the_models(name: str) -> None:
    processor = getattr(transformers, PROCESSORS[name][0])(**PROCESSORS[name][1])
    transform = transform_of(name)
    assert list(transform.mean) == pytest.approx(processor.image_mean) and list(transform.std) == pytest.approx(
        processor.image_std
    )
    filters = ["nearest", "lanczos", "bilinear", "bicubic"]
    assert transform.interpolation == filters[int(processor.resample)]


def test_normalize_is_clips_by_default() -> None:
    assert Normalize() in Recipe.load("clip").steps


LONG = "Two cats sleep on a red sofa near the window. " * 30 + "窗外正在下着大雨，天空很暗。" * 30


@pytest.mark.parametrize(("name", "limit"), [("clip", 77), ("chinese-clip", 52)])
def test_captions_fit_and_are_read_whole(name: str, limit: int) -> None:
    reader = reader_of(Recipe.load(name))
    assert reader.context_length == limit
    for text in (LONG, LONG[::-1], LONG[1380:]):
        row = prepared(name, photos()[0][0], text)
        assert limit // 2 < reader.count(row["caption"]) == row["tokens_kept"] + 2 <= limit
        assert tokenizer(Recipe.load(name))(row["caption"]).shape == (1, limit)
    assert prepared(name, photos()[0][0], LONG)["caption"].endswith("window.")


@pytest.mark.parametrize("name", ["siglip", "siglip2-naflex"])
def test_an_estimate_is_never_taken_for_the_models_own_tokens(name: str) -> None:
    steps = {step.name: step for step in Recipe.load(name).steps}
    assert steps["truncate"].max_tokens == 64 and steps["truncate"].tokenizer == "estimate"  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"only counts; for ids give the path of the model's own tokenizer\.json"):
        tokenizer(Recipe.load(name))


@pytest.mark.parametrize("name", ["llava-anyres", "qwen-vl"])
def test_texts_for_language_models_stay_whole(name: str) -> None:
    row = prepared(name, photos()[0][0], LONG)
    assert row["text"] == LONG.strip() and "caption" not in row
    with pytest.raises(UsageError, match=r"names no tokenizer: name one .* the path of the model's own tokenizer\.json"):
        tokenizer(Recipe.load(name))


def test_a_bundled_tokenizer_brings_its_own_limit() -> None:
    assert [reader_of(name).context_length for name in (None, "clip", "chinese-clip")] == [77, 77, 52]
    assert reader_of("chinese-clip").read(["杰尼龟"]) == [[101, 3345, 2225, 7991, 102]]
    recipe = Recipe.from_yaml("steps: [tokenize: {tokenizer: chinese-clip}]")
    assert (reader_of(recipe).context_length, reader_of(recipe, 30).context_length) == (52, 30)


def test_qwens_own_file_says_what_the_recipe_says() -> None:
    published = {"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
                 "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
                 "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor"}  # fmt: skip
    assert from_preprocessor(published) == transform_of("qwen-vl")
    newer = {"image_processor_type": "Qwen2VLImageProcessorFast", "size": {"shortest_edge": 784, "longest_edge": 78400}}
    assert from_preprocessor(newer).pixels == (784, 78400)
    odd = transform_of(SmartResize(factor=15, min_pixels=225, max_pixels=22500))
    assert from_preprocessor(to_preprocessor(odd)) == odd and odd.rules() != transform_of(SmartResize(factor=15)).rules()


def test_llavas_own_file_squashes_the_whole() -> None:
    kind, options = PROCESSORS["llava-anyres"]
    published = json.loads(getattr(transformers, kind)(**options).to_json_string())
    made, ours = from_preprocessor(published | {"image_processor_type": "LlavaNextImageProcessor"}), transform_of("llava-anyres")
    assert (made.mode, made.size, made.mean, made.std) == (ours.mode, ours.size, ours.mean, ours.std) and made.size == (336, 336)


def test_a_set_made_by_a_recipe_brings_size_and_mean_along(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    for number, (data, _) in enumerate(photos()[:4]):
        (tmp_path / f"pairs/{number}.png").write_bytes(data)
        (tmp_path / f"pairs/{number}.txt").write_text(f"一只黑猫坐在垫子上，第{number}张。", "utf-8")
    run(tmp_path / "pairs", tmp_path / "chinese", "chinese-clip")
    batch = next(iter(PairLoader(tmp_path / "chinese", 4)))
    assert batch["pixel_values"].shape == (4, 3, 224, 224) and set(batch["input_ids"][:, 0].tolist()) == {101}
    run(tmp_path / "pairs", tmp_path / "llava", "llava-anyres")
    with pytest.raises(UsageError, match="names no tokenizer"):
        PairLoader(tmp_path / "llava", 4)
    batch = next(iter(PairLoader(tmp_path / "llava", 4, text="clip", tiles=True)))
    assert batch["pixel_values"].shape[2:] == (3, 336, 336) and batch["pixel_values"].shape[1] >= 3
