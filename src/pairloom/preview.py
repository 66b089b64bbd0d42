"""What a recipe would do to some pairs, before it is run on all: each pair before and after, beside other geometries."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pairloom import readers
from pairloom.batch import Batch, Pixels, Row
from pairloom.drawing import draw
from pairloom.geometry import Box, Geometry
from pairloom.pipeline import plan_of
from pairloom.readers.model import ReadOptions, printable
from pairloom.recipe import Recipe
from pairloom.report.page import page, write_sheet
from pairloom.report.pictures import decoded
from pairloom.run import make_key
from pairloom.steps.image import CenterCrop, Letterbox, Stretch
from pairloom.steps.tiles import Tiles

_SIDE = 512  # what pictures are drawn from
_LETTERS, _EDITS, _AROUND = 1200, 12, 24  # of a text: shown, changes shown, letters around each
_OTHERS = {"stretch": Stretch(224), "letterbox": Letterbox(224), "centre crop": CenterCrop(224)}


@dataclass(frozen=True, slots=True)
class Shape:
    """What one geometry makes of an image, with its costs as in `Geometry`; `boxes` are tiles, in pixels of the original."""

    name: str
    pixels: Pixels
    lost: float
    padded: float
    distortion: float
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A piece of the text as read: `same`, `removed` by cleaning, or `added` by it."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the clean text: the number of its segment, whether the caption has it, and its weight where it was scored."""

    text: str
    segment: int | None
    kept: bool
    weight: float | None = None
    best: bool = False


@dataclass(frozen=True, slots=True)
class PairPreview:
    """One pair before and after. Sizes are (width, height) in pixels; `reject` is (step, reason code, message)."""

    key: str
    source_key: str
    original: Pixels | None
    original_size: tuple[int, int]
    result: Pixels | None
    geometry: Geometry | None
    bytes: int
    others: tuple[Shape, ...]
    changes: tuple[Change, ...]
    pieces: tuple[Piece, ...]
    row: Mapping[str, Any]
    reject: tuple[str, str, str] | None = None

    @property
    def crop(self) -> tuple[Box, ...]:
        """The part of the original that is left, if something was cropped away."""
        return (self.geometry.crop,) if self.geometry and self.geometry.lost > 0.0005 else ()

    @property
    def box(self) -> tuple[Box, ...]:
        """The part of the result that shows image, if the rest is padding."""
        return (self.geometry.box,) if self.geometry and self.geometry.padded > 0.0005 else ()


@dataclass(frozen=True, slots=True)
class Preview:
    """Some pairs of an input as a recipe would prepare them."""

    recipe: str
    pairs: tuple[PairPreview, ...]

    def to_html(self) -> str:
        """A page that needs nothing else."""
        return page("preview.html.j2", it=self)

    def to_png(self) -> bytes:
        """The same as a picture."""
        from pairloom.report.sheets import preview_sheet

        return preview_sheet(self)

    def save(self, path: str | Path) -> None:
        """Write the sheet, as HTML or as PNG.

        Raises:
            UsageError: if the name ends in neither `.html` nor `.png`.
        """
        write_sheet(Path(path), self.to_html, self.to_png)


def preview(
    inputs: str | Path | Sequence[str | Path],
    recipe: str | Recipe = "default",
    count: int = 12,
    reading: ReadOptions | None = None,
    name: str = "",
) -> Preview:
    """Prepare `count` pairs, spread evenly over `inputs`, and keep what each was before. Nothing is written.

    `name` is what the sheet calls the recipe, its own name if none is given.

    Raises:
        RecipeError, UsageError: if it can't work as asked.
    """
    made = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    options = reading or ReadOptions()
    pairs = []
    for shard in plan_of(inputs, options, 10_000, None, count).shards:
        for number, row in zip(shard.numbers, readers.read(shard, options), strict=False):
            pairs.append(_pair(made, make_key(shard.index, number - shard.first_row, 10_000), row))
    return Preview(printable(name or (recipe if isinstance(recipe, str) else "as given")), tuple(pairs))


