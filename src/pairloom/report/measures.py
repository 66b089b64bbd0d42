"""What the ledger says of the pairs, as charts with the recipe's limits in them, and as a few numbers."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pairloom.finished import Finished
from pairloom.report.charts import Chart, Choice, Mark, Scale, Values, bars_of, short
from pairloom.report.pictures import spread
from pairloom.steps.text import DetectLanguage
from pairloom.tokenizer import SPECIALS
from pairloom.writers.ledger import read_schema, read_tables

_SHARDS, _TEXTS, _LETTERS = 20, 600, 600
_LEAST, _MOST = "Share of pairs with at least", "Share of pairs with at most"
_FIT = "Share of texts that fit whole into"


@dataclass(frozen=True, slots=True)
class Measure:
    """What one chart shows. `limits` are those that people choose among; without any, quantiles are."""

    name: str
    title: str
    unit: str = ""
    ratio: bool = False
    limits: tuple[float, ...] = ()
    question: str = ""

    @property
    def least(self) -> bool:
        """Whether a limit keeps what is above it."""
        return self.question == _LEAST


_CHARTS = (
    Measure("short_side", "Shorter side of the original", "pixels", True, (64, 128, 224, 336, 512), _LEAST),
    Measure("ratio", "Aspect ratio of the original", "longer side by shorter", True, (1.5, 2, 3, 4), _MOST),
    Measure("tokens", "Length of the text", "tokens, both marks included", True, (32, 64, 77, 128, 248), _FIT),
    Measure("text_lost", "Text left out for the budget", "share of its tokens", False, (0.0, 0.25, 0.5), _MOST),
    Measure("lost", "Image cropped away", "share of the original's area", False, (0.0, 0.1, 0.25, 0.5), _MOST),
    Measure("padded", "Padding in the stored image", "share of its area", False, (0.1, 0.25, 0.5), _MOST),
    Measure("alignment", "Alignment", "all segments and views, pooled", False, (), _LEAST),
    Measure("similarity", "Similarity", "cosine of image and text", False, (), _LEAST),
)
_NUMBERS = {
    "distortion": "distortion (1 is none)",
    "lost": "share of the image cropped away",
    "padded": "share of the canvas that is padding",
    "tokens_kept": "text tokens kept",
    "tokens_lost": "text tokens lost",
    "cleaned_chars": "characters cleaned away",
    "token_ratio": "image tokens per text token",
    "alignment": "alignment",
    "similarity": "similarity",
}
_COLUMNS = (
    *("original_width", "original_height", "tokens_kept", "tokens_lost", "cleaned_chars", "token_ratio"),
    *("alignment", "similarity", "geometry.lost", "geometry.padded", "geometry.distortion", "best_segment", "best_caption"),
)


def read_values(run: Finished, recipe: Mapping[str, Any]) -> dict[str, Values]:
    """Numbers of the kept pairs of at most 20 shards, by name; no value is NaN."""
    wanted = {*_COLUMNS, *(options["column"] for _, options in _entries(recipe) if "column" in options)}
    found: dict[str, list[Values]] = defaultdict(list)
    for place in spread(len(run.shards), _SHARDS):
        path = run.ledger(run.shards[place])
        names = sorted(wanted & _numeric(read_schema(path)))
        for table in read_tables(path, names, 16_384) if names else ():
            flat = table.flatten()
            for name, column in zip(flat.column_names, flat.columns, strict=True):
                found[name.removeprefix("geometry.")].append(column.to_numpy().astype(np.float32))
    values = {name: np.concatenate(parts) for name, parts in found.items()}
    return values | dict(_derived(values))


def numbers(values: Mapping[str, Values]) -> list[tuple[str, str, str, str]]:
    """Mean, median and 95th percentile of what was done to the pairs."""
    rows = []
    for name, title in _NUMBERS.items():
        there = _finite(values.get(name))
        if there.size:
            mean, median, high = (short(float(one)) for one in (there.mean(), np.median(there), np.percentile(there, 95)))
            rows.append((title, mean, median, high))
    return rows


def charts(values: Mapping[str, Values], dropped: Mapping[str, Values], recipe: Mapping[str, Any]) -> list[Chart]:
    """A histogram of each measure that says something."""
    known = {one.name for one in _CHARTS}
    others = {options["column"] for _, options in _entries(recipe) if "column" in options} - known
    measures = (*_CHARTS, *(Measure(name, name, "", False, (), _LEAST) for name in sorted(others)))
    made = []
    for one in measures:
        kept, gone = _finite(values.get(one.name)), _finite(dropped.get(one.name))
        if kept.size and (one.ratio or gone.size or np.ptp(kept) > 0):
            made.append(_chart(one, kept, gone, limits_of(one.name, recipe, kept)))
    return made


def limits_of(name: str, recipe: Mapping[str, Any], kept: Values) -> list[float]:
    """The limits that the recipe sets for a measure. Where it sets a rank, the limit is what that came to."""
    limits: list[float] = []
    for step, options in _entries(recipe):
        if (step, name) == ("min_side", "short_side"):
            limits.append(options["side"])
        elif (step, name) == ("aspect_ratio", "ratio"):
            limits.append(options["max"])
        elif (step, name) == ("truncate", "tokens") and options["by"] != "characters":
            limits.append(options["max_tokens"])
        elif step == "between" and options["column"] == name:
            limits += [value for value in (options["min"], options["max"]) if value is not None]
        elif step == "keep_top" and options["column"] == name:
            limits.append(float(kept.min()))
        elif step == "percentile" and options["column"] == name:
            limits += [float(kept.min())] * (options["min"] > 0) + [float(kept.max())] * (options["max"] < 100)
    return sorted(set(limits))


def dropped_values(messages: Iterable[str]) -> dict[str, Values]:
    """The numbers that the filters' messages name, by measure: what was too small, too long, or not in the top."""
    found: dict[str, list[float]] = defaultdict(list)
    for message in messages:
        said = {name: float(value) for name, value in re.findall(r"(\w+) (-?\d[\d.e+-]*)(?=,|$)", message)}
        if said.keys() >= {"original_width", "original_height"}:
            sides = sorted((said.pop("original_width"), said.pop("original_height")))
            said |= {"short_side": sides[0], "ratio": sides[1] / max(1.0, sides[0])}
        for name, value in said.items():
            found[name].append(value)
    return {name: np.array(each) for name, each in found.items()}


