"""The openly licensed pairs that `mini` learns from and is measured on: drawings, stamps and emoji, with leak-free splits.

    from pairs import load_pairs

Everything comes from Debian and npm packages through `benchmarks/sources.py`. What may be the same picture or the same text is
put into one group first, across all sources, and a group goes to one split as a whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from packages import fetch_debian, fetch_npm  # noqa: E402
from sources import Emoji, TuxPaint, clip_art_licence, read_folder, read_stamp_texts, read_svg_metadata  # noqa: E402

from pairloom.steps.hash import ImageHash  # noqa: E402

LONGEST, MOST_PIXELS = 384, 40_000_000
NEAR_BITS, NEAR_COLOUR, CROWD, THEME = 8, 9.0, 30, 8
TEST = {"openclipart": 0.36, "tuxpaint": 0.25}
TONES = re.compile("[\U0001f3fb-\U0001f3ff]")


@dataclass
class Example:
    """One picture with its texts; `titles` name it, `texts` are what a user would find beside it."""

    file: str
    source: str
    name: str
    licence: str
    author: str
    titles: list[str]
    keywords: list[str] = field(default_factory=list)
    named: bool = True
    chinese: list[str] = field(default_factory=list)
    chinese_keywords: list[str] = field(default_factory=list)
    phash: str = ""
    thumb: str = ""
    sha: str = ""
    group: int = -1
    split: str = ""

    @property
    def text(self) -> str:
        """Title and keywords in one line, as the benchmark's set has it."""
        return _joined(self.titles, self.keywords, ". Keywords: ", ", ")

    @property
    def text_zh(self) -> str:
        """The same in Chinese, empty where there is none."""
        return _joined(self.chinese, self.chinese_keywords, "。关键词：", "、")


def _joined(titles: list[str], words: list[str], colon: str, comma: str) -> str:
    title = titles[0].rstrip(".。") if titles else ""
    return title + (colon if title else "") + comma.join(words) if words else title


def _clip_art(cache: Path) -> Iterator[tuple[Path, Example]]:
    root, drawings = fetch_debian("openclipart-png", cache), fetch_debian("openclipart-svg", cache)
    images = read_folder(root, "usr/share/openclipart/png", "openclipart-png")
    for path in sorted(images.rglob("*.png")):
        if path.is_symlink():
            continue
        inside = path.relative_to(images)
        found = read_svg_metadata((drawings / "usr/share/openclipart/svg" / inside).with_suffix(".svg"))
        title = re.sub(r"\s*\b0*\d{1,3}$", "", found.title).strip()  # "house 02" is a house
        if title or found.keywords:
            words = list(dict.fromkeys(word.lower() for word in found.keywords if len(word) < 40 and word != "hash"))
            yield path, Example("", "openclipart", inside.as_posix(), clip_art_licence(found), found.author,
                                [title[:1].upper() + title[1:]] if title else [], words)  # fmt: skip


def _stamps(cache: Path) -> Iterator[tuple[Path, Example]]:
    root = fetch_debian("tuxpaint-stamps-default", cache)
    stamps = read_folder(root, "usr/share/tuxpaint/stamps", "tuxpaint-stamps-default")
    for path in sorted(stamps.rglob("*.png")):
        description = path.with_suffix(".txt")
        texts = read_stamp_texts(description) if description.is_file() else {}
        if texts.get("en"):
            chinese = [texts[name] for name in ("zh_CN", "zh_TW") if texts.get(name)]
            yield path, Example("", "tuxpaint", path.relative_to(stamps).as_posix(), TuxPaint.licence, "Tux Paint artists",
                                [texts["en"]], [], True, chinese)  # fmt: skip


def annotations(cache: Path, language: str) -> dict[str, tuple[str, list[str]]]:
    """CLDR's names and keywords of emoji and symbols: character -> (name, keywords)."""
    found = {}
    for package, part in (("cldr-annotations-full", "annotations"), ("cldr-annotations-derived-full", "annotationsDerived")):
        path = fetch_npm(package, cache) / "package" / part / language / "annotations.json"
        for char, entry in json.loads(path.read_text(encoding="utf-8"))[part]["annotations"].items():
            name = (entry.get("tts") or entry["default"])[0]
            found[char.replace("\ufe0f", "")] = (name, [word for word in entry.get("default", []) if word != name])
    return found


def _emoji(cache: Path) -> Iterator[tuple[Path, Example]]:
    english, chinese = annotations(cache, "en"), annotations(cache, "zh")
    for vendor, terms in (("google", Emoji.licence), ("twitter", "CC-BY-4.0 (images), Unicode-3.0 (names and keywords)")):
        package = f"emoji-datasource-{vendor}"
        for path in sorted((fetch_npm(package, cache) / "package/img" / vendor / "64").glob("*.png")):
            char = "".join(chr(int(code, 16)) for code in path.stem.split("-")).replace("\ufe0f", "")
            if char in english and not TONES.search(char):  # the five skin tones are one picture five times over
                name_zh, words_zh = chinese.get(char, ("", []))
                yield path, Example("", f"emoji-{vendor}", char, terms, vendor, [english[char][0]], english[char][1],
                                    True, [name_zh] if name_zh else [], words_zh)  # fmt: skip


