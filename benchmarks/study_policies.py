"""The policies of the study: what each row changes, and what the quick script does that Pairloom has no step for."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pairloom import Recipe, TextStep, step
from pairloom.batch import Batch, Pixels
from pairloom.errors import Reject
from pairloom.step import Filter, ImageStep, Step
from pairloom.steps.decode import Decode, Decoded
from pairloom.steps.segment import Segment, Span

# --- Steps of the study alone -------------------------------------------------------------


@step("quick_decode")
class QuickDecode(Decode):
    """Pixels as `convert("RGB")` gives them: what lies under transparency shows, EXIF and ICC are ignored."""

    def image(self, data: bytes) -> Decoded:
        try:
            with Image.open(io.BytesIO(data)) as image:
                pixels = np.array(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
            raise Reject("undecodable", str(fault)) from None
        return Decoded(pixels, pixels.shape[1], pixels.shape[0], 1, "any")


@step("aliased_stretch")
class AliasedStretch(ImageStep):
    """Bilinear between the four nearest pixels however much smaller the image gets, as OpenCV's default is."""

    size: int = 512

    def image(self, pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        across = (width / self.size, 0, 0, 0, height / self.size, 0)
        image = Image.fromarray(pixels)
        return np.array(image.transform((self.size,) * 2, Image.Transform.AFFINE, across, Image.Resampling.BILINEAR))


@step("strip_punctuation")
class StripPunctuation(TextStep):
    """Letters, digits and spaces only: a usual way of cleaning."""

    def text(self, text: str) -> str:
        return "".join(one for one in text if one.isalnum() or one.isspace())


@step("windows")
class Windows(Segment):
    """Windows over the whole text, wherever its sentences end."""

    def spans(self, text: str) -> list[Span]:
        return list(self._windows(text, 0, len(text))) if text else []


@step("swap_texts")
class SwapTexts(Step):
    """Give the texts of a `share` of the pairs to each other: pairs that don't belong together, as the web is full of them."""

    share: float = 0.33
    reads = ("texts",)

    def __call__(self, batch: Batch) -> Batch:
        chosen = random.Random(batch["key"][0]).sample(range(len(batch)), round(self.share * len(batch)))
        texts = batch["texts"]
        for row, other in zip(chosen, chosen[1:] + chosen[:1], strict=True):
            texts[row] = batch["texts"][other]
        return batch.with_columns({}, texts=texts, text=[row[0] if row else "" for row in texts])


@step("by_chance")
class ByChance(Filter):
    """Keep about a `share` of the pairs whatever they are."""

    share: float = 0.5
    reason = "by_chance"

    def keep(self, batch: Batch) -> Sequence[bool]:
        return [random.Random(key).random() < self.share for key in batch["key"]]


# --- Policies -----------------------------------------------------------------------------

NAIVE, FULL, CHAIN = "naive", "full: segments, attention", "One change after another"
CONTAIN, SEGMENTS = "contain: {longest: 512}", "segment"
WHOLE: dict[str, str] = {
    "first 512 characters": "truncate: {by: characters, max_characters: 512}",
    "first 512 tokens": "truncate: {by: tokens, max_tokens: 512}",
    "first 77 tokens": "truncate: {by: tokens, max_tokens: 77}",
}
SENTENCES = "truncate: {by: sentences, max_tokens: 77}"
NAIVE_TEXT = WHOLE["first 512 characters"]
CROP, LIGHT = "random_crop: {size: 512, min_area: 0.5}", "brightness_contrast: {brightness: 0.4, contrast: 0.4}"
CHOSEN = "truncate: {by: alignment, max_tokens: 77}"


@dataclass(frozen=True)
class Row:
    """A policy: the part of the study it stands in, its steps, and what it selects."""

    part: str
    steps: list[str]
    select: str = ""

    @property
    def recipe(self) -> Recipe:
        """Images kept as shipped recipes keep them."""
        lines = "".join(f"- {line}\n" for line in [*self.steps, "encode: {format: jpeg, quality: 95}"])
        return Recipe.from_yaml(f"steps:\n{lines}" + (f"select:\n- {self.select}\n" if self.select else ""))


def align(model: str, pooling: str = "attention", views: str = "whole", bank: Path | None = None) -> str:
    """The step that scores a pair."""
    own = f", bank: '{bank}'" if bank else ""
    return f"align: {{model: '{model}', pooling: {pooling}, views: {views}{own}}}"


def full(model: str) -> Row:
    """What Pairloom does."""
    return Row(CHAIN, ["decode", "clean", SEGMENTS, align(model), CONTAIN])


def policies(model: str, bank: Path, geometry: bool) -> dict[str, Row]:
    """The rows that need no learning. The first is the naive script; `bank` is a folder of images like those of the set."""
    rows = {
        NAIVE: Row(CHAIN, ["quick_decode", NAIVE_TEXT, "aliased_stretch"]),
        "+ antialiased": Row(CHAIN, ["quick_decode", NAIVE_TEXT, "stretch: {size: 512}"]),
        "+ transparency composited": Row(CHAIN, ["decode", NAIVE_TEXT, "stretch: {size: 512}"]),
        "+ aspect kept": Row(CHAIN, ["decode", NAIVE_TEXT, CONTAIN]),
        "+ cleaned": Row(CHAIN, ["decode", "clean", NAIVE_TEXT, CONTAIN]),
        "+ whole sentences, 77 tokens": Row(CHAIN, ["decode", "clean", SENTENCES, CONTAIN]),
        FULL: full(model),
    }
    if geometry:
        shapes = {"stretch": "stretch: {size: 512}", "centre crop": "center_crop: {size: 512}"}
        shapes |= {f"letterbox, {fill}": f"letterbox: {{size: 512, fill: {fill}}}" for fill in ("black", "mean", "edge")}
        shapes["native patches"] = "native_patches: {patch: 16, max_patches: 1024}"
        rows |= {name: Row("Geometry", ["decode", "clean", SEGMENTS, align(model), line]) for name, line in shapes.items()}
        for views in ("long", "tiles"):
            rows[f"views: {views}"] = Row("Geometry", ["decode", "clean", SEGMENTS, align(model, views=views), CONTAIN])
    for name in ("first 512 tokens", "first 77 tokens"):
        rows[name] = Row("Text", ["decode", "clean", WHOLE[name], CONTAIN])
    for size in (77, 32):
        line = f"windows: {{max_tokens: {size}}}"
        rows[f"windows of {size} tokens, attention"] = Row("Text", ["decode", "clean", line, align(model), CONTAIN])
    for pooling in ("mean", "max", "softmax"):
        rows[f"segments, {pooling}"] = Row("Text", ["decode", "clean", SEGMENTS, align(model, pooling), CONTAIN])
    rows["bank of images like these"] = Row("Text", ["decode", "clean", SEGMENTS, align(model, bank=bank), CONTAIN])
    rows["not cleaned"] = Row("Cleaning", ["decode", SEGMENTS, align(model), CONTAIN])
    rows["punctuation stripped"] = Row("Cleaning", ["decode", "clean", "strip_punctuation", SEGMENTS, align(model), CONTAIN])
    return rows


def filters(model: str) -> dict[str, Row]:
    """What a head learns from, a third of the pairs being wrong; the first keeps the pairs as they are."""
    part, good = "Filters", ["decode", "clean", SEGMENTS, align(model)]
    bad = ["decode", "clean", "swap_texts", SEGMENTS, align(model)]
    return {
        "all pairs as they are": Row(part, [*good, CONTAIN]),
        "best half by alignment": Row(part, [*good, CONTAIN], "keep_top: {column: alignment, share: 0.5}"),
        "half by chance": Row(part, ["decode", "by_chance: {share: 0.5}", *good[1:], CONTAIN]),
        SWAPPED: Row(part, [*bad, CONTAIN]),
        "swapped, alignment over 0": Row(part, [*bad, "between: {column: alignment, min: 0}", CONTAIN]),
        "swapped, best 67 % by alignment": Row(part, [*bad, CONTAIN], "keep_top: {column: alignment, share: 0.67}"),
    }


SWAPPED = "a third of the texts swapped"


def augmentations(model: str) -> dict[str, Row]:
    """What a head learns from, each image changed by chance; the first leaves them as they are."""
    part, before = "Augmentation", ["decode", "clean", SEGMENTS, align(model)]
    return {
        "not augmented": Row(part, [*before, CONTAIN]),
        "random crop, half the area or more": Row(part, [*before, CROP]),
        "brightness and contrast, ± 40 %": Row(part, [*before, CONTAIN, LIGHT]),
    }


def perturbed(model: str) -> Row:
    """What is measured on where images are changed by other chances than those that a head learnt from."""
    crop, light = CROP.replace("}", ", seed: 1}"), LIGHT.replace("}", ", seed: 1}")
    return Row("Augmentation", ["decode", "clean", SEGMENTS, align(model), crop, light])


def repeats(model: str) -> dict[str, Row]:
    """What a head learns from where some pairs come many times."""
    steps = full(model).steps
    return {"repeats and all": Row("Duplicates", steps), "duplicates dropped": Row("Duplicates", steps, "duplicates")}


def read_by(model: str) -> dict[str, Row]:
    """How the texts are read that a head learns from; all are measured by segments and attention."""
    part = "Text to learn from"
    rows = {name: Row(part, ["decode", "clean", WHOLE[name], CONTAIN]) for name in ("first 512 characters", "first 77 tokens")}
    rows["segments, by what they tell"] = Row(part, full(model).steps)
    rows["chosen by alignment, 77 tokens"] = Row(part, ["decode", "clean", SEGMENTS, align(model), CHOSEN, CONTAIN])
    return rows


def trained(model: str) -> dict[str, Row]:
    """What heads of both kinds are fitted for."""
    return {NAIVE: Row("Head", ["quick_decode", NAIVE_TEXT, "aliased_stretch"]), FULL: Row("Head", full(model).steps)}
