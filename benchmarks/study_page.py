"""The study as a page, two plots and JSON, from what was measured."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from study_policies import FULL, NAIVE

import pairloom

HERE = Path(__file__).resolve().parent
Difference = Mapping[str, float]
COLOURS = {"fixed": "#1f6feb", "refit": "#d1651a"}


def write(found: Mapping[str, Any], folder: Path, pairs: int, model: str) -> None:
    """Everything, below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("\n".join(page(found, pairs, model)) + "\n", encoding="utf-8")
    (folder / "study.json").write_text(json.dumps(_rounded(found), ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "full-against-naive.svg").write_text(full_against_naive(found["sets"]), encoding="utf-8")
    (folder / "against-full.svg").write_text(rows_against_full(found["sets"]), encoding="utf-8")


# --- The page -----------------------------------------------------------------------------


def page(found: Mapping[str, Any], pairs: int, model: str) -> Iterator[str]:
    """The study as Markdown."""
    yield filled((HERE / "study.md").read_text(encoding="utf-8").rstrip(), found)
    made = f"Made by `python benchmarks/study.py --pairs {pairs}` with Pairloom {pairloom.__version__}"
    yield f"\n{made}, model `{model}`, on {platform.machine()} with Python {platform.python_version()}."
    yield from glance(found["sets"])
    for title, said in found["learnt"].items():
        yield from learnt(title, said)
    yield from banks(found["sets"])
    one = found["padding"]
    yield (f"\n## Padding of texts\n\n{one['texts']} texts of {one['tokens']:.0f} tokens on average, read alone and padded to "
           f"{one['most']} tokens: no score differs by more than {one['largest']:.0e}; {one['padded'] / one['alone']:.1f} times "
           "the CPU time.")  # fmt: skip
    for name, one in found["sets"].items():
        yield f"\n## {name}\n\n{one['about'][0].upper()}{one['about'][1:]}."
        for regime, said in one["regimes"].items():
            gallery, lost = said["gallery"], max(said["left_out"].values())
            left = f"{lost} left out because a policy rejects them" if lost else "none left out"
            yield f"\n### {name}, {regime}\n\n{gallery['images']} pairs in {gallery['groups']} groups; {left}.\n"
            yield from table(said)


def filled(text: str, found: Mapping[str, Any]) -> str:
    """The text with `{set|policy|figure}` as what was measured, in percent or points: the `value` of 10-way matching, its
    difference to the `first` policy or to the `full` one, the share of the first's errors that are `cut`. A set is meant in the
    regime fixed, unless ` refit` follows its name; the title of a comparison of what is learnt from stands in the place of a set.
    What was not measured, such as photographs that weren't given, is a dash.
    """
    tables = dict(found["learnt"])
    for name, one in found["sets"].items():
        tables |= {name: one["regimes"]["fixed"], f"{name} refit": one["regimes"]["refit"]}

    def figure(match: re.Match[str]) -> str:
        if match[1] not in tables:
            return "–"
        said, policy, what = tables[match[1]], match[2], match[3]
        if what == "value":
            return f"{100 * said['policies'][policy]['match10']['value']:.0f}"
        if what == "cut":
            return f"{100 * said['against_first'][policy]['error_reduction']:.0f}"
        return change(said["against_first" if what == "first" else "against_full"][policy]).replace("-", "−")

    return re.sub(r"\{([^|{}]+)\|([^|{}]+)\|(value|first|full|cut)\}", figure, text)


def glance(sets: Mapping[str, Any]) -> Iterator[str]:
    """The full policy against the naive one on every set."""
    yield "\n## At a glance\n\n10-way matching in %, regime `fixed`.\n"
    yield "| set | pairs | naive | full | errors cut | p |\n|---|---|---|---|---|---|"
    for name, one in sets.items():
        said = one["regimes"]["fixed"]
        first, full, gain = said["policies"][NAIVE]["match10"], said["policies"][FULL]["match10"], said["against_first"][FULL]
        yield (f"| [{name}](#{name}) | {said['gallery']['images']} | {percent(first)} | {percent(full)} | "
               f"{100 * gain['error_reduction']:.0f} % | {gain['p_value']:.2g} |")  # fmt: skip
    yield "\n![Points of 10-way matching that the full policy gains over the naive one, by set](full-against-naive.svg)"
    yield "\nWhat each other policy loses or gains against the full one, regime `fixed`:"
    yield "\n![Points of 10-way matching between each policy and the full one, by set](against-full.svg)"


def learnt(title: str, said: Mapping[str, Any]) -> Iterator[str]:
    """One comparison of what heads learn from."""
    head = "a linear head in closed form" if said["head"] == "closed" else f"the attention head, {len(said['seeds'])} seeds"
    yield f"\n## {title}\n\n{said['gallery']['images']} pairs in {said['gallery']['groups']} groups to measure on; {head}.\n"
    yield "| learnt from | pairs | 10-way | against the first | hard 10-way | text→image R@1 | image→text R@1 |"
    yield "|---|---|---|---|---|---|---|"
    for name, one in said["policies"].items():
        rest = (f"{100 * one[key]['value']:.1f}" for key in ("match10_hard", "t2i_r1", "i2t_r1"))
        against = interval(said["against_first"][name]) if name in said["against_first"] else ""
        yield row([name, str(one["fitted_on"]), percent(one["match10"]), against, *rest])


def banks(sets: Mapping[str, Any]) -> Iterator[str]:
    """What correcting by banks brings."""
    yield "\n## Corrections by a bank\n\nThe full policy on half of the pairs, and the points that each correction adds.\n"
    yield "| set | pairs | correction | 10-way | text→image R@1 | image→text R@1 |\n|---|---|---|---|---|---|"
    keys = ("match10", "t2i_r1", "i2t_r1")
    for name, one in sets.items():
        for title, each in one["bank"].items():
            if isinstance(each, dict):
                shown = percent if title == "full" else interval
                yield row([name, str(one["bank"]["pairs"]), title, *(shown(each[key]) for key in keys)])


def table(said: Mapping[str, Any]) -> Iterator[str]:
    """One set under one regime, by the parts of the study."""
    part = ""
    yield "| policy | 10-way | against naive | against full | hard 10-way | text→image R@1 | text lost |"
    yield "|---|---|---|---|---|---|---|"
    for name, where in said["parts"].items():
        one = said["policies"][name]
        if where != part:
            part = where
            yield f"| *{part}* | | | | | | |"
        cells = [name, percent(one["match10"]), change(said["against_first"].get(name)), change(said["against_full"].get(name))]
        yield row([*cells, *(f"{100 * one[key]['value']:.1f}" for key in ("match10_hard", "t2i_r1", "text_lost"))])
    for name, one in said["controls"].items():
        hard, first = (f"{100 * one[key]['value']:.1f}" for key in ("match10_hard", "t2i_r1"))
        yield row([f"*control: {name}*", percent(one["match10"]), "", "", hard, first, ""])


def row(cells: Sequence[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cells) + " |"


def percent(value: Mapping[str, float]) -> str:
    """A share with its interval."""
    return f"{100 * value['value']:.1f} ({100 * value['low']:.1f}–{100 * value['high']:.1f})"


def change(one: Difference | None) -> str:
    """A difference in points, bold where it is more than chance."""
    if one is None:
        return ""
    text = f"{100 * one['difference']:+.1f}"
    return f"**{text}**" if one["p_value"] < 0.05 else text


def interval(one: Difference) -> str:
    """The same with its interval."""
    return f"{change(one)} ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"


def _rounded(value: Any) -> Any:
    """The same with four digits, and without the breakdowns and the differences in other measures, which `compare` writes."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items() if key not in ("breakdown", "metrics")}
    return [_rounded(one) for one in value] if isinstance(value, list) else round(value, 4) if isinstance(value, float) else value


# --- Plots --------------------------------------------------------------------------------


def full_against_naive(sets: Mapping[str, Any]) -> str:
    """A forest plot: a line for each set, both regimes."""
    rows = {
        name: [(said["against_first"][FULL], COLOURS[regime]) for regime, said in one["regimes"].items()]
        for name, one in sets.items()
    }
    return forest({"blue: fixed, orange: refit": rows})


def rows_against_full(sets: Mapping[str, Any]) -> str:
    """A forest plot for each set, a line for each policy, regime fixed."""
    panels = {}
    for name, one in sets.items():
        said = one["regimes"]["fixed"]
        panels[name] = {policy: [(each, COLOURS["fixed"])] for policy, each in said["against_full"].items()}
    return forest(panels)


def forest(panels: Mapping[str, Mapping[str, Sequence[tuple[Difference, str]]]], label: int = 210, width: int = 300) -> str:
    """Panels of dots with their intervals around zero, two panels abreast, as SVG."""
    ends = [
        100 * abs(one[end]) for rows in panels.values() for marks in rows.values() for one, _ in marks for end in ("low", "high")
    ]
    most = 10 * (int(max(ends)) // 10 + 1)
    across, line = 2 if len(panels) > 1 else 1, 20
    made, tops = [], [0] * across
    for number, (title, rows) in enumerate(panels.items()):
        column = number % across
        left, top = column * (label + width + 30), tops[column]
        tops[column] += line * len(rows) + 70
        made += _panel(title, rows, left + label, top + 24, width, most)
    size = f'viewBox="0 0 {across * (label + width + 30)} {max(tops)}"'
    style = "text{font:12px system-ui,sans-serif;fill:#222}.h{font-weight:600}line{stroke:#bbb}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style><rect width="100%" height="100%" fill="#fff"/>'
    return "\n".join([head, *made, "</svg>"]) + "\n"


def _panel(
    title: str, rows: Mapping[str, Sequence[tuple[Difference, str]]], left: int, top: int, width: int, most: int
) -> Iterator[str]:
    """A title, an axis from -most to +most points, and one line of marks for each row."""
    line, bottom = 20, top + 20 * len(rows)

    def x(points: float) -> float:
        return round(left + width * (points + most) / (2 * most), 1)

    yield f'<text class="h" x="{left}" y="{top - 8}">{escape(title)}</text>'
    step = 10 if most < 40 else 20
    for tick in (sign * points for points in range(0, most + 1, step) for sign in ((1, -1) if points else (1,))):
        dash = ' stroke-dasharray="2 3"' if tick else ""
        yield f'<line x1="{x(tick)}" x2="{x(tick)}" y1="{top}" y2="{bottom}"{dash}/>'
        yield f'<text x="{x(tick)}" y="{bottom + 15}" text-anchor="middle">{f"{tick:+d}" if tick else 0}</text>'
    for number, (name, marks) in enumerate(rows.items()):
        y = top + line * number + line // 2
        yield f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(name)}</text>'
        for place, (one, colour) in enumerate(marks):
            at = y + 6 * place - 3 * (len(marks) - 1)
            low, middle, high = (x(100 * one[key]) for key in ("low", "difference", "high"))
            yield f'<line x1="{low}" x2="{high}" y1="{at}" y2="{at}" style="stroke:{colour};stroke-width:2"/>'
            yield f'<circle cx="{middle}" cy="{at}" r="3.5" fill="{colour}"/>'
