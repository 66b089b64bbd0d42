"""Texts at load time: which part is read, its tokens, dynamic padding, segments and packing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import clip_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_sets import prepared

from pairloom import Letterbox, NativePatches, Recipe
from pairloom.errors import UsageError
from pairloom.torch import Batching, Choice, Collate, PairLoader, reader_of, text_reader, tokenizer
from pairloom.torch.collate import Counts, text_batch
from pairloom.torch.pack import first_fit
from pairloom.torch.pairs import Pair

TEXTS = ["A cat on a mat.", "Two   dogs, isn't it?", "一只猫在垫子上", "CAFÉ 123 😀 naïve", "word " * 200, ""]
TEXT = "One dog runs. Two cats sleep. Three birds sing. Four fish swim."
PAIR = Pair(
    "key", b"", TEXT, (TEXT, "Another caption."), ((0, 0, 13), (0, 14, 29), (0, 30, 47), (0, 48, 63)), (0.7, 0.1, 0.2, 0.0)
)


def test_tokens_are_those_of_transformers() -> None:
    theirs = clip_tokenizer()(TEXTS, padding="max_length", max_length=77, truncation=True)
    ours = tokenizer("clip")(TEXTS)
    assert ours.shape == (6, 77)
    for number, (ids, mask) in enumerate(zip(theirs["input_ids"], theirs["attention_mask"], strict=True)):
        length = sum(mask)
        assert ours[number, :length].tolist() == ids[:length]
        assert not ours[number, length:].any()  # open_clip pads with 0
    assert tokenizer("clip")("a cat", context_length=5).tolist() == [[49406, 320, 2368, 49407, 0]]


def test_a_recipe_names_its_own_tokenizer_and_budget() -> None:
    assert reader_of(Recipe.from_yaml("steps: [decode, {truncate: {max_tokens: 64}}]")).context_length == 64
    assert reader_of(None).context_length == 77 and reader_of("clip", 32).context_length == 32
    with pytest.raises(UsageError, match="no tokenizer"):
        reader_of("klip")


def test_choices_follow_their_weights() -> None:
    rng = np.random.default_rng(0)
    assert Choice()(PAIR, rng) == [TEXT]
    drawn = Counter(Choice(whole=0, sentence=1)(PAIR, rng)[0] for _ in range(400))
    assert drawn.keys() == {"One dog runs.", "Two cats sleep.", "Three birds sing."}
    assert drawn["One dog runs."] > drawn["Three birds sing."] > drawn["Two cats sleep."]
    runs = {Choice(whole=0, run=1)(PAIR, rng)[0] for _ in range(100)}
    assert all(run in TEXT and run.count(".") <= 4 for run in runs) and any(run.count(".") > 1 for run in runs)
    assert {Choice(captions="random")(PAIR, rng)[0] for _ in range(50)} == set(PAIR.texts)
    assert Choice(segments=2)(PAIR, rng) == ["One dog runs.", "Three birds sing."]
    assert (
        Choice(segments=3)(Pair("key", b"", TEXT, (TEXT,)), rng) == TEXT.replace(". ", ".|").split("|")[:3]
    )  # found on the spot
    assert Choice(sentence=1, whole=0)(Pair("key", b"", "No end", ("No end",)), rng) == ["No end"]
    with pytest.raises(UsageError):
        Choice(whole=0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=9), min_size=1, max_size=3), min_size=1, max_size=6))
def test_padding_goes_as_far_as_the_longest_text(texts: list[list[list[int]]]) -> None:
    counts = Counts()
    batch = text_batch(texts, text_reader(), Collate(text_multiple=4), counts)
    longest = max(sum(map(len, segments)) for segments in texts)
    assert batch["input_ids"].shape == (len(texts), -(-longest // 4) * 4)
    for number, segments in enumerate(texts):
        mask = batch["attention_mask"][number].bool()
        assert batch["input_ids"][number][mask].tolist() == [token for segment in segments for token in segment]
        said = batch["segment_ids"][number]
        assert Counter(said[mask].tolist()) == Counter({place: len(one) for place, one in enumerate(segments, 1)})
        assert not batch["input_ids"][number][~mask].any() and not said[~mask].any()
    assert counts.text_useful + counts.text_padded == batch["input_ids"].numel()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_packing_loses_nothing_and_wastes_little(lengths: list[int]) -> None:
    rows = first_fit(lengths, 20)
    assert sorted(item for row in rows for item in row) == list(range(len(lengths)))
    sums = [sum(lengths[item] for item in row) for row in rows]
    assert max(sums) <= 20 and sum(size <= 10 for size in sums) <= 1


def test_packed_batches_hold_every_pair_once(tmp_path: Path) -> None:
    collate = Collate(pack=128, image_token=7, patch_multiple=1)
    loader = PairLoader(prepared(tmp_path, 20), 10, image=NativePatches(16, 25), collate=collate)
    for batch in loader:
        pairs = Counter(batch["pair_ids"].flatten().tolist())
        assert set(pairs) - {-1} == set(range(10)) and len(batch["input_ids"]) < 10
        patches = batch["pixel_attention_mask"].sum(1)
        assert torch.unique_consecutive(batch["pair_ids"][batch["pair_ids"] >= 0]).tolist() == list(range(10))
        for pair in range(10):
            here = batch["pair_ids"] == pair
            ids, labels, places = batch["input_ids"][here], batch["labels"][here], batch["position_ids"][here]
            assert (ids == 7).sum() == patches[pair] and ids[patches[pair]] == 49406 and ids[-1] == 49407
            assert (labels[: patches[pair]] == -100).all() and (labels[patches[pair] :] == ids[patches[pair] :]).all()
            assert places.tolist() == list(range(len(ids))) and len(set(batch["segment_ids"][here].tolist())) == 1
        assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()
        for row, mask in zip(batch["segment_ids"], batch["attention_mask"].bool(), strict=True):
            assert (
                sorted(set(row[mask].tolist())) == list(range(1, int(row.max()) + 1))
                and int(row.diff().abs()[: mask.sum() - 1].max()) <= 1
            )
        assert batch["segment_ids"].max(1).values.sum() == 10
    with pytest.raises(UsageError, match="pack is 64; the longest pair may take"):
        PairLoader(tmp_path / "prepared", 4, image=NativePatches(16, 25), collate=Collate(pack=64))


def test_several_segments_of_a_pair(tmp_path: Path) -> None:
    loader = PairLoader(prepared(tmp_path, 20), 10, image=Letterbox(32), choice=Choice(segments=3))
    batch = next(iter(loader))
    assert batch["segment_ids"].max() == 3
    begins = (batch["input_ids"] == 49406).sum(1)
    assert (begins == batch["segment_ids"].max(1).values).all()


def test_like_lengths_share_a_batch(tmp_path: Path) -> None:
    output = prepared(tmp_path, 60)
    waste = [PairLoader(output, Batching(6, shuffle=shuffle), image=Letterbox(32)) for shuffle in (True, False)]
    for loader in waste:
        list(loader)
    assert waste[0].stats()["text_padding"] < waste[1].stats()["text_padding"] / 2