def _pair(recipe: Recipe, key: str, row: Row) -> PairPreview:
    batch, bad = Batch.read([key], [row]).split()
    reject = _reject("read", bad)
    for step in recipe.bound() if reject is None else ():
        before = batch
        batch, bad = step(batch).split()
        if len(bad):
            batch, reject = before, _reject(step.name, bad)
            break
    cells = batch.table.drop_columns(["image"]).to_pylist()[0] if len(batch) else {"text": "", "original_text": ""}
    found = decoded(row.image, _SIDE) if row.image else None
    size = (found.width, found.height) if found else (0, 0)
    geometry = _geometry(cells, size) if found and reject is None else None
    data = batch["image"][0] if len(batch) and reject is None else None
    after = decoded(data, _SIDE) if data else None
    return PairPreview(
        key, row.source_key, found.pixels if found else None, size, after.pixels if after else None, geometry, len(data or b""),
        others=tuple(_others(found.pixels, size)) if found else (),
        changes=tuple(_changes(cells)), pieces=tuple(pieces_of(cells)), row=cells, reject=reject,
    )  # fmt: skip


def _reject(step: str, bad: Batch) -> tuple[str, str, str] | None:
    if not len(bad):
        return None
    cell = bad["reject"][0]
    return step, cell["code"], cell["message"] or ""


def _geometry(cells: Mapping[str, Any], size: tuple[int, int]) -> Geometry:
    if "geometry" not in cells:
        return Geometry.identity(*size)
    crop, box = (tuple(cells["geometry"][name]) for name in ("crop", "box"))
    return Geometry(cells["original_width"], cells["original_height"], crop, cells["width"], cells["height"], box)


def _others(pixels: Pixels, size: tuple[int, int]) -> Iterator[Shape]:
    for name, step in _OTHERS.items():
        moved = step.geometry(*size)
        yield Shape(name, draw(pixels, moved), moved.lost, moved.padded, moved.distortion)
    boxes = Tiles(whole=False).boxes(*size)
    yield Shape("one tile" if len(boxes) == 1 else f"{len(boxes)} tiles", pixels, 0.0, 0.0, 1.0, tuple(boxes))


def _changes(cells: Mapping[str, Any]) -> Iterator[Change]:
    """What cleaning changed in the caption that counts; nothing if it changed nothing."""
    texts, place = cells.get("original_texts") or [cells["original_text"]], cells.get("best_caption") or 0
    before = (texts[place] if place < len(texts) else texts[0] or "") or ""
    old, new = before[:_LETTERS], (cells["text"] or "")[:_LETTERS]
    if old == new:
        return
    edits = [one for one in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if one[0] != "equal"]
    end = 0
    for _, i, j, k, m in edits[:_EDITS]:
        yield from _same(old[end:i], first=end == 0)
        yield from [Change(old[i:j].replace("\n", "↵"), "removed")] if j > i else []
        yield from [Change(new[k:m], "added")] if m > k else []
        end = j
    more = len(edits) - _EDITS
    yield Change(f"{old[end : end + _AROUND]}…" + (f" and {more} more changes" if more > 0 else ""), "same")


def _same(text: str, first: bool) -> Iterator[Change]:
    """What is the same on both sides, as much as tells where one is."""
    if len(text) > 2 * _AROUND:
        text = ("" if first else text[:_AROUND]) + " … " + text[-_AROUND:]
    yield Change(text, "same")


def pieces_of(cells: Mapping[str, Any]) -> Iterator[Piece]:
    """The clean text cut at the edges of its segments and of what the caption has of it."""
    text = (cells["text"] or "")[:_LETTERS]
    spans = [
        (number, cell["start"], cell["end"])
        for number, cell in enumerate(cells.get("segments") or ())
        if cell["caption"] == (cells.get("best_caption") or 0)
    ]
    kept = _kept(cells["text"] or "", cells.get("caption"), [(start, end) for _, start, end in spans])
    edges = {0, len(text), *(edge for _, *span in spans for edge in span), *(edge for span in kept for edge in span)}
    weights, places = cells.get("segment_weights"), sorted(edge for edge in edges if edge <= len(text))
    for start, end in pairwise(places):
        owner = next((number for number, first, last in spans if first <= start < last), None)
        weight = weights[owner] if weights and owner is not None else None
        inside = any(first <= start < last for first, last in kept)
        yield Piece(text[start:end], owner, inside, weight, owner is not None and owner == cells.get("best_segment"))
    if len(cells["text"] or "") > _LETTERS:
        yield Piece(f" … and {len(cells['text']) - _LETTERS:,} characters more", None, True)


def _kept(text: str, caption: str | None, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts of a text that its caption is made of."""
    if caption is None or caption == text:
        return [(0, len(text))]
    place = text.find(caption)
    if place >= 0:
        return [(place, place + len(caption))]
    found, left = [], caption
    for start, end in spans:  # segments chosen by their weight, in their order
        if end > start and left.startswith(text[start:end]):
            left = left[end - start :].lstrip()
            found.append((start, end))
    return found
