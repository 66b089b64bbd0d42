"""The sets of real pairs that the study measures on, each with a bank of other images of its kind."""

from __future__ import annotations

import glob
import io
import json
import random
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packages import fetch_debian
from PIL import Image
from sources import Pair, all_sources

from pairloom.steps.decode import Decode
from pairloom.steps.segment import sentences

HERE = Path(__file__).resolve().parent
PROSE = 10
"""Sentences of unrelated prose among which the text of a pair is shuffled, as in `long_text.py`."""
BANK = 256
"""Most images of a bank, about as many as the one that ships has."""


@dataclass(frozen=True)
class Set:
    """Pairs that are measured together, what they are, and images of the same kind that are not among them.

    `geometry` says whether the shape of images can tell anything that another set with the same images doesn't; `controls`
    whether policies are measured that should find nothing.
    """

    name: str
    about: str
    pairs: list[Pair]
    bank: list[bytes]
    geometry: bool = True
    controls: bool = False


def split(text: str) -> list[str]:
    """The sentences of a text."""
    return [text[start:end].strip() for start, end in sentences(text)]


def prose(language: str, cache: Path) -> list[str]:
    """Sentences of the GIMP manual, which describe no drawing and no photograph."""
    manual = next(source for source in all_sources() if source.name == f"gimp-{language}")
    least, most = (40, 200) if language == "en" else (12, 80)
    return list(dict.fromkeys(one for pair in manual.pairs(cache) for one in split(pair.text) if least <= len(one) <= most))


def among(pairs: Sequence[Pair], filler: list[str], join: str, seed: int = 0) -> list[Pair]:
    """The same images, each text shuffled sentence by sentence among unrelated prose."""
    chance = random.Random(seed)
    made = []
    for pair in pairs:
        mixed = split(pair.text) + chance.sample(filler, PROSE)
        chance.shuffle(mixed)
        made.append(replace(pair, text=join.join(mixed)))
    return made


def drawn(work: Path, part: str, source: str, count: int) -> list[tuple[Pair, str]]:
    """Clip art or stamps of one split as their packages hold them, with the Chinese text, empty where there is none."""
    sys.path.insert(0, str(HERE.parent / "training" / "mini"))
    from pairs import bilingual, drawings, load_pairs

    roots = {"openclipart": "openclipart-png/usr/share/openclipart/png",
             "tuxpaint": "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"}  # fmt: skip
    package, _, inside = roots[source].partition("/")
    examples = load_pairs(work)
    found = drawings(examples, part, 10_000) if source == "openclipart" else bilingual(examples, part)
    made = []
    for one in [one for one in found if one.source == source][:count]:
        image = (fetch_debian(package, work / "cache") / inside / one.name).read_bytes()
        made.append((Pair(image, ".png", one.text.rstrip(" .") + ".", one.source, one.licence), one.text_zh))
    return made


def photos(pattern: str, count: int) -> list[tuple[bytes, str, list[str]]]:
    """The first images with their captions, in the order of the files."""
    found: list[tuple[bytes, str, list[str]]] = []
    for name in sorted(glob.glob(pattern)):  # noqa: PTH207 - any pattern
        with tarfile.open(name) as archive:
            files = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]
        for path in (path for path in files if path.endswith(".json")):
            suffix = next(suffix for suffix in ("jpg", "jpeg", "png") if path[:-4] + suffix in files)
            captions = [one.strip().rstrip(" .") + "." for one in json.loads(files[path])["captions"]]
            found.append((files[path[:-4] + suffix], f".{suffix}", captions))
            if len(found) == count:
                return found
    return found


def clip_art(work: Path, count: int) -> list[Pair]:
    """Clip art that `mini` was neither trained nor tuned on, one of each group of duplicates."""
    return [pair for pair, _ in drawn(work, "test", "openclipart", count)]


def sets(work: Path, pattern: str, count: int) -> Iterator[Set]:
    """All sets, one at a time."""
    cache = work / "cache"
    art, other = clip_art(work, count), [pair.image for pair, _ in drawn(work, "train", "openclipart", BANK)]
    yield Set("clip-art", "Open Clip Art: title and keywords", art, other, controls=True)
    long = among(art, prose("en", cache), " ")
    yield Set("clip-art-long", f"the same texts among {PROSE} sentences of a manual", long, other, geometry=False)
    stamps = [replace(pair, text=text) for pair, text in drawn(work, "test", "tuxpaint", count)]
    other = [pair.image for pair, _ in drawn(work, "train", "tuxpaint", BANK)]
    yield Set("stamps-zh", "Tux Paint stamps with Chinese sentences", stamps, other)
    long = among(stamps, prose("zh", cache), "")
    yield Set("stamps-zh-long", f"the same among {PROSE} sentences of a Chinese manual", long, other, geometry=False)
    yield manual(cache, count)
    if pattern:
        yield from photographs(pattern, count, prose("en", cache))


def manual(cache: Path, count: int) -> Set:
    """Figures spread over the English GIMP manual, at most half of them."""
    figures = list(next(source for source in all_sources() if source.name == "gimp-en").pairs(cache))
    spread = figures[:: max(2, len(figures) // count)][:count]
    used = {pair.image for pair in spread}
    rest = [image for image in dict.fromkeys(pair.image for pair in figures) if image not in used]
    about = "figures of the GIMP manual, each with the paragraph around it"
    return Set("gimp-manual", about, spread, rest[:: max(1, len(rest) // BANK)][:BANK])


def photographs(pattern: str, count: int, filler: list[str]) -> Iterator[Set]:
    """Photographs with one caption, with five, and with five among prose."""
    found = photos(pattern, count + BANK)
    other = [data for data, _, _ in found[count:]]
    one = [Pair(data, suffix, captions[0], "photos", "") for data, suffix, captions in found[:count]]
    five = [replace(pair, text=" ".join(captions)) for pair, (_, _, captions) in zip(one, found, strict=False)]
    about = "Flickr8k, one caption each (photographs of 224 x 224, squashed already: no word on geometry)"
    yield Set("photos", about, one, other, geometry=False, controls=True)
    yield Set(
        "photos-five", "the same with five captions joined: every sentence describes the image", five, other, geometry=False
    )
    long = among(five, filler, " ")
    yield Set("photos-long", f"five captions among {PROSE} sentences of a manual", long, other, geometry=False)


def write_bank(images: Sequence[bytes], folder: Path) -> Path:
    """A folder of images as `align: {bank: FOLDER}` takes it, decoded as pairs are, so that no transparency is lost."""
    folder.mkdir(parents=True, exist_ok=True)
    decode = Decode()
    for number, data in enumerate(images):
        image = Image.fromarray(decode.image(data).pixels)
        image.thumbnail((512, 512))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        (folder / f"{number:03d}.png").write_bytes(buffer.getvalue())
    return folder
