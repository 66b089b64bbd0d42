"""Tokenizers: the ids of CLIP, cuts that fit, long texts in blocks."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairloom.errors import UsageError
from pairloom.tokenizer import count, encode, load_tokenizer, longest_prefix, measure


def test_the_ids_are_those_of_clip() -> None:
    assert encode("clip", "a photo of a cat").ids == [320, 1125, 539, 320, 2368]


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no tokenizer 'nope'"):
        load_tokenizer("nope")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UsageError, match="is not a tokenizer"):
        load_tokenizer(str(tmp_path / "tokenizer.json"))


@settings(deadline=None)
@given(st.text(max_size=80), st.integers(14, 40))
def test_a_prefix_fits_and_is_never_empty(text: str, budget: int) -> None:
    end = longest_prefix("clip", text, budget)
    assert count("clip", text[:end]) <= budget and (end > 0) == (len(text) > 0)


def test_a_cut_spares_words_and_visible_characters() -> None:
    assert longest_prefix("clip", "one two three four", 3) == len("one two three ")
    family = "👨‍👩‍👧‍👦"
    assert longest_prefix("clip", family * 30, 60) % len(family) == 0
    assert longest_prefix("clip", "a" + "\u0301" * 500, 20) > 1


def test_long_texts_count_the_same_in_blocks() -> None:
    text = "a photo of a cat " * 14_000
    head, total = measure("clip", text, 75)
    assert total == count("clip", text) == 70_000 and 75 < len(head) < 50_000
