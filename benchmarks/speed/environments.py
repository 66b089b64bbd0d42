"""The virtual environments of peers, built once from `requirements-NAME.txt` and again when that changes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent
LIMIT = 1800  # seconds for one


@dataclass(frozen=True)
class Environment:
    """The interpreter of an environment, or why there is none."""

    python: Path | None
    fault: str = ""


def build(name: str, folder: Path) -> Environment:
    """The environment `folder/name`; `pairloom` is the one that runs this. What can't be installed is said, not raised."""
    if name == "pairloom":
        return Environment(Path(sys.executable))
    wanted = (REQUIREMENTS / f"requirements-{name}.txt").read_text("utf-8")
    home = folder / name
    python, mark = home / "bin" / "python", home / "complete.txt"
    if mark.is_file() and mark.read_text("utf-8") == wanted:
        return Environment(python)
    print(f"installing the peers of requirements-{name}.txt", file=sys.stderr, flush=True)
    shutil.rmtree(home, ignore_errors=True)
    venv.create(home, with_pip=True)
    command = [str(python), "-m", "pip", "install", "-q", "--no-input", "--disable-pip-version-check", "--no-cache-dir"]
    try:
        done = subprocess.run(
            [*command, "-r", str(REQUIREMENTS / f"requirements-{name}.txt")], capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return Environment(None, f"not installed within {LIMIT} s")
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        return Environment(None, said[-1])
    mark.write_text(wanted, "utf-8")
    return Environment(python)
