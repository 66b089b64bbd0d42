"""Tokenizers: the ids of CLIP, cuts that fit, long texts in blocks."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairloom.errors import RecipeError, UsageError
from pairloom.recipe import Recipe
from pairloom.steps.text import Tokenize
from pairloom.tokenizer import count, ids, is_single, load_tokenizer, longest_prefix, measure, parts, starts
from pairloom.words import RULES, Spelling, Words, words_of


def test_the_ids_are_those_of_clip() -> None:
    assert ids("clip", "a photo of a cat") == [320, 1125, 539, 320, 2368]


def test_the_ids_are_those_of_chinese_clip() -> None:
    """As its own `cn_clip.clip.tokenize` gives them, short of the marks."""
    assert ids("chinese-clip", "杰尼龟") == [3345, 2225, 7991]
    mixed = [10380, 10165, 8118, 119, 4970, 1912, 3633, 1762, 678, 4708, 1920, 7433, 511]
    assert ids("chinese-clip", "Two cats. 窗外正在下着大雨。") == mixed
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
    assert total == count("clip", text) == 70_000 and len(head) == 76


def read(name: str, text: str) -> tuple[list[int], list[int]]:
    """The ids and starts of all tokens as `tokenizers` itself gives them."""
    encoding = load_tokenizer(name).encode(text, add_special_tokens=False)
    return encoding.ids, [start for start, _ in encoding.offsets]


def plain(name: str) -> list[str]:
    found = re.compile(f"[{RULES[name].plain}]")
    return [letter for letter in map(chr, range(0x10000)) if found.match(letter)]


@pytest.mark.parametrize("name", RULES)
def test_remembered_words_are_those_of_the_tokenizer_for_each_plain_character(name: str) -> None:
    """Beside each kind of neighbour: letters, digits, signs, quotes, white space, itself."""
    words = words_of(name, lambda word: tuple(map(tuple, read(name, word))))  # type: ignore[arg-type,return-value]
    single = re.compile(f"[{RULES[name].single}]")
    assert words
    for letter in plain(name):
        text = f"{letter} a{letter}b 1{letter}2 .{letter}. '{letter}s {letter}{letter}'S b{letter} {letter}"
        if name == "chinese-clip":
            text += f" 汉{letter}字{letter}"
        expected = read(name, text)
        assert (words.ids(text), words.starts(text, 1000)) == expected, hex(ord(letter))
        assert words.count(text) == len(expected[0])
        if single.match(letter):
            assert len(read(name, letter)[0]) <= 1 and words.is_single(letter)


@settings(deadline=None)
@given(st.sampled_from(sorted(RULES)), st.data())
def test_texts_read_the_same_word_by_word(name: str, data: st.DataObject) -> None:
    pieces = [
        "'s",
        "don't",
        " it's ",
        "'VE",
        "<end_of_text>",
        "<Start_of_text>",
        "e\u0301",
        "\u200d",
        "Σ",
        "ﬁ",
        "½",
        "\x1f",
        "\xa0",
        "汉字",
        "GIMP２",
        "™①℃",
        "\u3000",
        "é",
        "İ",
    ]
    every = plain(name)  # most of them Han
    letters = (
        st.sampled_from([letter for letter in every if not "\u3400" <= letter <= "\u9fff"])
        | st.sampled_from(every)
        | st.characters(codec="utf-8")
        | st.sampled_from(pieces)
    )
    text = "".join(data.draw(st.lists(letters, max_size=40)))
    expected = read(name, text)
    assert (ids(name, text), starts(name, text, 1000)) == expected
    assert count(name, text) == len(expected[0])
    assert starts(name, text, 3) == expected[1][:3]
    assert measure(name, text, 2) == (expected[1][:3], len(expected[0]))
    assert not is_single(name, text) or len(expected[0]) <= len(text)
    for place in range(1, len(text) + 1):
        if parts(name, text, place):
            before = [start for start in expected[1] if start < place]
            assert read(name, text[:place]) == (expected[0][: len(before)], before)


def test_a_chinese_text_is_read_by_single_words_and_signs() -> None:
    """The tokenizer sees no more than what is new, and each of that once."""
    text = "按下“Ctrl+Ｃ”键（见图１）： 温度约为２５℃，即７７℉±1。——★①→图层…… Ω 大于 μ？"
    seen: list[str] = []

    def spell(word: str) -> Spelling:
        seen.append(word)
        return ((), ()) if word.isspace() else ((1,), (0,))

    words = words_of("chinese-clip", spell)
    assert words
    for _ in range(2):
        assert words.count(text) == len(words.ids(text) or ()) == len(words.starts(text, 1000) or ()) > 0
    assert set(seen) <= {*re.findall(r"[a-z0-9ａ-ｚ０-９℃℉±★①→ωμ]+", text.lower()), *text} and max(map(seen.count, seen)) <= 2


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairloom.words._MOST", 10)
    words = Words(RULES["clip"], lambda word: ((1,), (0,)))
    assert words.count(" ".join(f"{chr(97 + number)}" for number in range(26))) == 26
    assert words.ids("w" * 41) == [1] and "w" * 41 not in words._ids and 0 < len(words._ids) <= 10
