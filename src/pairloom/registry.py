"""All steps and selections by name: Pairloom's own, and those that installed packages add."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pairloom import plugins
from pairloom.errors import UsageError
from pairloom.step import SELECTIONS, STEPS, Step
from pairloom.steps import align, decode, dedup, encode, filters, hash, image, processor, rank, segment, text, tiles, truncate

# Importing a module registers its steps.
_REGISTERED = (align, decode, dedup, encode, filters, hash, image, processor, rank, segment, text, tiles, truncate)
REGISTRIES: dict[str, dict[str, type[Any]]] = {"steps": STEPS, "select": SELECTIONS}
"""What is known so far, by the part of a recipe in which it stands; `find` and `load_plugins` add to it."""


def find(part: str, name: str) -> type[Any] | None:
    """The step or selection of that name, None if there is none; the package that adds it is imported.

    Raises:
        UsageError: if that can't be done, or what the package gives is no step of that name.
    """
    registry = REGISTRIES[part]
    if name not in registry:
        kind = plugins.load("steps", name)
        if kind is not None and not any(each.get(name) is kind for each in REGISTRIES.values()):
            raise UsageError(f"{plugins.about('steps', name)} is no class made with `@step({name!r})`")
    return registry.get(name)


def known(part: str) -> list[str]:
    """All names that may stand in a part of a recipe; nothing is imported, so a selection of a package is among the steps."""
    return sorted({*REGISTRIES[part], *plugins.names("steps", _known())})


def load_plugins() -> list[str]:
    """Import what all packages add, and give what is wrong with those that can't be used."""
    problems = plugins.refused("steps", own())
    for name in plugins.names("steps", _known()):
        try:
            find("steps", name)
        except UsageError as fault:
            problems.append(str(fault))
    return problems


def packages(steps: Iterable[Step]) -> dict[str, str]:
    """The packages that some of the steps come from, each with its version."""
    others = [step for step in steps if not _is_own(type(step))]
    return plugins.packages("steps", [one.name for one in others if plugins.load("steps", one.name) is type(one)])


def own() -> set[str]:
    """The names that are Pairloom's own."""
    return {name for registry in REGISTRIES.values() for name, kind in registry.items() if _is_own(kind)}


def _known() -> set[str]:
    return {name for registry in REGISTRIES.values() for name in registry}


def _is_own(kind: type[Any]) -> bool:
    return kind.__module__.startswith("pairloom.")
