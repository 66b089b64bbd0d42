"""The tables, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from speed.measure import Work


@dataclass(frozen=True)
class Bar:
    """What is wanted: at least, or at most, so much."""

    work: str
    against: str
    least: float
    name: str
    wall: bool = False


BARS = (
    Bar("letterbox", "img2dataset", 2.0, "JPEG → 512 letterbox → JPEG 95"),
    Bar("letterbox", "naive (OpenCV, aliased)", 1.2, "the same"),
    Bar("large", "img2dataset", 3.0, "the same from 4 to 12 MP"),
    Bar("array", "open_clip", 4.0, "JPEG → 224 array, antialiased"),
    Bar("array", "transformers, slow", 5.0, "the same"),
    Bar("array", "transformers, fast", 4.0, "the same"),
    Bar("kernel", "Pillow", 4.0, "the resize alone, bit-identical"),
    Bar("english", "usual script (pysbd)", 8.0, "clean + segment + tokenise, long English"),
    Bar("english", "semantic-text-splitter", 2.5, "the same"),
    Bar("english", "tokenizers alone", 0.8, "the same"),
    Bar("chinese", "usual script (pysbd)", 8.0, "the same, long Chinese"),
    Bar("chinese", "semantic-text-splitter", 2.5, "the same"),
    Bar("chinese", "tokenizers alone", 0.8, "the same"),
    Bar("run", "img2dataset", 2.0, "`run`, 2 workers, CPU time"),
    Bar("run", "img2dataset", 2.0, "the same, wall clock", wall=True),
)
LIMITS = ("letterbox", "large", "png", "array")
MOST = {
    "line": (5.0, "%", "CPU time outside decode, resize, encode and text"),
    "memory": (400.0, "MiB", "a worker on Open Clip Art"),
}


def said(values: Sequence[float], digits: int = 2) -> str:
    """Median and the whole range."""
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} [{low}, {high}]" if len(values) > 1 else middle


def of_work(work: Work, title: str) -> str:
    """All contenders: time an item, Pairloom's ratio to each, quality and memory."""
    kinds = [kind for kind in ("pixels", "file") if any(f"{kind}_psnr" in one.quality for one in work.results.values())]
    measures = [f"{kind}, {name}" for kind in kinds for name in ("PSNR", "SSIM")]
    lines = [f"\n{title}: {work.taken} items of {work.items} that all take\n"]
    lines += _rows(["", "ms an item", "Pairloom is times as fast", *measures, "peak, MiB"])
    for name, one in work.results.items():
        if one.fault:
            lines += [f"| {name} | not measured: {one.fault} |" + " |" * (2 + len(measures))]
            continue
        ratios = work.ratio(name)
        quality = [
            f"{one.quality[f'{kind}_{measure}']:.{digits}f} / {one.quality[f'{kind}_{measure}_worst']:.{digits}f}"
            if f"{kind}_{measure}" in one.quality
            else ""
            for kind in kinds
            for measure, digits in (("psnr", 1), ("ssim", 4))
        ]
        times = said([1000 * seconds for seconds in one.seconds])
        lines.append(_row([name, times, said(ratios) if ratios else "", *quality, str(one.peak or "")]))
    return "\n".join(lines)


def of_parts(parts: Mapping[str, float]) -> str:
    """Percent of CPU time, largest first."""
    ordered = sorted(parts.items(), key=lambda one: -one[1])
    return "\n".join(["\nwhere the CPU time of a run goes, %\n", *_rows(["", "%"]), *(_row([k, f"{v:.1f}"]) for k, v in ordered)])


def of_bars(works: Mapping[str, Work], single: Mapping[str, Sequence[float]]) -> str:
    """What is wanted, and what there is."""
    lines = ["\nthe bars\n", *_rows(["work", "against", "at least", "measured", ""])]
    for bar in BARS:
        if bar.work not in works:
            continue
        ratios = works[bar.work].ratio(bar.against, bar.wall)
        lines.append(_verdict(bar.name, bar.against, f"{bar.least}×", ratios, lambda value, bar=bar: value >= bar.least))
    for name, (most, unit, title) in MOST.items():
        if name in single:
            lines.append(_verdict(title, "", f"≤ {most:.0f} {unit}", single[name], lambda value, most=most: value <= most))
    lines += [
        _row([f"{name}: share of the limit", "decode + kernel + encode alone", "", said([1 / one for one in limits]), ""])
        for name in LIMITS
        if name in works and (limits := works[name].ratio("limit"))
    ]
    return "\n".join(lines)


def _verdict(name: str, against: str, wanted: str, values: Sequence[float], holds: Callable[[float], bool]) -> str:
    if not values:
        return _row([name, against, wanted, "not measured", ""])
    return _row([name, against, wanted, said(values), "yes" if holds(statistics.median(values)) else "**no**"])


def _rows(titles: Sequence[str]) -> list[str]:
    return [_row(titles), "|" + "---|" * len(titles)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
