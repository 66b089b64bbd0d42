"""A small kit to draw sheets with Pillow: text that wraps, with colours behind it, and pictures in a row, stacked to a page.

Letters come from the fonts of the system, each from the first that has it: Pillow's own has Latin letters alone.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pairloom.batch import Pixels
from pairloom.geometry import Box

Colour: TypeAlias = str
INK, DIM, PAPER, SOFT, LINE, ON, WARN = "#1b1f24", "#57606a", "#ffffff", "#f4f6f8", "#d6dbe1", "#0b63b0", "#b02a1a"
SEGMENTS = ("#cfe3f7", "#d6f0d8", "#fbe3c4", "#ead9f7", "#f9d6de", "#d2efee")

_FOLDERS = {
    "darwin": ("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
    "win32": ("C:/Windows/Fonts",),
}.get(sys.platform, ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts"))
_FONTS = (
    *("NotoSans-Regular", "DejaVuSans", "LiberationSans-Regular", "Arial", "Helvetica"),
    *(
        "NotoSansCJK-Regular",
        "NotoSansCJKsc-Regular",
        "SourceHanSansSC-Regular",
        "PingFang",
        "msyh",
        "wqy-microhei",
        "wqy-zenhei",
    ),
    *("DroidSansFallbackFull", "NotoSerifCJK-Regular", "Hiragino Sans GB", "NotoSansArabic-Regular", "NotoSansHebrew-Regular"),
    *("NotoSansDevanagari-Regular", "NotoSansThai-Regular", "Symbola", "NotoEmoji-Regular", "Arial Unicode"),
)
_CJK = "\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef"
_RIGHT = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"  # letters that run from right to left, a stretch of which is laid out as one
_LEFTWARD = re.compile(f"[{_RIGHT}]")
_PIECES = re.compile(f"\n|[{_RIGHT}][{_RIGHT}\\W]*(?<!\\s)|[{_CJK}]|[^\\s{_CJK}{_RIGHT}]+|[^\\S\n]+")
_LETTERS = re.compile(r"(?s).")


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of text in one style; `size` in pixels, `back` the colour behind it."""

    text: str
    size: int = 16
    colour: Colour = INK
    back: Colour | None = None
    struck: bool = False


def text_block(width: int, runs: Sequence[Run]) -> Image.Image:
    """Text wrapped into `width` pixels."""
    lines = list(_lines(width, runs))
    heights = [round(1.5 * max((run.size for run in line), default=16)) for line in lines]
    block = Image.new("RGB", (width, max(1, sum(heights))), PAPER)
    draw, top = ImageDraw.Draw(block), 0
    for line, height in zip(lines, heights, strict=True):
        left = 0.0
        for run in line:
            _draw_run(draw, left, top, height, run)
            left += _width(run)
        top += height
    return block


def row_block(width: int, pictures: Sequence[tuple[Image.Image, Sequence[Run]]], gap: int = 14) -> Image.Image:
    """Pictures side by side, each with a caption under it, in as many rows as it takes."""
    rows: list[list[Image.Image]] = [[]]
    for picture, runs in pictures:
        cell = stack(max(picture.width, 104), [picture, text_block(max(picture.width, 104), runs)], 4)
        if rows[-1] and sum(one.width + gap for one in rows[-1]) + cell.width > width:
            rows.append([])
        rows[-1].append(cell)
    block = Image.new("RGB", (width, sum(max((one.height for one in row), default=0) + gap for row in rows)), PAPER)
    top = 0
    for row in rows:
        left = 0
        for cell in row:
            block.paste(cell, (left, top))
            left += cell.width + gap
        top += max((cell.height for cell in row), default=0) + gap
    return block


def stack(width: int, blocks: Sequence[Image.Image], gap: int, margin: int = 0) -> Image.Image:
    """Blocks below each other."""
    height = sum(block.height for block in blocks) + gap * max(0, len(blocks) - 1)
    page = Image.new("RGB", (width + 2 * margin, height + 2 * margin), PAPER)
    top = margin
    for block in blocks:
        page.paste(block, (margin, top))
        top += block.height + gap
    return page


def rule(width: int) -> Image.Image:
    """A line across the page."""
    return Image.new("RGB", (width, 1), LINE)


def framed(pixels: Pixels, boxes: Sequence[Box], colour: Colour = ON, size: tuple[float, float] | None = None) -> Image.Image:
    """A picture with boxes drawn on it, given in pixels of an image of `size`, that of the picture if none is named."""
    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    across, down = size or picture.size
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, picture.width - 1, picture.height - 1), outline=LINE)
    for left, top, right, bottom in boxes:
        x0, x1 = sorted((left * picture.width / across, right * picture.width / across - 1))
        y0, y1 = sorted((top * picture.height / down, bottom * picture.height / down - 1))
        draw.rectangle((x0, y0, x1, y1), outline=colour, width=2)
    return picture


