"""From values to a page that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import escape

from pairloom import __version__
from pairloom.batch import Pixels
from pairloom.errors import UsageError
from pairloom.writers.parts import write_whole

_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_FRACTION = re.compile(r"-?\d+\.\d{5,}")  # what is left of a float of 32 bits in one of 64
_HAN, _KANA = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]"), re.compile(r"[\u3040-\u30ff]")


def page(file: str, /, **values: Any) -> str:
    """A page by one of the templates in this folder; every value is escaped."""
    return template(file).render(version=__version__, **values)


def template(file: str) -> jinja2.Template:
    """One of the templates in this folder, compiled once."""
    return _environment().get_template(file)


def framed(html: str, height: float) -> str:
    """A page as a notebook shows it, `height` lines high: in a frame, so that its styles and texts touch nothing else."""
    style = f"width: 100%; height: {height:.0f}rem; border: 0"
    return f'<iframe sandbox srcdoc="{escape(html)}" style="{style}" title="Pairloom"></iframe>'


def whole_bytes(text: str) -> bytes:
    """A page as a file; half a character, as a file name may hold, is written out."""
    return text.encode("utf-8", "backslashreplace")


def check_sheet(path: Path) -> None:
    """Raise `UsageError` if a sheet can't have that name: better before the work than after it."""
    if path.suffix not in (".html", ".png"):
        raise UsageError(f"{path} must end in .html or .png")


def write_sheet(path: Path, html: Callable[[], str], png: Callable[[], bytes]) -> None:
    """Write what `html` or `png` makes, as the file's name asks. Raises `UsageError` for another name."""
    check_sheet(path)
    write_whole(path, whole_bytes(html()) if path.suffix == ".html" else png())


def visible(text: object) -> str:
    """A text in which controls, those that turn the reading direction among them, stand as names and do nothing."""
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", str(text))


def rounded(text: str) -> str:
    """A message with its long fractions in four digits."""
    return _FRACTION.sub(lambda match: f"{float(match[0]):.4g}", text)


def language_of(text: str) -> str:
    """What `lang` a browser should choose Han letters by, nothing for other scripts."""
    return "ja" if _KANA.search(text) else "zh-Hans" if _HAN.search(text) else ""


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pairloom", "report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "visible": visible,
        "language": language_of,
        "number": lambda value: f"{value:,}",
        "jpeg": _jpeg,
        "rounded": rounded,
        "percent": _percent,
        "plural": lambda count, thing: f"{count:,} {thing}{'' if count == 1 else 's'}",
        "seconds": _seconds,
    }
    return environment


def _jpeg(pixels: Pixels, side: int) -> str:
    from pairloom.report.pictures import data_url, small_jpeg

    return data_url(small_jpeg(pixels, side, 30_000))


def _percent(share: float) -> str:
    """A share as people say it: never 0 % or 100 % of what is only nearly so."""
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    value = min(99.9, max(0.1, share * 100))
    return f"{value:.1f} %" if value < 10 or value > 99 else f"{value:.0f} %"


def _seconds(value: float) -> str:
    if value >= 3600:
        return f"{value / 3600:,.1f} h"
    return f"{value / 60:,.1f} min" if value >= 600 else f"{value:,.1f} s"
