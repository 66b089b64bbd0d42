"""What was not kept, by step and reason, with examples of each: where they can still be seen, as pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from pairloom import readers
from pairloom.errors import PairloomError, Reject
from pairloom.finished import Finished, images
from pairloom.limits import DEADLY
from pairloom.output import STAGED
from pairloom.readers.model import ReadOptions
from pairloom.remote import is_url
from pairloom.report.parts import cut
from pairloom.report.pictures import Thumbnail, picture, shown, spread
from pairloom.writers.ledger import read_tables
from pairloom.writers.shard import data_name

_GROUPS, _EXAMPLES, _SHARDS = 16, 5, 40
_LETTERS, _SIDE = 160, 160
_DUPLICATES = 6
_VALUES = 200_000  # numbers from messages that charts show
_NUMBERED = ("too_small", "aspect_ratio", "between", "not_in_top", "percentile")
_UNREAD = (PairloomError, Reject, OSError, ValueError, LookupError, pa.ArrowException)


@dataclass(slots=True)
class Example:
    """One pair that was not kept. `kept` is the pair that it is a duplicate of."""

    index: int
    key: str
    source_key: str
    message: str
    text: str = ""
    image: str = ""
    kept: Thumbnail | None = None


@dataclass(slots=True)
class Group:
    """Pairs that one step did not keep for one reason; `decides` says that dropping them was what the step was for."""

    step: str
    reason: str
    count: int
    decides: bool
    examples: list[Example] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rejected:
    """All groups, the largest first, the duplicates apart, and the messages that hold the numbers of what filters dropped."""

    groups: list[Group]
    duplicates: Group | None
    messages: list[str]


def rejected(run: Finished) -> Rejected:
    """Look through the rejects of at most 40 shards."""
    steps = run.summary().steps
    groups = {
        (step.name, reason): Group(step.name, reason, count, step.decides)
        for step in steps
        for reason, count in sorted(step.reasons.items(), key=lambda item: (-item[1], item[0]))
    }
    shown_most = dict(sorted(groups.items(), key=lambda item: -item[1].count)[:_GROUPS])
    messages: list[str] = []
    for place in spread(len(run.shards), _SHARDS):
        _look(run, run.shards[place], groups, messages)
    for group in shown_most.values():
        for index in sorted({one.index for one in group.examples}):
            _fill(run, index, group)
    duplicates = next((group for group in groups.values() if group.reason == "duplicate" and group.examples), None)
    return Rejected([group for group in shown_most.values() if group is not duplicates], duplicates, messages)


def _look(run: Finished, index: int, groups: dict[tuple[str, str], Group], messages: list[str]) -> None:
    for table in read_tables(run.rejects(index), ["key", "source_key", "step", "reason", "message"], 4096):
        for key, source_key, step, reason, message in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if reason in _NUMBERED and len(messages) < _VALUES:
                messages.append(message.partition(", kept is")[0])
            group = groups.get((step, reason))
            if group and len(group.examples) < (_DUPLICATES if reason == "duplicate" else _EXAMPLES):
                group.examples.append(Example(index, key, source_key, cut(message or "", 200)))


def _fill(run: Finished, index: int, group: Group) -> None:
    """Text and picture of the examples of one shard."""
    examples = {one.key: one for one in group.examples if one.index == index}
    left = set(examples)
    for table in read_tables(run.rejects(index), ["key", "original_text"], 16):  # few at a time: texts may be large
        for row in table.filter(pa.array([key in left for key in table["key"].to_pylist()], pa.bool_())).to_pylist():
            examples[row["key"]].text = cut(row["original_text"] or "", _LETTERS)
            left.discard(row["key"])
        if not left:
            break
    for key, data in _images(run, index, list(examples.values())) if group.reason not in DEADLY else ():
        examples[key].image = picture(data, _SIDE)
    if group.reason == "duplicate":
        _find_kept(run, group.examples)


def _images(run: Finished, index: int, examples: Sequence[Example]) -> Iterator[tuple[str, bytes]]:
    """From the staged shard, if they came so far, else from the input, if it is still there."""
    staged = run.path / STAGED / data_name(index, run.format)
    try:
        found = dict(images(staged, [one.key for one in examples])) if staged.exists() else {}
        yield from found.items()
        yield from _from_input(run, index, [one for one in examples if one.key not in found])
    except _UNREAD:  # a report is no place to fail for want of a picture
        return


def _from_input(run: Finished, index: int, examples: Sequence[Example]) -> Iterator[tuple[str, bytes]]:
    shard = run.planned[index]
    if not examples or is_url(shard.container):
        return
    numbers = {shard.numbers[int(one.key[max(5, len(str(index))) :])]: one for one in examples}
    chosen = replace(shard, rows=len(numbers), picks=tuple(sorted(numbers)))
    settings: dict[str, Any] = run.plan["settings"]
    reading = ReadOptions(*(settings[name] for name in ("image_column", "text_column", "encoding")))
    for number, row in zip(sorted(numbers), readers.read(chosen, reading), strict=False):
        if row.image and row.source_key == numbers[number].source_key:  # else the input is another one by now
            yield numbers[number].key, row.image


def _find_kept(run: Finished, examples: Sequence[Example]) -> None:
    named = {one.key: match[1] for one in examples if (match := re.search(r"same as (\d+)", one.message))}
    for index in run.shards if named else ():
        here = {key for key in named.values() if key.startswith(f"{index:05d}")}
        pairs = shown(run, index, here) if here else {}
        for one in examples:
            one.kept = pairs.get(named.get(one.key, ""), one.kept)
