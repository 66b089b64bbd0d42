"""Hand-over: a finished output in the layout of another tool, encoded bytes copied as they are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pairloom import plugins
from pairloom.choices import PROMPT
from pairloom.errors import RunError, UsageError
from pairloom.export.datacomp import datacomp
from pairloom.export.folders import csv, imagefolder, llava
from pairloom.export.mds import mds
from pairloom.export.tables import croissant, huggingface
from pairloom.finished import Finished
from pairloom.writers.parts import PRIVATE

__all__ = ["FORMATS", "export"]

FORMATS: dict[str, Callable[[Finished, Path], int]] = {
    "mds": mds,
    "huggingface": huggingface,
    "imagefolder": imagefolder,
    "llava": partial(llava, prompt=PROMPT),
    "datacomp": datacomp,
    "croissant": croissant,
    "csv": csv,
}
"""What writes each layout; gives how many pairs it wrote. Installed packages may add more."""


def export(output: str | Path, dest: str | Path, to: str, prompt: str = PROMPT) -> int:
    """Write the pairs of a finished run in the layout `to` below `dest`, which must be new or empty; gives how many they are.

    `prompt` is what the human asks in LLaVA's conversations. `dest` appears when it is whole.

    Raises:
        UsageError: if there is no such layout or no output, or `dest` holds something.
        RunError: if the run has not ended, or its files are not what they should be.
    """
    write = partial(llava, prompt=prompt) if to == "llava" else FORMATS.get(to) or plugins.load("writers", to)
    if write is None:
        raise UsageError(f"there is no layout {to!r}; choose one of {', '.join((*FORMATS, *plugins.names('writers', FORMATS)))}")
    run = Finished.read(output)
    if not run.complete:
        raise RunError(f"{output} is not complete: run it to its end first")
    with _appearing(Path(dest)) as folder:
        return int(write(run, folder))


@contextmanager
def _appearing(dest: Path) -> Iterator[Path]:
    """A private folder that takes the place of `dest` when all went well."""
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise UsageError(f"{dest} is not an empty folder; choose a new one")
    folder = dest.with_name(f"{dest.name}{PRIVATE}{os.getpid()}")
    try:
        folder.mkdir(parents=True)
        yield folder
        if dest.exists():
            dest.rmdir()
        folder.rename(dest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