def png(page: Image.Image) -> bytes:
    """A page as a file."""
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def mixed(share: float, colour: tuple[int, int, int] = (255, 193, 7)) -> Colour:
    """A colour on white as strong as a share, 0 to 1, of it."""
    return "#" + "".join(f"{round(255 + (one - 255) * share):02x}" for one in colour)


def _lines(width: int, runs: Sequence[Run]) -> Iterator[list[Run]]:
    line: list[Run] = []
    left = 0.0
    for run in runs:
        for piece in _pieces(run, width):
            room = 0.0 if piece.text == "\n" else _width(piece)
            if piece.text == "\n" or (line and left + _width(replace(piece, text=piece.text.rstrip())) > width):
                yield line
                line, left = [], 0.0
                if piece.text.isspace():
                    continue
            line.append(piece)
            left += room
    yield line


def _pieces(run: Run, width: int) -> Iterator[Run]:
    """Words, single Han letters and spaces; a word that is longer than a line letter by letter."""
    for match in _PIECES.finditer(run.text):
        piece = replace(run, text=" " if match[0].isspace() and match[0] != "\n" else match[0])  # no other space is laid out
        if len(match[0]) < 8 or _width(piece) <= width:
            yield piece
        elif _LEFTWARD.match(match[0]):
            yield from _filled(piece, width)
        else:
            yield from (replace(run, text=letter) for letter in _LETTERS.findall(match[0]))


def _filled(run: Run, width: int) -> Iterator[Run]:
    """Words together as far as they fit into a line: those that run from right to left are laid out as one."""
    line = ""
    for word in run.text.split():
        longer = f"{line} {word}" if line else word
        if line and _width(replace(run, text=longer)) > width:
            yield replace(run, text=line)
            longer = word
        line = longer
    yield replace(run, text=line)


def _draw_run(draw: ImageDraw.ImageDraw, left: float, top: int, height: int, run: Run) -> None:
    right, base = left + _width(run), top + round(height * 0.72)
    if run.back:
        draw.rectangle((left, top + 1, right, top + height - 2), fill=run.back)
    place = left
    for font, text in _by_font(run.text, run.size):
        draw.text((place, base), text, fill=run.colour, font=font, anchor="ls")
        place += font.getlength(text)
    if run.struck:
        draw.line((left, base - run.size * 0.3, right, base - run.size * 0.3), fill=WARN, width=2)


def _width(run: Run) -> float:
    return sum(font.getlength(text) for font, text in _by_font(run.text, run.size))


def _by_font(text: str, size: int) -> list[tuple[ImageFont.FreeTypeFont, str]]:
    """The text in stretches of one font each. A letter stays in the font of the one before it, if that has it."""
    places: list[int] = []
    for letter in text:
        stays = bool(places) and places[-1] < len(_files()) and _has(places[-1], letter)
        places.append(places[-1] if stays else _font_of(letter))
    stretches = groupby(zip(places, text, strict=True), key=lambda one: one[0])
    return [(_font(place, size), "".join(letter for _, letter in letters)) for place, letters in stretches]


@cache
def _font_of(letter: str) -> int:
    """The first font that has a letter; a space goes with any."""
    return next((place for place in range(len(_files())) if _has(place, letter)), 0 if letter.isspace() else len(_files()))


@cache
def _has(place: int, letter: str) -> bool:
    font = _font(place, 16)
    return letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask("\U0010fffe"))


@cache
def _font(place: int, size: int) -> ImageFont.FreeTypeFont:
    files = _files()
    if place < len(files):
        return ImageFont.truetype(files[place], size)
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):  # a Pillow that was built without FreeType can't size letters
        raise OSError("this Pillow has no FreeType; install a wheel of it, or choose .html")
    return font


@cache
def _files() -> tuple[str, ...]:
    """Fonts of the system that are known to serve, in the order of `_FONTS`."""
    found: dict[str, str] = {}
    for folder in _FOLDERS:
        for path in sorted(Path(folder).expanduser().rglob("*.[to]t[fc]")):
            found.setdefault(path.stem, str(path))
    usable = []
    for name in _FONTS:
        if name in found:
            try:
                ImageFont.truetype(found[name], 16)
            except OSError:
                continue
            usable.append(found[name])
    return tuple(usable)
