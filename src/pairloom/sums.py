"""`SHA256SUMS`: the digest of every file of a finished output but those that hold times, as `sha256sum -c` reads it."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterable

from pairloom.output import PLAN, STAGED, SUMS
from pairloom.remote import Place
from pairloom.writers.parts import write_whole
from pairloom.writers.shard import file_digest, manifest_name, manifests

RUN_FILES = (PLAN, "recipe.yaml", "manifest.jsonl", "sizes.json")
UNTOLD = (SUMS, ".lock", "report.html")
"""What no sum is kept of, beside `runs/`: it differs from run to run."""


def write_sums(path: Place, shards: Iterable[int]) -> None:
    """Write the digests of a finished output."""
    write_whole(path / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums_of(path, shards).items()).encode())


def sums_of(path: Place, shards: Iterable[int]) -> dict[str, str]:
    """The digests by file name; the files of shards are not read again, for their manifests hold them."""
    sums = {name: file_digest(path / name)["sha256"] for name in RUN_FILES if (path / name).exists()}
    shards = list(shards)
    for prefix in ("", f"{STAGED}/"):
        if not prefix or (path / STAGED).is_dir():
            root = path / STAGED if prefix else path
            for index, data in zip(shards, manifests(root, shards), strict=True):
                sums |= _shard_sums(prefix, index, data)
    return dict(sorted(sums.items()))


def sums_agree(path: Place, shards: Iterable[int]) -> bool:
    """Whether the digests are there, and are what would be written now."""
    try:
        sums = read_sums(path)
        return bool(sums) and sums == sums_of(path, shards)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # something is missing or makes no sense
        return False


def read_sums(path: Place) -> dict[str, str]:
    """The digests by file name as they were written, none if the run did not end; raises `ValueError` if they make no sense."""
    if not (path / SUMS).exists():
        return {}
    lines = [line.partition("  ") for line in (path / SUMS).read_bytes().decode("ascii").split("\n")[:-1]]
    return {name: digest for digest, _, name in lines}


def _shard_sums(prefix: str, index: int, manifest: bytes | None) -> dict[str, str]:
    name = prefix + manifest_name(index)
    if manifest is None:
        raise FileNotFoundError(errno.ENOENT, "is missing", name)
    files = {prefix + name: said["sha256"] for name, said in json.loads(manifest)["files"].items()}
    return {**files, name: hashlib.sha256(manifest).hexdigest()}
