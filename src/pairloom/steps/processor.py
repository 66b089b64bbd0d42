"""Steps that do what the image processors of particular models do, where no other step does."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from pairloom.batch import Batch
from pairloom.drawing import Fill
from pairloom.errors import Reject
from pairloom.geometry import Geometry, best_canvas, smart_size
from pairloom.step import Step, step
from pairloom.steps.image import GeometryStep, Side

_LONGEST = 200  # times the shorter side; Qwen's processors raise beyond it
Pixels = Annotated[int, Field(gt=0)]
Three = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]


@step("smart_resize")
class SmartResize(GeometryStep):
    """Scale to multiples of `factor` with `min_pixels` to `max_pixels` in all, the ratio nearly kept (Qwen2-VL, Qwen2.5-VL).

    The sizes are those of their processor, which leaves the images as they are. What is over 200 times as long as it is wide
    is rejected as `aspect_ratio`: the processor does not take it.

    Example: `smart_resize: {max_pixels: 1003520}`
    """

    factor: Side = 28
    min_pixels: Pixels = 56 * 56
    max_pixels: Pixels = 16384 * 28 * 28

    def problems(self, columns: set[str]) -> list[str]:
        """What is wrong with this step's place or its options."""
        limits = f"min_pixels is {self.min_pixels}, more than max_pixels, {self.max_pixels}"
        return [*super().problems(columns), *([limits] if self.min_pixels > self.max_pixels else [])]

    def geometry(self, width: int, height: int, key: str = "") -> Geometry:
        if max(width, height) > _LONGEST * min(width, height):
            raise Reject("aspect_ratio", f"{width}x{height}, more than {_LONGEST} times as long as wide")
        return Geometry.resize((width, height), smart_size(width, height, self.factor, (self.min_pixels, self.max_pixels)))


@step("anyres")
class AnyRes(GeometryStep):
    """Fit the whole image onto the best of `canvases`, [width, height], and pad the rest with `fill` (LLaVA-NeXT).

    The best is the one that keeps most pixels, and of those the one that wastes least. `tiles` after it records the squares.

    Example: `anyres: {canvases: [[672, 336], [336, 672], [672, 672]], fill: black}`
    """

    canvases: Annotated[tuple[tuple[Side, Side], ...], Field(min_length=1)] = (
        (672, 336), (336, 672), (672, 672), (336, 1008), (1008, 336),
    )  # fmt: skip
    fill: Fill = "black"

    def geometry(self, width: int, height: int, key: str = "") -> Geometry:
        canvas = best_canvas(width, height, self.canvases)
        scale = min(canvas[0] / width, canvas[1] / height)
        w, h = min(math.ceil(width * scale), canvas[0]), min(math.ceil(height * scale), canvas[1])
        left, top = (canvas[0] - w) // 2, (canvas[1] - h) // 2
        box = (float(left), float(top), float(left + w), float(top + h))
        return Geometry(width, height, (0.0, 0.0, float(width), float(height)), *canvas, box)

    @property
    def size(self) -> int:
        """The side of a tile, which is what the model sees at a time."""
        return min(min(canvas) for canvas in self.canvases)


@step("normalize")
class Normalize(Step):
    """Say with which `mean` and `std` of values from 0 to 1 the model wants its images; what is stored stays as it is.

    `pairloom.torch` normalizes by them when it takes its transform from the recipe. The defaults are CLIP's.

    Example: `normalize: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}`
    """

    mean: Three = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[Positive, Positive, Positive] = (0.26862954, 0.26130258, 0.27577711)

    def __call__(self, batch: Batch) -> Batch:
        return batch
