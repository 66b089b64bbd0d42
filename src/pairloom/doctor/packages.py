"""Python, Pairloom and the packages it needs or can use, all by their metadata: nothing is imported."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pairloom
from pairloom.doctor.finding import Finding
from pairloom.plugins import version

_NEED = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*(?:\(?>=([0-9.]+)\)?)?[^;]*(?:;.*extra\s*==\s*['\"]([\w-]+)['\"])?")
_EXTRAS = {
    "torch": "models by `hf:`, the loader, `train`",
    "ray": "`run --engine ray`",
    "openclip": "models by `openclip:`",
}


@dataclass(frozen=True, slots=True)
class Need:
    """A package, the least version of it that serves, and the extra that it belongs to, None for what is always needed."""

    package: str
    least: str
    extra: str | None

    @property
    def fault(self) -> str:
        """What is wrong with it here, empty if nothing."""
        here = version(self.package)
        if here is None:
            return f"{self.package} is missing"
        return f"{self.package} {here} is older than {self.least}" if _release(here) < _release(self.least) else ""


def look() -> Iterator[Finding]:
    """All findings about what is installed."""
    yield Finding("Python", "ok", f"{platform.python_version()} ({platform.system()} {platform.machine()}), {sys.executable}")
    yield Finding("Pairloom", "ok", f"{pairloom.__version__}, {Path(pairloom.__file__).parent}")
    needs = needed()
    if not needs:
        yield Finding("packages", "note", "Pairloom runs from a folder that was not installed", "pip install .")
    own = [need for need in needs if need.extra is None]
    faults = [need for need in own if need.fault]
    for need in faults:
        yield Finding("packages", "problem", need.fault, f"pip install '{need.package}>={need.least}'")
    if own and not faults:
        yield Finding("packages", "ok", ", ".join(f"{need.package} {version(need.package)}" for need in own))
    for extra, use in _EXTRAS.items():
        yield from _extra(extra, use, [need for need in needs if need.extra == extra])
    yield from _torchvision()


def needed() -> list[Need]:
    """What the installed Pairloom says that it needs, with its extras; nothing if it was never installed."""
    try:
        said = metadata.requires("pairloom") or []
    except metadata.PackageNotFoundError:
        return []
    found = [match for match in map(_NEED.match, said) if match]
    return [Need(match[1], match[2] or "0", match[3]) for match in found]


def _extra(extra: str, use: str, needs: list[Need]) -> Iterator[Finding]:
    faults = [need.fault for need in needs if need.fault]
    there = ", ".join(f"{need.package} {version(need.package)}" for need in needs)
    if faults:
        yield Finding(f"extra {extra}", "note", f"{'; '.join(faults)}: no {use}", f"pip install 'pairloom[{extra}]'")
    elif needs:
        yield Finding(f"extra {extra}", "ok", there)


def _torchvision() -> Iterator[Finding]:
    """A torchvision that was built for another torch makes transformers and open_clip fail in odd ways."""
    torch, vision = version("torch"), version("torchvision")
    if torch is None or vision is None:
        return
    wanted = next((need[1] for need in map(_PINNED.match, metadata.requires("torchvision") or []) if need), None)
    same = wanted is None or _release(wanted) == _release(torch)
    # wheels from PyTorch's own index have a tag such as +cpu or +cu128, those from PyPI have none
    built = vision.partition("+")[2] == torch.partition("+")[2]
    if same and built:
        yield Finding("torchvision", "ok", f"{vision}, made for torch {torch}")
        return
    why = f"was made for torch {wanted}" if not same else "was built for another kind of torch"
    line = (
        "pip uninstall torchvision" if version("open_clip_torch") is None else "pip install --force-reinstall torch torchvision"
    )
    yield Finding("torchvision", "problem", f"{vision} {why}, but here is torch {torch}", line)


_PINNED = re.compile(r"torch\s*\(?==\s*([0-9][0-9.]*)")


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version, without zeros at its end; what follows them (`rc1`, `+cpu`) is left out."""
    numbers = [int(part) for part in re.match(r"[0-9.]*", version)[0].split(".") if part]  # type: ignore[index]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
