"""What an input was taken for, for people: kinds, reasons, and where image, text and key of a pair come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

from pairloom.readers import folder, parquet, table, webdataset
from pairloom.readers.cells import IMAGES
from pairloom.readers.columns import Columns
from pairloom.readers.detect import Guess, guesses, suffix_of
from pairloom.readers.listing import entries
from pairloom.readers.model import ReadOptions, printable, shown

_WORDS = {
    "folder": "a folder of images", "webdataset": "WebDataset", "csv": "CSV", "tsv": "TSV", "jsonl": "JSON lines",
    "parquet": "Parquet", "llava": "LLaVA's JSON",
}  # fmt: skip
_LLAVA = {"image": "`image`", "text": "the answers in `conversations` or `messages`", "key": "`id`"}


@dataclass(frozen=True, slots=True)
class Taken:
    """Containers that follow each other and were taken for the same: `first` of `containers` is the one that was looked into.

    `fields` says where each part of a pair comes from, `passed_over` how many files of which suffix in a folder don't count.
    """

    first: str
    containers: int
    kind: str
    why: str
    fields: Mapping[str, str]
    passed_over: Mapping[str, int]

    def __str__(self) -> str:
        more = f" and {self.containers - 1:,} more" if self.containers > 1 else ""
        lines = [f"{self.first}{more}: {_WORDS.get(self.kind, f'.{self.kind}')}, because {self.why}"]
        lines += [f"  {part:5} {said}" for part, said in self.fields.items()]
        return "\n".join(lines + ([f"  passed over: {_counted(self.passed_over)}"] if self.passed_over else []))


def taken(inputs: str | Sequence[str], options: ReadOptions) -> Iterator[Taken]:
    """What the inputs were taken for, in their order. Raises `UsageError` as `plan` does."""
    for (kind, why), group in groupby(guesses(inputs), key=lambda guess: (guess.kind, guess.why)):
        same = list(group)
        paths = [path for guess in same for path in guess.paths]
        try:
            fields, passed_over = _look(same[0], options)
        except OSError:  # is an input fault in the plan
            fields, passed_over = {}, same[0].passed_over
        yield Taken(shown(paths[0]), len(paths), kind, why, fields, dict(passed_over))


def _look(guess: Guess, options: ReadOptions) -> tuple[dict[str, str], Mapping[str, int]]:
    path = guess.paths[0]
    if guess.kind == "folder":
        return _in_folder(path)
    if guess.kind == "webdataset":
        return _in_tar(path), guess.passed_over
    if guess.kind == "llava":
        return _LLAVA, guess.passed_over
    if guess.kind not in _WORDS:  # a package's own
        return {}, guess.passed_over
    found = parquet.columns_of(path, options) if guess.kind == "parquet" else table.columns_of(path, guess.kind, options)
    return _columns(found, options) if found else {}, guess.passed_over


def _in_folder(path: str) -> tuple[dict[str, str], Mapping[str, int]]:
    """The suffixes of all files at any depth, without hidden ones."""
    there: Counter[str] = Counter()
    folders = [path]
    while folders:
        with suppress(OSError):
            for entry in entries(folders.pop()):
                if entry.kind == "folder":
                    folders.append(entry.path)
                elif entry.kind != "link":
                    there[suffix_of(entry.name)] += 1
    images, texts = ({suffix: there.pop(suffix) for suffix in those if suffix in there} for those in (IMAGES, folder.TEXTS))
    return {"image": _counted(images), "text": f"{_counted(texts)}, of the image's stem" if texts else "none"}, there


def _in_tar(path: str) -> dict[str, str]:
    """The suffixes of the first members."""
    there = webdataset.suffixes(path)
    images = {suffix: count for suffix, count in there.items() if suffix.rpartition(".")[2] in IMAGES}
    texts = {suffix: there[suffix] for suffix in webdataset.TEXTS if suffix in there} or {"json": there["json"]}
    return {"image": _counted(images) or "none", "text": _counted(texts) or "none"} if there else {}


def _columns(found: Columns, options: ReadOptions) -> dict[str, str]:
    asked = {"image": options.image_column, "text": options.text_column}
    named = {"image": found.image, "text": found.text, "key": found.key}
    said = {part: "as you named it" if asked.get(part) else "a usual name" for part in named}
    return {part: f"column `{printable(name)}`, {said[part]}" for part, name in named.items() if name is not None}


def _counted(suffixes: Mapping[str, int]) -> str:
    """How many files there are of each suffix, the most frequent first."""
    ranked = sorted(suffixes.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{f'.{printable(suffix)}' if suffix else 'without suffix'} {count:,}" for suffix, count in ranked if count)
