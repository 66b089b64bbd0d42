"""What installed packages add to Pairloom: steps, models, readers and writers, by entry points.

A package says in its metadata what it adds under which name. It is imported when a name is asked for that Pairloom itself
doesn't know, never before. Neither a recipe nor an input can bring code: only what somebody installed runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import Any, Literal, get_args

from pairloom.errors import UsageError

Group = Literal["steps", "models", "readers", "writers"]
"""What a package may add; the group of the entry points is `pairloom.` before it."""


def names(group: Group, core: Collection[str] = ()) -> list[str]:
    """The names that packages add, sorted, without those in `core`, which are Pairloom's own."""
    return sorted({entry.name for entry in _entries(group)}.difference(core))


def load(group: Group, name: str) -> Any:
    """What a package adds under this name, imported; None if none does.

    Raises:
        UsageError: if two packages add one, or it can't be imported.
    """
    found = [entry for entry in _entries(group) if entry.name == name]
    if not found:
        return None
    if len(found) > 1:
        both = " and ".join(_package(entry) for entry in found)
        raise UsageError(f"{both} each add {name!r} to Pairloom's {group}; pip uninstall one of them")
    try:
        return found[0].load()
    except Exception as fault:  # noqa: BLE001 - the boundary to code of others, which may fail in any way
        said = f"{type(fault).__name__}: {fault}"
        raise UsageError(f"{about(group, name)} can't be imported: {said}; mend it, or uninstall the package") from None


def about(group: Group, name: str) -> str:
    """Which package adds a name, for messages."""
    packages = " and ".join(_package(entry) for entry in _entries(group) if entry.name == name)
    return f"{name!r} among Pairloom's {group}, which the package {packages} adds,"


def packages(group: Group, added: Iterable[str]) -> dict[str, str]:
    """The packages that add these names, each with its version: results depend on them as on any library."""
    wanted = set(added)
    return {entry.dist.name: entry.dist.version for entry in _entries(group) if entry.name in wanted and entry.dist}


def version(package: str) -> str | None:
    """The version of a package here, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def refused(group: Group, core: Collection[str]) -> list[str]:
    """What is wrong with packages that take a name which is Pairloom's own; that name goes on to mean Pairloom's."""
    taken = [entry for entry in _entries(group) if entry.name in core]
    return [f"{_package(entry)} may not add {entry.name!r} to the {group}: that is Pairloom's own" for entry in taken]


def installed() -> dict[str, list[str]]:
    """Every package that adds something, with its version, and what it adds."""
    found: dict[str, list[str]] = {}
    for group in get_args(Group):
        for entry in _entries(group):
            found.setdefault(_package(entry), []).append(f"{group.removesuffix('s')} {entry.name}")
    return found


def _entries(group: str) -> list[EntryPoint]:
    return sorted(metadata.entry_points(group=f"pairloom.{group}"), key=_package)


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
