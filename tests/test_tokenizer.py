"""Tokenizers: the ids of CLIP, cuts that fit, long texts in blocks."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairloom.errors import RecipeError, UsageError
from pairloom.recipe import Recipe
from pairloom.steps.text import Tokenize
from pairloom.tokenizer import count, encode, load_tokenizer, longest_prefix, measure


def test_the_ids_are_those_of_clip() -> None:
    assert encode("clip", "a photo of a cat").ids == [320, 1125, 539, 320, 2368]


def test_the_ids_are_those_of_chinese_clip() -> None:
    """As its own `cn_clip.clip.tokenize` gives them, short of the marks."""
    assert encode("chinese-clip", "杰尼龟").ids == [3345, 2225, 7991]
    mixed = [10380, 10165, 8118, 119, 4970, 1912, 3633, 1762, 678, 4708, 1920, 7433, 511]
    assert encode("chinese-clip", "Two cats. 窗外正在下着大雨。").ids == mixed
    assert Tokenize("chinese-clip").text("杰尼龟") == [101, 3345, 2225, 7991, 102]


def test_an_estimate_counts_and_gives_no_ids() -> None:
    assert count("estimate", "a photo of a cat") == count("clip", "a photo of a cat") == 5
    with pytest.raises(RecipeError, match="only counts; for ids give the path"):
        Recipe.from_yaml("steps: [tokenize: {tokenizer: estimate}]")


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
