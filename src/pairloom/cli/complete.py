"""What the Tab key offers where a name stands. Each imports what it asks when it is asked, so that `--help` need not wait.

Files are offered by the shell itself wherever nothing here fits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from pairloom.choices import Format, Layout, shipped_recipes


def recipes(incomplete: str) -> list[str]:
    """Shipped recipes."""
    return _fitting(shipped_recipes(), incomplete)


def steps(incomplete: str) -> list[str]:
    """Steps and selections, those of plugins among them."""
    from pairloom.registry import REGISTRIES, known

    return _fitting({name for part in REGISTRIES for name in known(part)}, incomplete)


def models(incomplete: str) -> list[str]:
    """The model that ships, and how the names of others begin."""
    from pairloom import plugins
    from pairloom.models import FORMS, OWN

    own = [form if kind == form else f"{kind}:" for form in FORMS for kind in [form.partition(":")[0]]]
    return _fitting([*own, *plugins.names("models", OWN)], incomplete)


def devices(incomplete: str) -> list[str]:
    """Where models compute."""
    return _fitting(("auto", "cpu", "cuda", "mps"), incomplete)


def formats(incomplete: str) -> list[str]:
    """What `run` writes."""
    return _fitting(get_args(Format), incomplete)


def layouts(incomplete: str) -> list[str]:
    """What `export` writes, layouts of plugins among them."""
    from pairloom import plugins

    return _fitting([*get_args(Layout), *plugins.names("writers", get_args(Layout))], incomplete)


def _fitting(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