def _prepare(job: tuple[Path, Path]) -> tuple[str, str, str] | None:
    """Composite on white, bound the longer side and keep as PNG; None for what cannot be used."""
    source, target = job
    Image.MAX_IMAGE_PIXELS = None
    data = source.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > MOST_PIXELS or min(image.size) < 8:
            return None
        image.thumbnail((4 * LONGEST, 4 * LONGEST), Image.Resampling.BOX, reducing_gap=None)
        pixels = Image.new("RGBA", image.size, "white")
        pixels.alpha_composite(image.convert("RGBA"))
    pixels = pixels.convert("RGB")
    pixels.thumbnail((LONGEST, LONGEST), Image.Resampling.BICUBIC)
    array = np.array(pixels)
    if array.std() < 2:
        return None
    pixels.save(target, compress_level=1)
    thumb = np.asarray(pixels.resize((8, 8), Image.Resampling.BOX)).tobytes().hex()
    return ImageHash().image(array), thumb, hashlib.sha256(array.tobytes()).hexdigest()


def _near(examples: list[Example]) -> Iterator[tuple[int, int]]:
    """Positions of pictures that are copies: perceptual hashes within `NEAR_BITS`, colours within `NEAR_COLOUR` levels."""
    hashes = np.array([int(one.phash, 16) for one in examples], np.uint64)
    thumbs = np.array([list(bytes.fromhex(one.thumb)) for one in examples], np.float32)
    for first in range(0, len(hashes), 512):
        rows, columns = np.nonzero(np.bitwise_count(hashes[first : first + 512, None] ^ hashes[None]) <= NEAR_BITS)
        rows, columns = rows[columns > rows + first] + first, columns[columns > rows + first]
        same = np.sqrt(((thumbs[rows] - thumbs[columns]) ** 2).mean(1)) <= NEAR_COLOUR
        yield from zip(rows[same].tolist(), columns[same].tolist(), strict=True)


def rename(examples: list[Example]) -> None:
    """Where one title stands for a whole theme ("SVG Road Signs"), the file's name says more."""
    uses = Counter(example.titles[0] for example in examples if example.source == "openclipart" and example.titles)
    for example in examples:
        if example.source == "openclipart" and (not example.titles or uses[example.titles[0]] > THEME):
            words = re.sub(r"[\W_\d]+", " ", Path(example.name).stem).strip()
            example.titles, example.named = [words[:1].upper() + words[1:]] if len(words) > 2 else [], False


def group(examples: list[Example]) -> None:
    """Number the groups: same pixels, nearly the same perceptual hash, same title, or same text."""
    parent = list(range(len(examples)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    seen: dict[str, int] = {}
    for place, example in enumerate(examples):
        marks = [example.sha, *(re.sub(r"\W+", " ", title.lower()).strip() for title in example.titles)]
        for mark in filter(None, marks):
            parent[root(place)] = root(seen.setdefault(mark, place))
    for a, b in _near(examples):
        parent[root(a)] = root(b)
    for place, example in enumerate(examples):
        example.group = root(place)


def split(examples: list[Example]) -> None:
    """Send each group to train, val or test by a hash; crowds (one title for a whole theme of icons) go to train."""
    sizes = Counter(example.group for example in examples)
    for example in examples:
        first = examples[example.group]
        share = int(hashlib.sha256(f"mini:{first.sha}".encode()).hexdigest()[:8], 16) / 2**32
        test = TEST.get(first.source, 0.2)
        example.split = "train" if share > test + 0.07 or sizes[example.group] > CROWD else "test" if share < test else "val"


def load_pairs(work: Path) -> list[Example]:
    """All pairs, prepared under `work` (done once), with `group` and `split` (train, val, test) filled in."""
    index = work / "pairs.jsonl"
    if not index.exists():
        folder = work / "images"
        folder.mkdir(parents=True, exist_ok=True)
        found = [item for source in (_clip_art, _stamps, _emoji) for item in source(work / "cache")]
        jobs = [(path, folder / f"{place:06d}.png") for place, (path, _) in enumerate(found)]
        with ProcessPoolExecutor(2) as pool:
            done = list(pool.map(_prepare, jobs, chunksize=32))
        examples = []
        for (_, example), (_, target), result in zip(found, jobs, done, strict=True):
            if result is not None:
                example.file, (example.phash, example.thumb, example.sha) = target.name, result
                examples.append(example)
        rename(examples)
        group(examples)
        split(examples)
        index.write_text("".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in examples), encoding="utf-8")
    return [Example(**json.loads(line)) for line in index.read_text(encoding="utf-8").splitlines()]


def drawings(examples: list[Example], part: str, count: int) -> list[Example]:
    """`count` clip art drawings and stamps of one split, one of each group, so that no title comes twice."""
    groups: dict[int, Example] = {}
    for one in examples:
        if one.source in TEST and one.split == part and one.named and one.titles:
            groups.setdefault(one.group, one)
    return sorted(groups.values(), key=lambda one: one.sha)[:count]


def bilingual(examples: list[Example], part: str) -> list[Example]:
    """Stamps and Noto emoji of one split that have Chinese texts, one of each group."""
    groups: dict[int, Example] = {}
    for one in examples:
        if one.source in ("tuxpaint", "emoji-google") and one.split == part and one.chinese:
            groups.setdefault(one.group, one)
    return sorted(groups.values(), key=lambda one: one.sha)
