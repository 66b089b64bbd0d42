"""Is this machine fit for Pairloom: what is installed, what works, how much room there is, and what to type where it isn't."""

from __future__ import annotations

from pathlib import Path

from pairloom.doctor import machine, packages
from pairloom.doctor.finding import Finding, Level
from pairloom.doctor.probe import Probes

__all__ = ["Finding", "Level", "examine"]


def examine(path: Path = Path()) -> list[Finding]:
    """Look at all there is; `path` is where an output is to go. Nothing is written, nothing heavy imported here."""
    probes = Probes()  # first, so that they work while the rest is looked at
    return [*packages.look(), *machine.look(path), *probes.look()]
