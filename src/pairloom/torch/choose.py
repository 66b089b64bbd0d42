"""From what a user names (nothing, a recipe, a step, a checkpoint's folder) to a model's transform and text rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pairloom.errors import RecipeError, UsageError
from pairloom.models.preprocessor import CLIP_NORMALISER, HALF_NORMALISER, read_transform, smart_transform
from pairloom.models.reader import TextReader
from pairloom.models.transform import ImageTransform, Mode, Size
from pairloom.recipe import Recipe
from pairloom.step import Step
from pairloom.steps.image import CenterCrop, Contain, GeometryStep, Letterbox, NativePatches, RandomCrop, Stretch
from pairloom.steps.processor import AnyRes, Normalize, SmartResize
from pairloom.steps.segment import Segment
from pairloom.steps.text import Tokenize
from pairloom.steps.truncate import Truncate
from pairloom.tokenizer import CONTEXT
from pairloom.torch.augment import Augment
from pairloom.torch.texts import text_reader

BUCKETS = ((224, 224), (192, 256), (160, 320), (128, 384), (256, 192), (320, 160), (384, 128))
"""Canvases of about the same area, width and height in pixels: multiples of 32, ratios from 1 to 3."""

MEAN = (122, 116, 104)
"""The colour that CLIP's normaliser turns into about 0."""

Source = ImageTransform | GeometryStep | Recipe | str | Path | None


def aspect_buckets(size: int = 224, distortion: float = 1.25) -> ImageTransform:
    """Each image on the canvas of the nearest ratio, about `size` x `size` pixels in area; its own ratio changes at most by
    `distortion`.

    What is longer than the longest canvas is padded.
    """
    buckets = tuple((_multiple(width * size / 224), _multiple(height * size / 224)) for width, height in BUCKETS)
    return _transform("buckets", (size, size), buckets=buckets, distortion=distortion)


def transform_of(source: Source = None, size: int | None = None) -> ImageTransform:
    """The transform that a source names.

    * an `ImageTransform`: itself; a geometry step: what it does, with CLIP's normaliser;
    * a recipe, or its name or file: its last geometry step, with the mean and deviation of its `normalize`, if it has one.
      `contain`, which only stores, becomes a letterbox of 224, `anyres` a squash to the size of its tiles;
    * the folder of a checkpoint: what its own `preprocessor_config.json` or `open_clip_config.json` says;
    * None: a letterbox of 224.

    `size` replaces the size that the source names.

    Raises:
        UsageError: if there is no such thing.
    """
    if isinstance(source, ImageTransform):
        return source if size is None else replace(source, size=(size, size), resize=(size, size))
    if isinstance(source, str | Path) and Path(source).is_dir():
        return transform_of(read_transform(Path(source)), size)
    if isinstance(source, str | Path):
        source = _recipe(str(source))
    if not isinstance(source, Recipe):
        return _of_step(source, size)
    made = _of_step(last_geometry(source), size)
    said = next((step for step in reversed(source.steps) if isinstance(step, Normalize)), None)
    return replace(made, mean=said.mean, std=said.std) if said else made


def augment_of(source: Source) -> Augment | None:
    """The augmentation that a recipe or step asks for: that of `random_crop`."""
    step = last_geometry(_recipe(source) if isinstance(source, str) and not Path(source).is_dir() else source)
    return Augment(min_area=step.min_area) if isinstance(step, RandomCrop) else None


def reader_of(source: TextReader | Recipe | str | None = None, max_tokens: int | None = None) -> TextReader:
    """The text rules that a source names: a reader itself, a recipe (its `truncate`, `segment` or `tokenize`), a bundled
    tokenizer with its own limit, or the path of a `tokenizer.json`; None is CLIP's. Without a limit it is 77 tokens.

    Raises:
        UsageError: if there is no such thing.
    """
    if isinstance(source, TextReader):
        return source if max_tokens is None else replace(source, context_length=max_tokens)
    if isinstance(source, Recipe):
        step = next((one for one in reversed(source.steps) if isinstance(one, Truncate | Segment | Tokenize)), None)
        if step is None:
            raise UsageError(
                "the recipe names no tokenizer: name one instead, `clip` or the path of the model's own tokenizer.json"
            )
        source, max_tokens = step.tokenizer, max_tokens or getattr(step, "max_tokens", None)
    source = source or "clip"
    return text_reader(source, max_tokens or CONTEXT.get(source, 77))


def last_geometry(source: Any) -> Step | None:
    """The last geometry step of a recipe, or the step itself."""
    steps = source.steps if isinstance(source, Recipe) else (source,)
    return next((step for step in reversed(steps) if isinstance(step, GeometryStep)), None)


def _of_step(step: Any, size: int | None) -> ImageTransform:
    if isinstance(step, NativePatches):
        return replace(_transform("naflex", (0, 0)), patch=step.patch, max_patches=step.max_patches,
                       mean=HALF_NORMALISER[0], std=HALF_NORMALISER[1], interpolation=step.interpolation)  # fmt: skip
    if isinstance(step, SmartResize):
        return smart_transform(step.factor, (step.min_pixels, step.max_pixels), *CLIP_NORMALISER)
    kinds: dict[type, Mode] = {Stretch: "squash", CenterCrop: "shortest", RandomCrop: "shortest", Letterbox: "letterbox",
                               AnyRes: "squash"}  # fmt: skip
    side = size or (224 if step is None or isinstance(step, Contain) else step.size)
    fill = getattr(step, "fill", MEAN)
    return _transform(
        kinds.get(type(step), "letterbox"), (side, side), fill=fill if isinstance(fill, tuple) else _COLOURS.get(fill, MEAN)
    )


_COLOURS = {"mean": MEAN, "black": (0, 0, 0), "white": (255, 255, 255)}


def _transform(mode: Mode, size: Size, fill: tuple[int, int, int] = MEAN, **more: Any) -> ImageTransform:
    return ImageTransform(mode, size, size, *CLIP_NORMALISER, fill=fill, rounding="even", **more)


def _recipe(name: str) -> Recipe:
    try:
        return Recipe.load(name)
    except RecipeError as fault:
        raise UsageError(f"{name!r} is neither a checkpoint's folder nor a recipe: {fault}") from None


def _multiple(value: float) -> int:
    return max(32, round(value / 32) * 32)
