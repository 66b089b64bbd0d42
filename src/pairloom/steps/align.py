"""Alignment: segments of the text against views of the image, in the feature space of a dual encoder."""

from __future__ import annotations

import functools
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pairloom.alignment.attention import Alignment, align
from pairloom.alignment.bank import Bank
from pairloom.alignment.trained import AttentionHead, head_digest, load_head
from pairloom.batch import Batch, Pixels
from pairloom.choices import Kind, Views
from pairloom.errors import Reject, UsageError
from pairloom.geometry import Box, Geometry
from pairloom.limits import BATCH_ROWS
from pairloom.models import Model, bank_digest, embed_bank, load
from pairloom.step import Step, lift, step
from pairloom.steps.tiles import SIDES, TILES, Tiles

Vectors = npt.NDArray[np.float32]

_LONG = 2.0  # from this aspect ratio on, a square view shows less than half of the image
_IMAGES, _TEXTS = 16, 64  # at a time; cut by row order, so that the same shard gives the same batches
_SEGMENTS = 512  # of one caption; a book beside a picture must not stop the line
_LETTERS = 32  # a token seldom has more
_DIGITS = 4  # alone and in a batch scores agree to 1e-4; thresholds see no more than that
_FLOATS = pa.list_(pa.float32())


@dataclass(frozen=True, slots=True)
class _Caption:
    """What is embedded of a caption: as much of it as the model reads, and its segments, None where nothing reaches the model."""

    whole: str
    segments: tuple[str | None, ...]

    @property
    def texts(self) -> list[str]:
        return [self.whole, *(text for text in self.segments if text)] if self.whole else []

    @property
    def scored(self) -> list[str]:
        """The segments, or the whole where there are none."""
        return self.texts[1:] or self.texts


@dataclass(frozen=True, slots=True)
class _Pair:
    """The scores of one pair; `captions` has None for each that the model could not read."""

    captions: list[Alignment | None]
    cells: list[list[tuple[float | None, float]]]
    best: int
    similarity: float


@step("align")
class Align(Step):
    """Score how well text and image fit: each segment against each view, pooled by attention.

    `similarity` is the plain cosine of the whole image and the text, as far as the model reads, cut at a sentence end: the
    number that published thresholds mean. `alignment` is the sum of `segment_weights` times `segment_scores`; what those are
    `pooling` decides, see `pairloom.alignment.attention`. Of several captions the best-scored one counts and becomes `text`.

    `views` are the whole image; with `long`, overlapping squares along an image of 2:1 or longer; with `tiles`, a grid over
    each image that is larger than what the model sees at a time. `model` is a name that `pairloom models` lists. `bank` is a
    folder of images of your own by which to tell what is informative, with a `prose.txt` in it if you like. `head` is what
    `pairloom train` wrote for that model, which takes the place of training-free attention. Of a caption the first 512 segments
    are scored.

    Example: `align: {model: mini, pooling: attention, views: long}`
    """

    model: str = "mini"
    pooling: Kind = "attention"
    views: Views = "long"
    bank: str | None = None
    device: str = "auto"
    head: str | None = None

    reads: ClassVar[tuple[str, ...]] = ("texts", "segments", "geometry")
    reads_pixels: ClassVar[bool] = True
    adds: ClassVar[dict[str, pa.DataType]] = {
        **dict.fromkeys(("similarity", "alignment"), pa.float32()),
        **dict.fromkeys(("best_caption", "best_segment", "best_view"), pa.int32()),
        **dict.fromkeys(("caption_alignments", "segment_scores", "segment_weights", "view_scores"), _FLOATS),
        "views": TILES,
    }

    def problems(self, columns: set[str]) -> list[str]:
        """What a recipe gets wrong that the fields alone don't show."""
        try:
            self.depends_on()
        except UsageError as fault:
            return [str(fault)]
        if self.head and self.pooling != "attention":
            return [f"a trained head pools by attention; `pooling: {self.pooling}` and `head` don't go together"]
        return []

    def depends_on(self) -> dict[str, str]:
        model = load(self.model, self.device)
        said = {"model": model.fingerprint, "bank": bank_digest(self.bank)}
        said["settings"] = f"{model.pooling}, languages {', '.join(model.languages)}"  # the rest of them is in the fingerprint
        if model.package:  # is in the fingerprint already; here it says so to whoever has to find out what changed
            said["package"] = model.package
        if self.head and self.trained(model):
            said["head"] = head_digest(self.head)
        return said

    def trained(self, model: Model) -> AttentionHead | None:
        """The trained head, if there is one. Raises `UsageError` if it can't be read or isn't one for `model`."""
        return load_head(self.head, model.identity, model.name) if self.head else None

    def needs(self, width: int, height: int) -> tuple[int, int] | None:
        transform = load(self.model, self.device).transform
        wide = high = 0.0
        for left, top, right, bottom in self.boxes(width, height):
            w, h = transform.needs(math.ceil(right - left), math.ceil(bottom - top))
            wide, high = max(wide, w * width / (right - left)), max(high, h * height / (bottom - top))
        return min(width, math.ceil(wide)), min(height, math.ceil(high))

    def boxes(self, width: int, height: int) -> list[Box]:
        """The views of an image of `width` x `height` in its pixels, the whole first."""
        if self.views == "tiles":
            return Tiles(size=max(load(self.model, self.device).transform.size)).boxes(width, height)
        if self.views == "long" and max(width, height) >= _LONG * min(width, height):
            return Tiles(size=min(width, height), max_tiles=4, layout="squares").boxes(width, height)
        return [(0.0, 0.0, float(width), float(height))]

    def __call__(self, batch: Batch) -> Batch:
        assert batch.pixels is not None
        model = load(self.model, self.device)
        boxes, views, captions, known = _embedded(self, batch, model)
        head = self.trained(model)
        scorer = _Scorer(model, self.pooling, _bank(model, self.bank, head), known, head)
        found, rejects = lift(lambda row: scorer.pair(row[0], row[1]), list(zip(views, captions, strict=True)))
        return _written(batch, boxes, found).with_rejects(rejects)


