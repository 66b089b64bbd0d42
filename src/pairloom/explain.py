"""One pair explained: which segments of its text carried the match, and where in the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pairloom import readers
from pairloom.batch import Batch
from pairloom.errors import RunError, UsageError
from pairloom.pipeline import plan_of
from pairloom.readers.model import ReadOptions
from pairloom.recipe import Recipe
from pairloom.report.page import page, write_sheet
from pairloom.report.parts import Part, weighted_parts
from pairloom.report.pictures import data_url
from pairloom.run import make_key
from pairloom.score import scoring
from pairloom.step import Step
from pairloom.steps.align import Align
from pairloom.steps.encode import Encode
from pairloom.steps.image import Contain
from pairloom.steps.tiles import SIDES

_SIDE = 768


@dataclass(frozen=True, slots=True)
class View:
    """A view: its box in pixels of the upright original, and its score."""

    box: tuple[float, ...]
    score: float
    best: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Scores of one pair with what they are about; `image` is a small JPEG of the upright original of `width` x `height`."""

    key: str
    source_key: str
    model: str
    alignment: float
    similarity: float
    parts: tuple[Part, ...]
    views: tuple[View, ...]
    width: int
    height: int
    image: bytes

    def to_html(self) -> str:
        """A page that needs nothing else."""
        return page("explain.html.j2", it=self, data=data_url(self.image))

    def to_png(self) -> bytes:
        """The same as a picture."""
        from pairloom.report.sheets import explanation_sheet

        return explanation_sheet(self)

    def save(self, path: str | Path) -> None:
        """Write the page, or the picture.

        Raises:
            UsageError: if the name ends in neither `.html` nor `.png`.
        """
        write_sheet(Path(path), self.to_html, self.to_png)


def explain(
    inputs: str | Path | Sequence[str | Path],
    key: str,
    recipe: str | Recipe = "default",
    reading: ReadOptions | None = None,
    shard_size: int = 10_000,
) -> Explanation:
    """Score the pair with that `key` or `source_key` as `run` by `recipe` would.

    Raises:
        RecipeError, UsageError: if it can't work as asked, or there is no such pair.
        RunError: if the pair was found and can't be scored.
    """
    steps = scoring(recipe if isinstance(recipe, Recipe) else Recipe.load(recipe))
    batch = _find(inputs, key, reading or ReadOptions(), shard_size)
    for step in steps:
        batch, bad = step(batch).split()
        if len(bad):
            cell = bad["reject"][0]
            raise RunError(f"{key} can't be scored: {cell['code']} in `{step.name}` ({cell['message']})")
    return _explained(batch, steps[-1])


def _find(inputs: str | Path | Sequence[str | Path], key: str, reading: ReadOptions, shard_size: int) -> Batch:
    for shard in plan_of(inputs, reading, shard_size, None, None).shards:
        for number, row in enumerate(readers.read(shard, reading)):
            made = make_key(shard.index, number, shard_size)
            if key in (made, row.source_key):
                batch, bad = Batch.read([made], [row]).split()
                if len(bad):
                    raise RunError(f"{key} can't be read: {bad['reject'][0]['code']} ({bad['reject'][0]['message']})")
                return batch
    raise UsageError(f"there is no pair with the key {key!r}; `pairloom score` lists all keys")


def _explained(batch: Batch, align: Step) -> Explanation:
    assert batch.pixels is not None and isinstance(align, Align)
    row = batch.table.drop_columns(["image"]).to_pylist()[0]
    seen = zip(row["views"], row["view_scores"], strict=True)
    views = [
        View(tuple(box[side] for side in SIDES), score, place == row["best_view"]) for place, (box, score) in enumerate(seen)
    ]
    return Explanation(
        *(row["key"], row["source_key"], align.model, row["alignment"], row["similarity"]),
        *(tuple(weighted_parts(row)), tuple(views), row["original_width"], row["original_height"]),
        Encode(quality=85).image(Contain(_SIDE).image(batch.pixels[0])),
    )
