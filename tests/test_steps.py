"""One table for every registered step: what all of them promise, proved for each."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pyarrow as pa
import pytest
from conftest import picture

from pairloom.batch import Batch, Row
from pairloom.errors import Reject
from pairloom.recipe import Recipe
from pairloom.run import read_batches
from pairloom.step import STEPS, Step, lift, threads

BEFORE = {
    "tokenize": ["clean"],
    "align": ["decode", "clean", "segment"],
    "truncate": ["clean", "segment"],
    "language": ["detect_language"],
    "token_ratio": ["decode", "truncate"],
    "tiles": ["decode"],
    "min_side": ["decode"],
    "aspect_ratio": ["decode"],
    "between": ["decode"],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "language": {"allow": ("en",)},
    "between": {"column": "width", "min": 80},
    "min_side": {"side": 70},
    "truncate": {"by": "sentences"},
}
ROWS = [
    Row("a", "s", picture(120, 80, 1), ("A cat sits on the mat. It is black.",)),
    Row("b", "s", picture(60, 90, 2, "PNG"), ("一只黑猫坐在垫子上。它很安静。", "第二个标题。")),
    Row("c", "s", b"not an image", ("A bad image.",)),
    Row("d", "s", picture(300, 40, 3, "WEBP"), ("caf\u00c3\u00a9 &amp; bar " * 30,)),
]


def line(name: str) -> tuple[list[Step], Step]:
    """The steps that must come before one, and that one, bound as in a recipe."""
    kind = STEPS[name]
    before = list(BEFORE.get(name, []))
    if kind.reads_pixels and "decode" not in before:
        before.insert(0, "decode")
    literal = [{one: OPTIONS.get(one, {})} for one in [*before, name]]
    if (kind.reads_pixels or "decode" in before or name == "decode") and name != "encode":
        literal.append({"encode": {}})
    made = Recipe(tuple(STEPS[key](**options) for one in literal for key, options in one.items())).bound()
    return list(made[: len(before)]), made[len(before)]


def batch_for(before: list[Step], rows: list[Row] = ROWS) -> Batch:
    batch = Batch.read([f"{number:09d}" for number in range(len(rows))], rows)
    for step in before:
        batch, _ = step(batch).split()
    return batch


def same(one: Batch, other: Batch) -> bool:
    pixels = [(a == b).all() for a, b in zip(one.pixels or (), other.pixels or (), strict=True)]
    return one.table.equals(other.table) and all(pixels)


@pytest.mark.parametrize("name", sorted(STEPS))
class TestEveryStep:
    def test_keeps_rows_and_adds_what_it_declares(self, name: str) -> None:
        before, step = line(name)
        batch = batch_for(before)
        out = step(batch)
        assert out["key"] == batch["key"]
        assert set(out.table.column_names) == set(batch.table.column_names) | set(step.adds)
        for column, kind in step.adds.items():
            assert out.table.schema.field(column).type == kind

    def test_leaves_its_input_as_it_was(self, name: str) -> None:
        before, step = line(name)
        batch = batch_for(before)
        table, pixels = batch.table.slice(0), copy.deepcopy(batch.pixels)
        step(batch)
        assert same(batch, Batch(table, pixels))

    def test_takes_an_empty_batch(self, name: str) -> None:
        before, step = line(name)
        out = step(batch_for(before).take([]))
        assert len(out) == 0
        assert set(step.adds) <= set(out.table.column_names)

    def test_whole_is_the_same_as_halves_and_as_threads(self, name: str) -> None:
        before, step = line(name)
        batch = batch_for(before)
        whole = step(batch)
        halves = [step(batch.take([row])) for row in range(len(batch))]
        assert whole.table.equals(pa.concat_tables([half.table for half in halves]).combine_chunks())
        with threads(3):
            assert same(step(batch), whole)

    def test_is_a_frozen_literal(self, name: str) -> None:
        _, step = line(name)
        literal = {name: dataclasses.asdict(step)}  # type: ignore[call-overload]
        assert STEPS[name](**literal[name]) == step
        assert copy.deepcopy(step) == step
        with pytest.raises(dataclasses.FrozenInstanceError):
            step.name = "other"  # type: ignore[misc]

    def test_says_what_it_is_for(self, name: str) -> None:
        assert STEPS[name].__doc__ and "Args" not in STEPS[name].__doc__

    def test_refuses_an_option_that_it_does_not_have(self, name: str) -> None:
        with pytest.raises(Exception, match="colour_of_money"):
            STEPS[name](**OPTIONS.get(name, {}), colour_of_money="blue")


def test_a_reject_keeps_nothing_of_the_pair_alive() -> None:
    def refuse(data: bytes) -> None:
        raise Reject("no", "not this")

    _, rejects = lift(refuse, [b"a large file"])
    assert (rejects[0].code, rejects[0].message) == ("no", "not this")
    assert rejects[0].__traceback__ is None and rejects[0].__context__ is None


@pytest.mark.parametrize(
    "row", [Row("k", "s", None, ("x" * (9 << 20),)), Row("k", "s", None, (), '{"x": "%s"}' % ("x" * (9 << 20)))]
)
def test_large_texts_and_extras_make_small_batches(row: Row) -> None:
    assert [len(batch) for batch in read_batches([row] * 5, 0, 100)] == [1, 1, 1, 1, 1]