@functools.lru_cache(maxsize=4)
def _bank(model: Model, folder: str | None, head: AttentionHead | None) -> Bank:
    """Made once: of thousands of images it takes seconds."""
    vectors = embed_bank(model, folder)
    return head.bank(vectors) if head else Bank.of(vectors)


def embed_scored(align: Align, batch: Batch, model: Model) -> tuple[list[Vectors], list[list[Vectors]]]:
    """What `align` would score, embedded: the views of each pair's image, float32 (v, d), and the segments of each of its
    captions, float32 (s, d), of which there are none where nothing reaches the model."""
    _, views, captions, known = _embedded(align, batch, model)
    none = np.zeros((0, model.dimension), np.float32)
    return views, [[np.stack([known[text] for text in one.scored]) if one.whole else none for one in row] for row in captions]


def _embedded(
    align: Align, batch: Batch, model: Model
) -> tuple[list[list[Box]], list[Vectors], list[list[_Caption]], dict[str, Vectors]]:
    """Boxes and embeddings of views, captions, and the embeddings of their texts."""
    boxes = [align.boxes(*size) for size in zip(batch["width"], batch["height"], strict=True)]
    views = _views(batch, boxes, model)
    captions = [_captions(model, *row) for row in zip(batch["texts"], batch["segments"], strict=True)]
    texts = list(dict.fromkeys(text for row in captions for caption in row for text in caption.texts))
    return boxes, views, captions, dict(zip(texts, embed_in_parts(model.embed_texts, texts, _TEXTS), strict=True))


def _views(batch: Batch, boxes: list[list[Box]], model: Model) -> list[Vectors]:
    """The embeddings of each image's views."""
    images = []
    for pixels, width, height, each in zip(batch.pixels or (), batch["width"], batch["height"], boxes, strict=True):
        images += [cut_view(pixels, (width, height), box) for box in each]
    vectors = iter(embed_in_parts(model.embed_images, images, _IMAGES))
    return [np.stack([next(vectors) for _ in each]) for each in boxes]


@dataclass(frozen=True, slots=True)
class _Scorer:
    """Scores pairs of which all embeddings are known; those of the bank are mapped already where there is a head."""

    model: Model
    kind: Kind
    bank: Bank
    known: Mapping[str, Vectors]
    head: AttentionHead | None

    def pair(self, views: Vectors, captions: Sequence[_Caption]) -> _Pair:
        """Raises `Reject`: empty_text, not_finite."""
        scored = [self._caption(views, caption) for caption in captions]
        if not any(scored):
            raise Reject("empty_text", f"nothing that {self.model.name} reads")
        best = max(range(len(scored)), key=lambda number: (_rounded(scored[number]), -number))
        similarity = float(views[0].astype(np.float64) @ self.known[captions[best].whole])
        return _Pair(scored, [self._cells(*each) for each in zip(captions, scored, strict=True)], best, similarity)

    def _caption(self, views: Vectors, caption: _Caption) -> Alignment | None:
        if not caption.whole:
            return None
        texts = [caption.whole] if self.kind == "whole" else caption.scored
        vectors = np.stack([self.known[text] for text in texts]).astype(np.float64)
        try:
            if self.head:
                return self.head.align(vectors, self.head.images(views), self.bank)
            return align(vectors @ views.T, *self.bank.statistics(vectors), self.model.pooling, self.kind)
        except ValueError:
            raise Reject("not_finite", f"{self.model.name} gave an embedding that is no number") from None

    def _cells(self, caption: _Caption, found: Alignment | None) -> list[tuple[float | None, float]]:
        """Score and weight of every segment; those that were not scored have neither."""
        if found is None or self.kind == "whole" or not any(caption.segments):
            return [(None, 0.0)] * len(caption.segments)
        scores = iter(zip(found.scores.tolist(), found.weights.tolist(), strict=True))
        return [next(scores) if text else (None, 0.0) for text in caption.segments]


