"""Sheets as pictures: the same that the HTML pages show, drawn with Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageColor

from pairloom.batch import Pixels
from pairloom.report.page import rounded, visible
from pairloom.report.paint import DIM, INK, ON, SEGMENTS, WARN, Run, framed, mixed, png, row_block, rule, stack, text_block
from pairloom.report.parts import shortened
from pairloom.steps.image import Contain

if TYPE_CHECKING:
    from pairloom.explain import Explanation
    from pairloom.preview import PairPreview, Piece, Preview

_WIDTH, _MARGIN, _BIG, _SMALL = 1160, 28, 250, 128
_LETTERS, _ROWS = 2400, 12
_PALE = tuple(mixed(0.4, ImageColor.getrgb(colour)[:3]) for colour in SEGMENTS)  # of what the caption leaves out


def explanation_sheet(it: Explanation) -> bytes:
    """A PNG of one pair explained."""
    image = np.array(Image.open(io.BytesIO(it.image)).convert("RGB"))
    best = [(view.box[0], view.box[1], view.box[2], view.box[3]) for view in it.views if view.best and len(it.views) > 1]
    head = [
        Run(f"alignment {it.alignment:.3f}", 20),
        Run(f"   similarity {it.similarity:.3f} by {it.model}, pair {it.key}", 15, DIM),
    ]
    most = max((part.weight or 0 for part in it.parts), default=0) or 1
    shaded = [
        Run(visible(part.text), back=None if part.weight is None else mixed(0.8 * part.weight / most))
        for part in shortened(it.parts, _LETTERS)
    ]
    rows = [
        Run(f"{part.weight:4.0%}   {visible(part.text)[:400]}\n", 15, ON if part.best else INK)
        for part in sorted(it.parts, key=lambda part: -(part.weight or 0))[:_ROWS]
        if part.weight is not None
    ]
    blocks = [
        text_block(_WIDTH, [Run(visible(it.source_key), 24)]),
        text_block(_WIDTH, head),
        row_block(_WIDTH, [(framed(image, best, size=(it.width, it.height)), [])]),
        text_block(_WIDTH, shaded),
        rule(_WIDTH),
        text_block(_WIDTH, rows),
    ]
    return png(stack(_WIDTH, blocks, 12, _MARGIN))


def preview_sheet(it: Preview) -> bytes:
    """A PNG of some pairs before and after."""
    blocks = [text_block(_WIDTH, [Run("Pairloom preview", 24), Run(f"   recipe {visible(it.recipe)[:80]}", 15, DIM)])]
    for pair in it.pairs:
        blocks += [rule(_WIDTH), *_pair(pair)]
    return png(stack(_WIDTH, blocks, 12, _MARGIN))


def _pair(pair: PairPreview) -> Iterator[Image.Image]:
    score = pair.row.get("alignment")
    yield text_block(
        _WIDTH, [Run(visible(pair.source_key)[:120], 18), Run(f"   alignment {score:.3f}" if score is not None else "", 15, ON)]
    )
    if pair.reject:
        yield text_block(
            _WIDTH, [Run(visible(f"not kept: {pair.reject[1]} in {pair.reject[0]}. {rounded(pair.reject[2])}"), 16, WARN)]
        )
    pictures = []
    if pair.original is not None:
        boxed = framed(_fit(pair.original, _BIG), pair.crop, WARN, pair.original_size)
        pictures.append((boxed, [Run("original ", 13), Run("{}×{}".format(*pair.original_size), 13, DIM)]))
    if pair.result is not None and pair.geometry:
        size = (pair.geometry.width, pair.geometry.height)
        said = [
            Run("result ", 13),
            Run("{}×{}, {:,} kB".format(*size, -(-pair.bytes // 1000)), 13, DIM),
            Run(costs(pair.geometry), 13, DIM),
        ]
        pictures.append((framed(_fit(pair.result, _BIG), pair.box, ON, size), said))
    for other in pair.others:
        boxed = framed(_fit(other.pixels, _SMALL), other.boxes, ON, pair.original_size)
        pictures.append((boxed, [Run(other.name, 13), Run(costs(other), 13, DIM)]))
    yield row_block(_WIDTH, pictures)
    if pair.changes:
        colours = {"same": DIM, "removed": WARN, "added": INK}
        backs = {"added": SEGMENTS[1]}
        runs = [Run(visible(one.text), 14, colours[one.kind], backs.get(one.kind), one.kind == "removed") for one in pair.changes]
        yield text_block(_WIDTH, [Run("cleaned: ", 14, DIM), *runs])
    if pair.pieces:
        yield text_block(_WIDTH, [run for piece in pair.pieces for run in _runs(piece)])
    lost = pair.row.get("tokens_lost")
    if lost is not None:
        yield text_block(_WIDTH, [Run(f"{pair.row['tokens_kept']:,} tokens kept, {lost:,} lost", 13, DIM)])


def costs(shape: object) -> str:
    """What a geometry costs, in words; each on a line of its own."""
    lost, padded, distortion = (getattr(shape, name) for name in ("lost", "padded", "distortion"))
    said = [f"{lost:.0%} lost"] if lost >= 0.005 else []
    said += [f"{padded:.0%} padding"] if padded >= 0.005 else []
    said += [f"{distortion:,.{2 if distortion < 10 else 0}f}× distorted"] if distortion >= 1.005 else []
    return "\n" + ("\n".join(said) or "nothing lost")


def _runs(piece: Piece) -> Iterator[Run]:
    back = None if piece.segment is None else (SEGMENTS if piece.kept else _PALE)[piece.segment % len(SEGMENTS)]
    yield Run(visible(piece.text), 16, INK if piece.kept else DIM, back, not piece.kept and not piece.text.isspace())
    if piece.weight is not None and 0.005 <= piece.weight < 0.995:
        yield Run(f" {piece.weight:.0%} ", 11, ON if piece.best else DIM)


def _fit(pixels: Pixels, side: int) -> Pixels:
    return Contain(side).image(pixels)