def languages(run: Finished) -> tuple[Counter[str], bool]:
    """The languages of texts by number, and whether they were only told from a sample, because no step did."""
    counts: Counter[str] = Counter()
    for place in spread(len(run.shards), _SHARDS):
        path = run.ledger(run.shards[place])
        for table in read_tables(path, ["language"], 16_384) if "language" in read_schema(path).names else ():
            counts.update(table["language"].to_pylist())
    if counts:
        return counts, False
    detect = DetectLanguage()
    chosen = spread(len(run.shards), 6)
    for place in chosen:
        texts = (text for table in read_tables(run.ledger(run.shards[place]), ["text"], 20) for text in table["text"].to_pylist())
        for _, text in zip(range(_TEXTS // len(chosen)), texts, strict=False):
            counts[detect.text(text[:_LETTERS])[0]] += 1
    return counts, True


def heaviest(values: Mapping[str, Values], run: Finished) -> list[tuple[str, int]]:
    """Which segment carried the match, by its place, in pairs of one caption and of several segments."""
    if "best_segment" not in values or not run.shards:
        return []
    counts: Counter[int] = Counter()
    for place in spread(len(run.shards), _SHARDS):
        path = run.ledger(run.shards[place])
        for table in read_tables(path, ["segment_weights", "best_segment"], 8192):
            sizes = table["segment_weights"].combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
            best = table["best_segment"].to_numpy()
            counts.update(np.minimum(best[(sizes > 1) & (best >= 0)], 5).astype(int).tolist())
    names = ("first", "second", "third", "fourth", "fifth", "later")
    return [(f"{name} segment" if name != "later" else "a later one", counts[place]) for place, name in enumerate(names)]


def _derived(values: Mapping[str, Values]) -> Iterator[tuple[str, Values]]:
    if "original_width" in values:
        sides = values["original_width"], values["original_height"]
        yield "short_side", np.minimum(*sides)
        yield "ratio", np.maximum(*sides) / np.maximum(np.minimum(*sides), 1)
    if "tokens_kept" in values:
        kept, lost = values["tokens_kept"], values["tokens_lost"]
        yield "tokens", kept + lost + SPECIALS
        yield "text_lost", lost / np.maximum(kept + lost, 1)


def _chart(one: Measure, kept: Values, dropped: Values, limits: list[float]) -> Chart:
    every = np.concatenate([kept, dropped])
    scale = Scale.of(every, limits, one.ratio)
    marks = tuple(Mark(scale.place(limit), f"limit {short(limit)}") for limit in limits)
    others = one.limits or tuple(float(value) for value in np.percentile(every, [1, 5, 10, 25, 50]))
    choices = {limit: Choice(short(limit), _share(one, every, limit), True) for limit in limits}
    for limit in others:
        share = _share(one, every, limit)
        if limit not in choices and (one.limits or all(abs(share - ours.share) > 0.01 for ours in choices.values())):
            choices[limit] = Choice(short(limit), share, False)
    return Chart(
        *(one.title, one.unit, bars_of(scale, kept, dropped), scale.ticks(), marks),
        *(one.question, tuple(choices[limit] for limit in sorted(choices)), short(float(np.median(every)))),
    )


def _share(one: Measure, values: Values, limit: float) -> float:
    room = 1e-6 * max(1.0, abs(limit))  # the ledger's floats have 32 bits
    return float(np.mean(values >= limit - room if one.least else values <= limit + room))


def _entries(recipe: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in ("steps", "select"):
        for entry in recipe.get(part, ()):
            yield from entry.items()


def _numeric(schema: pa.Schema) -> set[str]:
    names = set()
    for field in schema:
        inner = [(f"{field.name}.{each.name}", each.type) for each in field.type] if field.name == "geometry" else []
        for name, kind in ((field.name, field.type), *inner):
            if pa.types.is_integer(kind) or pa.types.is_floating(kind):
                names.add(name)
    return names


def _finite(values: Values | None) -> Values:
    return np.empty(0) if values is None else values[np.isfinite(values)].astype(np.float64)
