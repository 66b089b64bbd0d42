"""Figures of an HTML manual (DocBook or AsciiDoc output), each with the text around it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

MAX_TEXT = 2500
_ICONS = {
    "caution.png", "draft.png", "home.png", "important.png", "link.png", "next.png", "note.png",
    "prev.png", "tip.png", "up.png", "warning.png",
}  # fmt: skip
_CJK = "\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef"
_SPACE = re.compile(r"\s+")
_CJK_GAP = re.compile(rf"(?<=[{_CJK}]) (?=[{_CJK}])")
_NUMBERING = re.compile(r"^(?:Figure|图形|插图|图)\s*[A-Z]?[\d.]+\s*")
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_FIGURES = {"figure", "imageblock"}
_MEDIA = {"mediaobject", "imageblock"}
_SKIPPED = {"docnav", "indexterm", "navfooter", "navheader", "toc"}


@dataclass(frozen=True)
class Figure:
    """One picture of one page: its file, its caption and the text around it."""

    image: Path
    page: Path
    caption: str
    heading: str
    text: str


@dataclass
class _Block:
    """A piece of a page in reading order: a heading, a paragraph or a picture."""

    kind: str
    text: str = ""
    source: str = ""
    caption: str = ""


class _TreeReader(HTMLParser):
    """Build an element tree from HTML or XHTML; unclosed elements end with their parent."""

    void = frozenset({"br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})

    def __init__(self) -> None:
        super().__init__()
        self.open = [ET.Element("root")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = ET.SubElement(self.open[-1], tag, {name: value or "" for name, value in attrs})
        if tag not in self.void:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        ET.SubElement(self.open[-1], tag, {name: value or "" for name, value in attrs})

    def handle_endtag(self, tag: str) -> None:
        names = [element.tag for element in self.open]
        if tag in names[1:]:
            del self.open[len(names) - 1 - names[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        parent = self.open[-1]
        if len(parent):
            parent[-1].tail = (parent[-1].tail or "") + data
        else:
            parent.text = (parent.text or "") + data


def read_html(path: Path) -> ET.Element:
    """Read an HTML file as an element tree."""
    reader = _TreeReader()
    reader.feed(path.read_text(encoding="utf-8", errors="replace"))
    reader.close()
    return reader.open[0]


def clean_text(text: str) -> str:
    """Collapse white space, and drop the line breaks that split Chinese sentences."""
    return _CJK_GAP.sub("", _SPACE.sub(" ", text)).strip()


def cjk_share(text: str) -> float:
    """Return the share of CJK characters among the letters of ``text``."""
    letters = [char for char in text if char.isalpha()]
    return sum("\u3400" <= char <= "\u9fff" for char in letters) / max(1, len(letters))


def _all_text(element: ET.Element) -> str:
    return clean_text("".join(element.itertext()))


def _caption(element: ET.Element) -> str:
    """Return the title of a figure element, without its number."""
    for child in element.iter():
        if child.tag in {"p", "div"} and child.get("class") == "title":
            return _NUMBERING.sub("", _all_text(child))
    return ""


def _has_blocks(element: ET.Element) -> bool:
    """Tell whether ``element`` holds a list, a figure or further paragraphs."""
    return any(child.tag in {"div", "dl", "img", "ol", "p", "table", "ul"} for child in element)


def _blocks(element: ET.Element, caption: str = "", media: bool = False) -> Iterator[_Block]:
    """Yield the headings, paragraphs and figures below ``element`` in reading order."""
    for child in element:
        tag, classes = child.tag, (child.get("class") or "").split()
        if _SKIPPED.intersection(classes):
            continue
        if tag in _HEADINGS:
            yield _Block("heading", _all_text(child))
        elif tag in {"p", "dt", "pre"} or ("para" in classes and not _has_blocks(child)):
            if "title" not in classes:
                yield _Block("text", _all_text(child))
        elif tag == "img":
            source = child.get("src") or ""
            if media and Path(source).name not in _ICONS:
                yield _Block("image", clean_text(child.get("alt") or ""), source, caption)
        else:
            inner = _caption(child) if _FIGURES.intersection(classes) else caption
            yield from _blocks(child, inner, media or bool(_MEDIA.intersection(classes)))


def _around(blocks: list[_Block], index: int) -> tuple[str, list[str]]:
    """Return the heading above ``blocks[index]`` and the paragraphs of its section.

    The paragraphs after the picture come up to the next heading, and the one just before
    it where there is room; they stop before ``MAX_TEXT`` characters.
    """
    heading, start = "", 0
    for position in range(index, -1, -1):
        if blocks[position].kind == "heading":
            heading, start = blocks[position].text, position
            break
    before = [block.text for block in blocks[start:index] if block.kind == "text" and block.text]
    after: list[str] = []
    for block in blocks[index + 1 :]:
        if block.kind == "heading" and after:
            break
        if block.kind == "text" and block.text:
            after.append(block.text)
    room = MAX_TEXT - 200
    chosen: list[str] = before[-2:]
    room -= sum(map(len, chosen))
    for paragraph in after:
        if len(paragraph) > room:
            break
        chosen.append(paragraph)
        room -= len(paragraph)
    return heading, chosen


def page_figures(page: Path) -> Iterator[Figure]:
    """Yield every figure of one XHTML page that has an image file."""
    body = read_html(page).find(".//body")
    blocks = [] if body is None else list(_blocks(body))
    for index, block in enumerate(blocks):
        image = page.parent / block.source
        if block.kind != "image" or not image.is_file():
            continue
        heading, paragraphs = _around(blocks, index)
        caption = block.caption or block.text
        lines: list[str] = []
        for line in (heading, caption, block.text, *paragraphs):
            if line and line not in lines:
                lines.append(line)
        text = "\n".join(lines)
        if text:
            yield Figure(image, page, caption, heading, text)


def manual_figures(folder: Path) -> Iterator[Figure]:
    """Yield the figures of all pages of a manual, each (image, text) once, in page order."""
    seen: set[tuple[str, str]] = set()
    for page in sorted(folder.glob("*.html")):
        for figure in page_figures(page):
            key = (figure.image.as_posix(), figure.text)
            if key not in seen:
                seen.add(key)
                yield figure
