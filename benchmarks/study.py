"""What each preprocessing policy is worth: the published study, `docs/study/`, by one command.

    python benchmarks/study.py --work DIR --photos 'FOLDER/*.tar' [--pairs 500] [--model mini]

Builds sets of real pairs below `--work`, compares the policies below on each with `pairloom.compare`, and writes
`docs/study/README.md` and `study.json`. Clip art and stamps are of the split that `mini` was neither trained nor tuned on
(see `training/mini/pairs.py`). `--photos` are WebDataset tars whose JSON holds `captions`, such as Flickr8k's test images;
they are measured only. With real CLIP weights at hand, `--model hf:openai/clip-vit-base-patch32` reruns all of it.
"""

from __future__ import annotations

import argparse
import glob
import io
import json
import platform
import random
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from datasets import write_webdataset
from packages import fetch_debian
from PIL import Image
from sources import Pair, all_sources

import pairloom
from pairloom import Recipe, TextStep, compare, evaluate, step
from pairloom.batch import Pixels
from pairloom.errors import Reject
from pairloom.step import ImageStep
from pairloom.steps.decode import Decode, Decoded
from pairloom.steps.segment import sentences

HERE = Path(__file__).resolve().parent
PROSE = 10
"""Sentences of unrelated prose among which the text of a pair is shuffled, as in `long_text.py`."""


# --- What the quick script does, which Pairloom has no step for ---------------------------


