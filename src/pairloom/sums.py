"""`SHA256SUMS`: the digest of every file of a finished output but those that hold times, as `sha256sum -c` reads it."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from pairloom.output import PLAN, STAGED, SUMS
from pairloom.remote import Place
from pairloom.writers.parts import Parts
from pairloom.writers.shard import file_digest, manifest_name, manifests

RUN_FILES = (PLAN, "recipe.yaml", "manifest.jsonl", "sizes.json")
UNTOLD = (SUMS, ".lock", "report.html")
"""What no sum is kept of, beside `runs/`: it differs from run to run."""


def write_sums(path: Place, shards: Sequence[int]) -> None:
    """Write the digests of a finished output."""
    with Parts(path) as parts:
        file = parts.open(SUMS)
        for line in sum_lines(path, shards):
            file.write(line)
        parts.publish()


def sum_lines(path: Place, shards: Sequence[int]) -> Iterator[bytes]:
    """The lines by file name; the files of shards are not read again, for their manifests hold the digests."""
    # Of a million shards there are five million: kept as bytes they take half of what a dict of them does.
    found = sorted(b"\0".join((name.encode(), bytes.fromhex(digest))) for name, digest in _sums_of(path, shards))
    for one in found:
        name, _, digest = one.partition(b"\0")
        yield b"%b  %b\n" % (digest.hex().encode(), name)


def sums_agree(path: Place, shards: Sequence[int]) -> bool:
    """Whether the digests are there, and are what would be written now."""
    try:
        with (path / SUMS).open("rb") as file:
            return all(line == now for line, now in zip_longest(file, sum_lines(path, shards)))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # something is missing or makes no sense
        return False


def read_sums(path: Place) -> dict[str, str]:
    """The digests by file name as they were written, none if the run did not end; raises `ValueError` if they make no sense."""
    if not (path / SUMS).exists():
        return {}
    lines = [line.partition("  ") for line in (path / SUMS).read_bytes().decode("ascii").split("\n")[:-1]]
    return {name: digest for digest, _, name in lines}


def _sums_of(path: Place, shards: Sequence[int]) -> Iterator[tuple[str, str]]:
    yield from ((name, file_digest(path / name)["sha256"]) for name in RUN_FILES if (path / name).exists())
    for prefix in ("", f"{STAGED}/") if (path / STAGED).is_dir() else ("",):
        for index, manifest in zip(shards, manifests(path / prefix, shards), strict=True):
            name = prefix + manifest_name(index)
            if manifest is None:
                raise FileNotFoundError(errno.ENOENT, "is missing", name)
            yield name, hashlib.sha256(manifest).hexdigest()
            for file, said in json.loads(manifest)["files"].items():
                yield prefix + file, said["sha256"]
