"""The schedule of an epoch: every pair once, as many steps on every rank, the same whoever does the work."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairloom.errors import UsageError
from pairloom.torch.plan import Batching, Lengths, Schedule, schedule


def lengths(count: int, seed: int = 0, buckets: int = 5) -> Lengths:
    rng = np.random.default_rng(seed)
    bucket, grid, text = rng.integers(0, buckets, count), rng.integers(1, 15, (count, 2)), rng.integers(2, 78, count)
    return Lengths(*(values.astype(np.int32) for values in (bucket, grid, text, -(-text // 8) * 8)))


def batches(plan: Schedule) -> list[list[int]]:
    return [plan.batch(step).tolist() for step in range(len(plan))]


sets = st.builds(lengths, st.integers(1, 300), st.integers(0, 99), st.integers(1, 8))
shapes = {"pool": st.integers(1, 400), "block": st.integers(1, 40), "shuffle": st.booleans()}


@settings(max_examples=60, deadline=None)
@given(sets, st.integers(1, 9), st.integers(1, 5), st.sampled_from(["repeat", "short", "drop"]), st.fixed_dictionaries(shapes))
def test_every_pair_once_and_equal_steps(table: Lengths, size: int, ranks: int, remainder: str, shape: dict[str, int]) -> None:
    batching = Batching(size, remainder=remainder, **shape)
    whole = size * ranks
    if remainder == "drop" and len(table) < whole:
        with pytest.raises(UsageError, match="remainder is drop"):
            schedule(table, batching, ranks, 1, 0)
        return
    plan = schedule(table, batching, ranks, 1, 0)
    seen = Counter(row for batch in batches(plan) for row in batch)
    assert all(len(batch) % ranks == 0 for batch in batches(plan))  # each rank has as many rows of each batch, so as many steps
    extra = sum(seen.values()) - len(table)
    if remainder == "drop":
        assert set(seen.values()) == {1} and plan.dropped == len(table) % whole == -extra
    else:
        assert len(seen) == len(table) and plan.dropped == 0
        assert extra == -len(table) % (whole if remainder == "repeat" else ranks)
    sizes = [len(batch) for batch in batches(plan)]
    assert len(plan) == (len(table) // whole if remainder == "drop" else math.ceil(len(table) / whole))
    assert sum(size != whole for size in sizes) <= (remainder == "short")


@settings(max_examples=60, deadline=None)
@given(sets, st.integers(0, 2000), st.integers(1, 5), st.fixed_dictionaries(shapes))
def test_no_batch_goes_over_the_token_budget(table: Lengths, spare: int, ranks: int, shape: dict[str, int]) -> None:
    divisor = 2 * ranks
    budget = 2 * (200 + 80) + spare
    plan = schedule(table, Batching(token_budget=budget, divisor=divisor, **shape), ranks, 1, 0)
    seen = Counter(row for batch in batches(plan) for row in batch)
    assert len(seen) == len(table)
    assert sum(seen.values()) - len(table) == -len(table) % divisor
    for batch in batches(plan):
        longest = table.image[batch].max(0).prod() + table.most[batch].max()
        assert len(batch) % divisor == 0
        assert len(batch) // ranks * longest <= budget


@settings(max_examples=30, deadline=None)
@given(sets, st.sampled_from([(1, 12), (2, 6), (3, 4), (4, 3)]), st.integers(0, 5))
def test_any_number_of_ranks_makes_the_same_global_batches(table: Lengths, split: tuple[int, int], epoch: int) -> None:
    ranks, size = split
    one = schedule(table, Batching(12, pool=50, block=3), 1, 7, epoch)
    many = schedule(table, Batching(size, pool=50, block=3), ranks, 7, epoch)
    assert batches(one) == batches(many)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    table, batching = lengths(200), Batching(8)
    assert batches(schedule(table, batching, 1, 3, 2)) == batches(schedule(table, batching, 1, 3, 2))
    assert batches(schedule(table, batching, 1, 3, 2)) != batches(schedule(table, batching, 1, 3, 3))
    assert batches(schedule(table, batching, 1, 3, 2)) != batches(schedule(table, batching, 1, 4, 2))


def test_without_shuffle_the_order_of_the_set_stays() -> None:
    plan = schedule(lengths(10), Batching(4, shuffle=False, remainder="short"), 1, 0, 0)
    assert batches(plan) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_batches_are_of_one_bucket_and_of_like_lengths() -> None:
    table = lengths(4000, buckets=4)
    plan = schedule(table, Batching(16), 1, 0, 0)
    mixed = [batch for batch in batches(plan) if len(set(table.bucket[batch])) > 1]
    assert len(mixed) <= 4
    spans = [int(np.ptp(table.text[batch])) for batch in batches(plan) if batch not in mixed]
    assert np.median(spans) <= 8


def test_sets_are_mixed_by_how_often_their_pairs_are_shown() -> None:
    table = lengths(100)
    plan = schedule(table, Batching(5), 1, 0, 0, [(40, 2.5), (60, 0.5)])
    seen = Counter(row for batch in batches(plan) for row in batch)
    assert sum(seen[row] for row in range(40)) == 100 and sum(seen[row] for row in range(40, 100)) == 30
    assert {seen[row] for row in range(40)} == {2, 3}
    other = Counter(row for batch in batches(schedule(table, Batching(5), 1, 0, 1, [(40, 2.5), (60, 0.5)])) for row in batch)
    assert {row for row in seen if row >= 40} != {row for row in other if row >= 40}


weights = st.sampled_from([0.5, 1.0, 1.7, 2.0, 3.0, 5.5])


@settings(max_examples=60, deadline=None)
@given(st.integers(40, 120), st.integers(40, 120), weights, weights, st.booleans(), st.fixed_dictionaries(shapes))
def test_no_batch_has_a_pair_twice(one: int, two: int, often: float, other: float, tokens: bool, shape: dict[str, int]) -> None:
    """A pair that is shown several times an epoch would be its own negative in contrastive training."""
    table = lengths(one + two)
    batching = Batching(token_budget=8 * 300, divisor=8, **shape) if tokens else Batching(10, **shape)
    plan = schedule(table, batching, 1, 1, 0, [(one, often), (two, other)])
    assert [batch for batch in batches(plan) if len(set(batch)) < len(batch)] == []
    seen = Counter(row for batch in batches(plan) for row in batch)
    shown = sum(count * int(times) + round(count * (times % 1)) for count, times in ((one, often), (two, other)))
    assert sum(seen.values()) - shown == -shown % (8 if tokens else 10)
    assert all(seen[row] >= int(often if row < one else other) for row in range(one + two))


def test_what_cannot_be_planned_is_refused() -> None:
    for options in ({}, {"batch_size": 2, "token_budget": 9}, {"batch_size": 0}, {"batch_size": 1, "remainder": "lose"}):
        with pytest.raises(UsageError):
            Batching(**options)
    with pytest.raises(UsageError, match="not one pair"):
        schedule(lengths(0), Batching(4), 1, 0, 0)
    with pytest.raises(UsageError, match="token_budget is 100; 8 pairs of the largest image and text need"):
        schedule(lengths(50), Batching(token_budget=100), 1, 0, 0)
    with pytest.raises(UsageError, match="3 ranks can't share"):
        schedule(lengths(50), Batching(token_budget=10_000, divisor=8), 3, 0, 0)
