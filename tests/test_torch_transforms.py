"""Other loops: batches train the towers of transformers as they are, and the drop-ins do what open_clip and transformers do."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from images import encoded, picture
from PIL import Image
from torch_sets import prepared
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
)

from pairloom import CenterCrop, Letterbox, NativePatches, RandomCrop, Recipe, SmartResize, Stretch
from pairloom.errors import UsageError
from pairloom.torch import (
    Collate,
    PairImageProcessor,
    PairLoader,
    aspect_buckets,
    image_transform,
    open_clip_batch,
    text_reader,
    tokenizer,
    transform_of,
)

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def step(model: torch.nn.Module, loss: torch.Tensor) -> None:
    loss.backward()
    assert torch.isfinite(loss)
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_clip_trains_on_a_batch_as_it_is(tmp_path: Path) -> None:
    batch = next(iter(PairLoader(prepared(tmp_path, 14), 7, image=CenterCrop(32))))
    config = CLIPConfig(text_config={**SMALL, "eos_token_id": 49407}, vision_config={**SMALL, "image_size": 32, "patch_size": 16})
    model = CLIPModel(config)
    step(model, model(**batch, return_loss=True).loss)


def test_siglip2_trains_on_native_patches_as_they_are(tmp_path: Path) -> None:
    reader = text_reader(max_tokens=64, fixed=True)
    batch = next(iter(PairLoader(prepared(tmp_path, 14), 7, image=NativePatches(16, 25), text=reader)))
    config = Siglip2Config(text_config={**SMALL, "vocab_size": 49408}, vision_config={**SMALL, "num_patches": 25})
    model = Siglip2Model(config)
    step(model, model(**batch, return_loss=True).loss)
    naflex = open_clip_batch(batch)["image"]
    rows, columns = batch["spatial_shapes"][0].tolist()
    assert naflex["patch_coord"][0, : rows * columns].tolist() == [
        [row, column] for row in range(rows) for column in range(columns)
    ]
    assert naflex["patch_valid"].sum(1).tolist() == batch["spatial_shapes"].prod(1).tolist()
    assert naflex["patch_coord"].dtype == torch.int64 and not naflex["patch_coord"][~naflex["patch_valid"]].any()


def test_llava_trains_on_a_packed_batch_and_sees_each_image_with_its_own_text(tmp_path: Path) -> None:
    view = replace(transform_of(CenterCrop(28)), patch=14)
    loader = PairLoader(prepared(tmp_path, 14), 7, image=view, collate=Collate(pack=128, image_token=49408))
    batch = next(iter(loader))
    vision = CLIPVisionConfig(**SMALL, image_size=28, patch_size=14)
    language = LlamaConfig(**SMALL, vocab_size=49409, max_position_embeddings=128)
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=language, image_token_index=49408)).eval()
    inputs = {name: batch[name] for name in ("input_ids", "position_ids", "pixel_values")}
    same = batch["pair_ids"][:, :, None] == batch["pair_ids"][:, None, :]
    mask = (same & torch.ones_like(same[0]).tril())[:, None]
    packed = model(**inputs, attention_mask=mask, labels=batch["labels"])
    step(model, packed.loss)
    for pair in range(7):
        here = batch["pair_ids"] == pair
        alone = model(input_ids=batch["input_ids"][here][None], pixel_values=batch["pixel_values"][pair : pair + 1])
        assert torch.allclose(packed.logits[here], alone.logits[0], atol=1e-4)


def test_native_patches_are_those_of_siglip2() -> None:
    theirs = Siglip2ImageProcessorPil(patch_size=16, max_num_patches=40)(Image.fromarray(picture(150, 90)), return_tensors="pt")
    transform = transform_of(NativePatches(16, 40))
    ours = PairImageProcessor(_with(transform, interpolation="bilinear"))(Image.fromarray(picture(150, 90)))
    assert ours["spatial_shapes"].tolist() == theirs["spatial_shapes"].tolist()
    count = int(theirs["pixel_attention_mask"].sum())
    assert torch.allclose(ours["pixel_values"][0, :count], theirs["pixel_values"][0, :count], atol=0.02)


def _with(transform, **changes):  # type: ignore[no-untyped-def]
    return replace(transform, **changes)


def test_centre_crop_is_that_of_clip() -> None:
    image = Image.fromarray(picture(150, 90))
    theirs = CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})(image, return_tensors="pt")
    ours = image_transform(CenterCrop(64))(image)
    assert ours.shape == (3, 64, 64) and ours.dtype == torch.float32
    assert (ours - theirs["pixel_values"][0]).abs().mean() < 0.02


@pytest.mark.parametrize(
    "transform",
    [transform_of(one) for one in (Letterbox(64), CenterCrop(64), Stretch(64), NativePatches(16, 25), SmartResize())]
    + [aspect_buckets(128)],
    ids=lambda transform: transform.mode,
)
def test_a_processor_comes_back_as_it_was_saved(transform, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    processor = PairImageProcessor(transform)
    processor.save_pretrained(tmp_path)
    again = PairImageProcessor.from_pretrained(tmp_path)
    images = [picture(150, 90), Image.fromarray(picture(40, 90)), encoded(picture(90, 60), "JPEG")]
    one, other = processor(images), again(images)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ValueError, match="only pt"):
        processor(images, return_tensors="np")


def test_transformers_reads_what_was_saved(tmp_path: Path) -> None:
    PairImageProcessor(transform_of(CenterCrop(64))).save_pretrained(tmp_path)
    theirs = CLIPImageProcessorPil.from_pretrained(tmp_path)
    assert theirs.crop_size == {"height": 64, "width": 64}


def test_a_recipe_gives_transform_and_tokenizer() -> None:
    recipe = Recipe.from_yaml("steps: [decode, {truncate: {max_tokens: 64}}, {random_crop: {size: 64, min_area: 0.5}}, encode]")
    train, plain = image_transform(recipe, train=True), image_transform(recipe)
    assert train.augment is not None and train.augment.min_area == 0.5 and plain.augment is None
    image = Image.fromarray(picture(150, 90))
    torch.manual_seed(3)
    one, two = train(image), train(image)
    torch.manual_seed(3)
    assert torch.equal(one, train(image)) and not torch.equal(one, two)
    assert torch.equal(plain(image), plain(image)) and tokenizer(recipe)("a cat").shape == (1, 64)
    assert transform_of("naive").mode == "squash" and transform_of("default").size == (224, 224)
    assert transform_of(RandomCrop(96)).mode == "shortest" and transform_of("letterbox", 336).size == (336, 336)
    with pytest.raises(UsageError, match="neither a checkpoint's folder nor a recipe"):
        transform_of("no-such-thing")


def test_transparency_and_orientation_are_seen_to() -> None:
    image = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    assert np.array_equal(image_transform(Letterbox(32)).show(image).pixels, np.full((32, 32, 3), 255, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(picture(64, 32)).save(buffer, "PNG", exif=exif)
    shown = image_transform(Letterbox(64)).show(Image.open(io.BytesIO(buffer.getvalue())))
    assert shown.geometry.box == (16, 0, 48, 64)


@pytest.mark.parametrize(
    "image", [torch.zeros(3, 40, 60, dtype=torch.uint8), np.zeros((40, 60, 3)), np.zeros((0, 4, 3), np.uint8), "a.jpg", None]
)
def test_what_is_no_image_is_told(image: object) -> None:
    for transform in (image_transform(Letterbox(32)), PairImageProcessor(transform_of(Letterbox(32)))):
        with pytest.raises(ValueError, match="an image is"):
            transform(image)
    with pytest.raises(ValueError, match="no image"):
        PairImageProcessor(transform_of(Letterbox(32)))([])
