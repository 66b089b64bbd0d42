"""What an input is taken for: containers of which kind, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pairloom import plugins
from pairloom.errors import UsageError
from pairloom.readers import folder
from pairloom.readers.cells import IMAGES
from pairloom.readers.inputs import exists, expand
from pairloom.readers.listing import entries
from pairloom.readers.model import shown
from pairloom.remote import is_url, located
from pairloom.remote.names import bare

KINDS = {
    "tar": "webdataset",
    "csv": "csv",
    "tsv": "tsv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "parquet": "parquet",
    "pq": "parquet",
    "json": "llava",
}
"""What a suffix stands for."""

OWN = frozenset(("folder", *KINDS, *KINDS.values(), *IMAGES, *folder.TEXTS))
"""Suffixes and kinds that mean something already: no package may read files of such a suffix."""

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


@dataclass(frozen=True, slots=True)
class Guess:
    """Containers of one kind that a name stands for, why, and how many files of which suffix in the folder don't count."""

    kind: str
    paths: tuple[str, ...]
    why: str
    passed_over: Mapping[str, int] = field(default_factory=dict)


def guesses(inputs: str | Sequence[str]) -> list[Guess]:
    """One for each name that the inputs stand for, in order. Raises `UsageError` for what nothing can be made of."""
    return [_guess(name) for name in expand(inputs)]


def _guess(name: str) -> Guess:
    if is_url(name) and (suffix_of(name) in KINDS or _is_web(name)):  # no need to ask
        return _file(name)
    place = located(name)
    try:
        if place.is_dir():
            return _folder(name.removeprefix("file://"))
    except PermissionError as error:
        raise UsageError(f"{shown(name)} can't be looked at: {error.strerror}") from None
    if isinstance(place, Path) and not place.is_file():
        raise UsageError(f"{shown(name)} is neither a file nor a folder")
    return _file(name)


def _file(name: str) -> Guess:
    suffix = suffix_of(name)
    if suffix in KINDS:
        return Guess(KINDS[suffix], (name,), f"its suffix is .{suffix}")
    if suffix in (added := plugins.names("readers", OWN)):
        return Guess(suffix, (name,), _by_plugin(suffix))
    known = ", ".join(f".{each}" for each in (*KINDS, *added))
    hint = "; unpack compressed files first" if suffix in ("gz", "tgz", "zst", "bz2", "xz", "zip") else ""
    hint = "; give the folder of the images instead" if suffix in IMAGES else hint
    hint = "; web servers don't list folders: name each file, as in 'set/{00000..00041}.tar'" if _is_web(name) else hint
    raise UsageError(f"{shown(name)} has none of the suffixes {known}{hint}")


def _folder(name: str) -> Guess:
    """What is in a folder, by the order that `plan` tells."""
    base = name if name.endswith("/") else f"{name}/"
    for metadata in _METADATA:
        if exists(base + metadata):
            return replace(_file(base + metadata), why=f"the folder holds {metadata}, as Hugging Face's imagefolder does")
    try:
        if folder.has_images(name):
            return Guess("folder", (name,), "the folder holds images")
        files = sorted(each.name for each in entries(name) if each.kind == "file")
    except OSError as error:
        raise UsageError(f"the folder {shown(name)} can't be listed: {error.strerror}") from None
    kinds: dict[str, list[str]] = {}
    for file in files:
        suffix = suffix_of(file)
        if suffix in KINDS and suffix != "json":  # beside tables those are counts and plans
            kinds.setdefault(KINDS[suffix], []).append(base + file)
    if "webdataset" in kinds:  # the tables beside tars, as img2dataset and Pairloom write them, describe the same pairs
        return _some("webdataset", kinds["webdataset"], "the folder holds tars, and what is beside them describes them", files)
    if not kinds and located(f"{base}data").is_dir():  # where the Hugging Face Hub has the tables of a data set
        inner = _folder(f"{base}data")
        return replace(inner, why=f"{inner.why}; it is the folder data of {shown(name)}, where the Hugging Face Hub has tables")
    if not kinds:  # only where nothing else is, so that to install a package changes no run that doesn't use it
        kinds = {each: [base + file for file in files if suffix_of(file) == each] for each in plugins.names("readers", OWN)}
        kinds = {suffix: paths for suffix, paths in kinds.items() if paths}
    if not kinds:
        raise UsageError(f"the folder {shown(name)} holds no images, tars or tables (.csv, .tsv, .jsonl, .parquet)")
    if len(kinds) > 1:
        raise UsageError(f"the folder {shown(name)} holds tables of several kinds ({', '.join(kinds)}); name the files")
    [(kind, paths)] = kinds.items()
    return _some(kind, paths, "the folder holds tables of one kind" if kind in KINDS.values() else _by_plugin(kind), files)


def _some(kind: str, paths: list[str], why: str, files: Iterable[str]) -> Guess:
    """Some of the files of a folder."""
    there = Counter(suffix_of(file) for file in files) - Counter(suffix_of(path) for path in paths)
    return Guess(kind, tuple(paths), why, dict(there))


def _is_web(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def _by_plugin(suffix: str) -> str:
    [(package, version)] = plugins.packages("readers", [suffix]).items() or [("more than one", "package")]
    return f"{package} {version}, which is installed, reads .{suffix}"


def suffix_of(name: str) -> str:
    """The suffix of a file's name in lower case, without the dot; empty if it has none."""
    _, dot, suffix = bare(name).rpartition("/")[2].rpartition(".")
    return suffix.lower() if dot else ""