def _captions(model: Model, texts: Sequence[str | None], cells: Sequence[Mapping[str, int]]) -> list[_Caption]:
    made = []
    for number, text in enumerate(texts):
        spans = [(cell["start"], cell["end"]) for cell in cells if cell["caption"] == number]
        pieces = [(text or "")[start:end] for start, end in spans[:_SEGMENTS]]
        read = tuple(None if model.is_empty(piece) else piece for piece in pieces) + (None,) * (len(spans) - len(pieces))
        made.append(_Caption(_head(model, text or "", [end for _, end in spans]), read))
    return made


def _head(model: Model, text: str, ends: Sequence[int]) -> str:
    """As much of a text as the model reads, up to a sentence end if there is one; nothing if the model would read nothing."""
    head = text[: model.context_length * _LETTERS]
    if model.is_empty(head):
        return ""
    near = [end for end in ends if end <= len(head)]
    fits = bisect_right(near, model.context_length, key=lambda end: model.count_tokens(head[:end]))
    return head[: near[fits - 1]] if fits else head


def cut_view(pixels: Pixels, size: tuple[int, int], box: Box) -> Pixels:
    """A view of an image of `size`, of which `pixels` may be a smaller rendering."""
    x, y = pixels.shape[1] / size[0], pixels.shape[0] / size[1]
    left, top = math.floor(box[0] * x), math.floor(box[1] * y)
    return pixels[top : max(top + 1, math.ceil(box[3] * y - 1e-9)), left : max(left + 1, math.ceil(box[2] * x - 1e-9))]


def embed_in_parts(embed: Callable[[Any], Vectors], values: Sequence[Any], size: int) -> list[Vectors]:
    """Embeddings of all values, some at a time, on as many threads as the line has."""
    parts, rejects = lift(embed, [values[start : start + size] for start in range(0, len(values), size)], BATCH_ROWS)
    assert not rejects
    return [vector for part in parts if part is not None for vector in part]


def _rounded(found: Alignment | None) -> float:
    return -math.inf if found is None else round(found.alignment, _DIGITS)


def _written(batch: Batch, boxes: list[list[Box]], found: Sequence[_Pair | None]) -> Batch:
    columns: dict[str, list[Any]] = {name: [] for name in (*Align.adds, "text")}
    geometries = zip(batch["geometry"], batch["width"], batch["height"], strict=True)
    for pair, views, (cell, width, height), texts in zip(found, boxes, geometries, batch["texts"], strict=True):
        row = _row(pair, views) if pair else dict.fromkeys(Align.adds)
        row["text"] = texts[pair.best if pair else 0] if texts else ""
        if pair:
            seen = Geometry(1, 1, tuple(cell["crop"]), width, height, tuple(cell["box"]))
            row["views"] = [_original(seen, box) for box in views]
        for name, values in columns.items():
            values.append(row[name])
    return batch.with_columns(Align.adds, **columns)


def _row(pair: _Pair, views: list[Box]) -> dict[str, Any]:
    chosen, cells = pair.captions[pair.best], [cell for caption in pair.cells for cell in caption]
    assert chosen is not None
    before, weights = sum(map(len, pair.cells[: pair.best])), [round(weight, _DIGITS) for _, weight in pair.cells[pair.best]]
    return {
        "similarity": round(pair.similarity, _DIGITS),
        "alignment": _rounded(chosen),
        "best_caption": pair.best,
        "caption_alignments": [None if one is None else _rounded(one) for one in pair.captions],
        "segment_scores": [None if score is None else round(score, _DIGITS) for score, _ in cells],
        "segment_weights": [round(weight, _DIGITS) for _, weight in cells],
        "best_segment": before + weights.index(max(weights)) if any(weights) else None,
        "view_scores": [round(float(score), _DIGITS) for score in chosen.views],
        "best_view": int(np.round(chosen.views, _DIGITS).argmax()),
    }


def _original(seen: Geometry, box: Box) -> dict[str, float]:
    """A box of the image that was scored in pixels of the upright original."""
    corners = (*seen.to_source(box[0], box[1]), *seen.to_source(box[2], box[3]))
    return {side: round(value, 4) for side, value in zip(SIDES, corners, strict=True)}