@step("quick_decode")
class QuickDecode(Decode):
    """Pixels as `convert("RGB")` gives them: what lies under transparency shows, EXIF and ICC are ignored."""

    def image(self, data: bytes) -> Decoded:
        try:
            with Image.open(io.BytesIO(data)) as image:
                pixels = np.array(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
            raise Reject("undecodable", str(fault)) from None
        return Decoded(pixels, pixels.shape[1], pixels.shape[0], 1, "any")


@step("aliased_stretch")
class AliasedStretch(ImageStep):
    """Bilinear between the four nearest pixels however much smaller the image gets, as OpenCV's default is."""

    size: int = 512

    def image(self, pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        across = (width / self.size, 0, 0, 0, height / self.size, 0)
        image = Image.fromarray(pixels)
        return np.array(image.transform((self.size,) * 2, Image.Transform.AFFINE, across, Image.Resampling.BILINEAR))


@step("strip_punctuation")
class StripPunctuation(TextStep):
    """Letters, digits and spaces only: a usual way of cleaning."""

    def text(self, text: str) -> str:
        return "".join(one for one in text if one.isalnum() or one.isspace())


# --- Policies -----------------------------------------------------------------------------

CONTAIN = "contain: {longest: 512}"
SEGMENTS = "segment"
WHOLE: dict[str, str] = {
    "first 512 characters": "truncate: {by: characters, max_characters: 512}",
    "first 512 tokens": "truncate: {by: tokens, max_tokens: 512}",
    "first 77 tokens": "truncate: {by: tokens, max_tokens: 77}",
    "sentences that fit into 77 tokens": "truncate: {by: sentences, max_tokens: 77}",
}
NAIVE_TEXT = WHOLE["first 512 characters"]


def _align(model: str, pooling: str = "attention", views: str = "whole") -> str:
    return f"align: {{model: '{model}', pooling: {pooling}, views: {views}}}"


def policies(model: str) -> dict[str, tuple[str, list[str]]]:
    """By name the part of the study it stands in, and its steps. The first is the naive script, `FULL` what Pairloom does."""
    pooled = [SEGMENTS, _align(model)]
    rows: dict[str, tuple[str, list[str]]] = {
        NAIVE: (CHAIN, ["quick_decode", NAIVE_TEXT, "aliased_stretch"]),
        "+ antialiased": (CHAIN, ["quick_decode", NAIVE_TEXT, "stretch: {size: 512}"]),
        "+ transparency composited": (CHAIN, ["decode", NAIVE_TEXT, "stretch: {size: 512}"]),
        "+ aspect kept": (CHAIN, ["decode", NAIVE_TEXT, CONTAIN]),
        "+ cleaned": (CHAIN, ["decode", "clean", NAIVE_TEXT, CONTAIN]),
        "+ whole sentences, 77 tokens": (CHAIN, ["decode", "clean", WHOLE["sentences that fit into 77 tokens"], CONTAIN]),
        FULL: (CHAIN, ["decode", "clean", *pooled, CONTAIN]),
    }
    shapes = {"stretch": "stretch: {size: 512}", "centre crop": "center_crop: {size: 512}"}
    shapes |= {f"letterbox, {fill}": f"letterbox: {{size: 512, fill: {fill}}}" for fill in ("black", "mean", "edge")}
    rows |= {name: ("Geometry", ["decode", "clean", *pooled, line]) for name, line in shapes.items()}
    for views in ("long", "tiles"):
        rows[f"views: {views}"] = ("Geometry", ["decode", "clean", SEGMENTS, _align(model, views=views), CONTAIN])
    for name, line in WHOLE.items():
        rows[name] = ("Text", ["decode", "clean", line, CONTAIN])
    for pooling in ("whole", "mean", "max", "softmax"):
        rows[f"segments, {pooling}"] = ("Text", ["decode", "clean", SEGMENTS, _align(model, pooling), CONTAIN])
    del rows["segments, whole"]
    rows["not cleaned"] = ("Cleaning", ["decode", *pooled, CONTAIN])
    rows["punctuation stripped"] = ("Cleaning", ["decode", "clean", "strip_punctuation", *pooled, CONTAIN])
    return rows


NAIVE, FULL, CHAIN = "naive", "full: segments, attention", "One change after another"


def recipe(lines: list[str]) -> Recipe:
    """The recipe of some steps, images kept as shipped recipes keep them."""
    return Recipe.from_yaml("steps:\n" + "".join(f"- {line}\n" for line in [*lines, "encode: {format: jpeg, quality: 95}"]))


# --- Sets ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Set:
    """Pairs that are measured together, and what they are."""

    name: str
    about: str
    pairs: list[Pair]


def split(text: str) -> list[str]:
    """The sentences of a text."""
    return [text[start:end].strip() for start, end in sentences(text)]


def prose(language: str, cache: Path) -> list[str]:
    """Sentences of the GIMP manual, which describe no drawing and no photograph."""
    manual = next(source for source in all_sources() if source.name == f"gimp-{language}")
    least, most = (40, 200) if language == "en" else (12, 80)
    return list(dict.fromkeys(one for pair in manual.pairs(cache) for one in split(pair.text) if least <= len(one) <= most))


def among(pairs: list[Pair], filler: list[str], join: str, seed: int = 0) -> list[Pair]:
    """The same images, each text shuffled sentence by sentence among unrelated prose."""
    chance = random.Random(seed)
    made = []
    for pair in pairs:
        mixed = split(pair.text) + chance.sample(filler, PROSE)
        chance.shuffle(mixed)
        made.append(Pair(pair.image, pair.suffix, join.join(mixed), pair.source, pair.licence))
    return made


def drawn(work: Path, count: int) -> Iterator[tuple[Pair, str]]:
    """Unseen clip art and stamps as their packages hold them, with the Chinese text, empty where there is none."""
    sys.path.insert(0, str(HERE.parent / "training" / "mini"))
    from pairs import bilingual, drawings, load_pairs

    roots = {"openclipart": "openclipart-png/usr/share/openclipart/png",
             "tuxpaint": "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"}  # fmt: skip
    examples = load_pairs(work)
    chosen = [one for one in drawings(examples, "test", 10_000) if one.source == "openclipart"][:count]
    chosen += [one for one in bilingual(examples, "test") if one.source == "tuxpaint"]
    for one in chosen:
        package, _, inside = roots[one.source].partition("/")
        image = (fetch_debian(package, work / "cache") / inside / one.name).read_bytes()
        yield Pair(image, ".png", one.text.rstrip(" .") + ".", one.source, one.licence), one.text_zh


def photos(pattern: str, count: int) -> list[tuple[bytes, str, list[str]]]:
    """The first images with their captions, in the order of the files."""
    found = []
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


def sets(options: argparse.Namespace) -> Iterator[Set]:
    """All sets, one at a time."""
    cache = options.work / "cache"
    english, chinese = prose("en", cache), prose("zh", cache)
    everything = list(drawn(options.work, options.pairs))
    art = [pair for pair, _ in everything if pair.source == "openclipart"]
    stamps = [
        Pair(pair.image, pair.suffix, text, pair.source, pair.licence) for pair, text in everything if pair.source == "tuxpaint"
    ]
    yield Set("clip-art", "Open Clip Art: title and keywords", art)
    yield Set("clip-art-long", f"the same texts among {PROSE} sentences of a manual", among(art, english, " "))
    yield Set("stamps-zh", "Tux Paint stamps with Chinese sentences", stamps)
    yield Set("stamps-zh-long", f"the same among {PROSE} sentences of a Chinese manual", among(stamps, chinese, ""))
    manual = next(source for source in all_sources() if source.name == "gimp-en")
    figures = list(manual.pairs(cache))
    spread = figures[:: max(1, len(figures) // options.pairs)][: options.pairs]
    yield Set("gimp-manual", "figures of the GIMP manual, each with the paragraph around it", spread)
    if options.photos:
        found = photos(options.photos, options.pairs)
        one = [Pair(data, suffix, captions[0], "photos", "") for data, suffix, captions in found]
        five = [Pair(data, suffix, " ".join(captions), "photos", "") for data, suffix, captions in found]
        yield Set("photos", "Flickr8k, one caption each (photographs of 224 x 224, squashed already: no word on geometry)", one)
        yield Set("photos-five", "the same with five captions joined: every sentence describes the image", five)
        yield Set("photos-long", f"five captions among {PROSE} sentences of a manual", among(five, english, " "))


# --- Measuring and telling ----------------------------------------------------------------


def measure(one: Set, options: argparse.Namespace) -> dict[str, Any]:
    """Both regimes on one set; differences are against the first policy and, from the queries, against the full one."""
    folder = options.work / "study" / one.name
    if not (folder / "pairs").exists():
        (folder / "pairs").mkdir(parents=True)
        write_webdataset(one.pairs, folder / "pairs")
    recipes = {name: recipe(lines) for name, (_, lines) in policies(options.model).items()}
    found: dict[str, Any] = {"about": one.about, "regimes": {}}
    for regime in ("fixed", "refit"):
        start = time.perf_counter()
        said = compare(
            folder / "pairs", recipes, folder, model=options.model, regime=regime, controls=regime == "fixed"
        ).to_json()  # type: ignore[arg-type]
        said["against_full"] = against_full(folder / "queries.parquet")
        found["regimes"][regime] = said
        print(f"{one.name}, {regime}: {said['gallery']['images']} pairs, {time.perf_counter() - start:.0f} s", flush=True)
    return found


def against_full(queries: Path) -> dict[str, dict[str, float]]:
    """Each policy less the full one in 10-way matching, with the probability corrected by Holm."""
    table = pq.read_table(queries)
    hits = {name: [] for name in dict.fromkeys(table["policy"].to_pylist())}  # type: ignore[var-annotated]
    groups: dict[str, list[int]] = {name: [] for name in hits}
    for name, hit, group in zip(*(table[column].to_pylist() for column in ("policy", "match10", "group")), strict=True):
        hits[name].append(float(hit))
        groups[name].append(group)
    found = {name: evaluate.paired(hits[FULL], each, groups[name]) for name, each in hits.items() if name != FULL}
    fair = evaluate.holm([one.p_value for one in found.values()])
    return {
        name: {"difference": one.difference, "low": one.low, "high": one.high, "p_value": p}
        for (name, one), p in zip(found.items(), fair, strict=True)
    }


def percent(value: dict[str, float]) -> str:
    """A share with its interval."""
    return f"{100 * value['value']:.1f} ({100 * value['low']:.1f}–{100 * value['high']:.1f})"


def change(one: dict[str, float] | None) -> str:
    """A difference in points, bold where it is more than chance."""
    if one is None:
        return ""
    text = f"{100 * one['difference']:+.1f}"
    return f"**{text}**" if one["p_value"] < 0.05 else text


def table(said: dict[str, Any], model: str) -> Iterator[str]:
    """Markdown rows of one set under one regime, by the parts of the study."""
    part = ""
    yield "| policy | 10-way | against naive | against full | hard 10-way | text→image R@1 | text lost |"
    yield "|---|---|---|---|---|---|---|"
    for name, (where, _) in policies(model).items():
        one = said["policies"][name]
        if where != part:
            part = where
            yield f"| *{part}* | | | | | | |"
        naive = said["against_first"].get(name)
        cells = [name, percent(one["match10"]), change(naive), change(said["against_full"].get(name))]
        yield (
            "| "
            + " | ".join([*cells, *(f"{100 * one[key]['value']:.1f}" for key in ("match10_hard", "t2i_r1", "text_lost"))])
            + " |"
        )
    for name, one in said["controls"].items():
        hard, first = (f"{100 * one[key]['value']:.1f}" for key in ("match10_hard", "t2i_r1"))
        yield f"| *control: {name}* | {percent(one['match10'])} | | | {hard} | {first} | |"


def page(found: dict[str, Any], options: argparse.Namespace) -> Iterator[str]:
    """The study as Markdown."""
    yield (HERE / "study.md").read_text(encoding="utf-8").rstrip()
    made = f"Made by `python benchmarks/study.py --pairs {options.pairs}` with Pairloom {pairloom.__version__}"
    yield f"\n{made}, model `{options.model}`, on {platform.machine()} with Python {platform.python_version()}."
    yield "\n## At a glance\n\n10-way matching in %, regime `fixed`.\n"
    yield "| set | pairs | naive | full | errors cut | p |\n|---|---|---|---|---|---|"
    for name, one in found.items():
        said = one["regimes"]["fixed"]
        first, full, gain = said["policies"][NAIVE]["match10"], said["policies"][FULL]["match10"], said["against_first"][FULL]
        yield (f"| [{name}](#{name}) | {said['gallery']['images']} | {percent(first)} | {percent(full)} | "
               f"{100 * gain['error_reduction']:.0f} % | {gain['p_value']:.2g} |")  # fmt: skip
    for name, one in found.items():
        yield f"\n## {name}\n\n{one['about'][0].upper()}{one['about'][1:]}."
        for regime, said in one["regimes"].items():
            gallery = said["gallery"]
            lost = max(said["left_out"].values())
            left = f"{lost} left out because a policy rejects them" if lost else "none left out"
            yield f"\n### {name}, {regime}\n\n{gallery['images']} pairs in {gallery['groups']} groups; {left}.\n"
            yield from table(said, options.model)


def _rounded(value: Any) -> Any:
    """The same with four digits, and without the breakdowns and the differences in other measures, which `compare` writes."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items() if key not in ("breakdown", "metrics")}
    return [_rounded(one) for one in value] if isinstance(value, list) else round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """Build, compare, write."""
    parser = argparse.ArgumentParser(description="The published study of preprocessing policies.")
    parser.add_argument("--work", type=Path, required=True, help="where packages, sets and embeddings are kept")
    parser.add_argument("--photos", default="", help="glob of WebDataset tars with `captions` in their JSON")
    parser.add_argument("--pairs", type=int, default=500, help="most pairs of a set")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "study")
    options = parser.parse_args()
    found = {one.name: measure(one, options) for one in sets(options)}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "README.md").write_text("\n".join(page(found, options)) + "\n", encoding="utf-8")
    (options.out / "study.json").write_text(json.dumps(_rounded(found), ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
