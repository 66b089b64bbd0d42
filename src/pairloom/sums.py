"""`SHA256SUMS`: the digest of every file of a finished output but those that hold times, as `sha256sum -c` reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from pairloom.output import PLAN, STAGED, SUMS
from pairloom.writers.parts import write_whole
from pairloom.writers.shard import file_digest, manifest_name

RUN_FILES = (PLAN, "recipe.yaml", "manifest.jsonl", "sizes.json")
UNTOLD = (SUMS, ".lock", "report.html")
"""What no sum is kept of, beside `runs/`: it differs from run to run."""


def write_sums(path: Path, shards: Iterable[int]) -> None:
    """Write the digests of a finished output."""
    write_whole(path / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums_of(path, shards).items()).encode())


def sums_of(path: Path, shards: Iterable[int]) -> dict[str, str]:
    """The digests by file name; the files of shards are not read again, for their manifests hold them."""
    sums = {name: file_digest(path / name)["sha256"] for name in RUN_FILES if (path / name).exists()}
    for index in shards:
        for root in (path, path / STAGED):
            if root.is_dir():
                sums |= _shard_sums(path, root / manifest_name(index))
    return dict(sorted(sums.items()))


def read_sums(path: Path) -> dict[str, str]:
    """The digests by file name as they were written, none if the run did not end; raises `ValueError` if they make no sense."""
    if not (path / SUMS).exists():
        return {}
    lines = [line.partition("  ") for line in (path / SUMS).read_bytes().decode("ascii").split("\n")[:-1]]
    return {name: digest for digest, _, name in lines}


def _shard_sums(path: Path, manifest: Path) -> dict[str, str]:
    data = manifest.read_bytes()
    root = manifest.parent.parent
    files = {root / name: said["sha256"] for name, said in json.loads(data)["files"].items()}
    files[manifest] = hashlib.sha256(data).hexdigest()
    return {str(file.relative_to(path)): digest for file, digest in files.items()}
