"""Segments: sentences by their offsets, windows only where a sentence is over the budget."""

import random
import time
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pairloom.batch import Batch, Row
from pairloom.steps.segment import Segment, _language, sentences
from pairloom.tokenizer import count

prose = st.lists(
    st.sampled_from(
        [
            "A cat sat. ",
            "你好，一只猫。",
            "Really? ",
            "very old ",
            "3.5",
            "👨‍👩‍👧",
            "！",
            "\n",
            "“真的吗？”",
            "Yes!",
            "x" * 40,
            "と",
            "？ok.",
        ]
    ),
    max_size=60,
).map("".join)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@pytest.mark.parametrize(
    "parts",
    [
        ["Dr. Smith went home by train.", "It was 3.5 km away!"],
        ['He said "Go. Now." and left at once.', "See fig. 3 for it."],
        ["A dog runs. Cute!", "The park is very big."],
        ["Wow! A cat sat down."],
        ["Yes."],
        ["他说：“你好。我是猫。”", "然后走了。"],
        ["价格是3.5元。", "很好看的猫！！", "真的好吗？"],
        ["“真的吗？”她问。"],
        ["这是真的吗？", "ok this is fine.", "一切都不错。"],
        ["猫坐着不动。", "Dr. Smith来了。"],
        ["昨天下午我们在公园里和 Mrs. Li、Prof. Wang 一起看了很久的猫。", "它很好看，也很安静。"],
        ["猫は窓辺に座っている。", "彼は「はい。そうです。」と言った。"],
        ["यह एक बिल्ली है।", "वह अब सोती है।"],
        [],
    ],
)
def test_sentences(parts: list[str]) -> None:
    for text in (" ".join(parts), "\n".join(parts), "".join(parts) if parts and ord(parts[0][0]) > 0x2000 else " ".join(parts)):
        assert [text[start:end] for start, end in sentences(text)] == parts


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("一二三 abcdefgh", "zh"),  # a Han character weighs as much as three letters
        ("一二三 abcdefghi", "en"),
        ("1234567890 1234567890 一二", "zh"),
        ("一二三四五六七八九十 при", "zh"),
        ("一二三 привет", "ru"),
        ("一二三四五六七八九十十 の", "ja"),
        ("一二三四五六七八九十" * 2 + "の", "zh"),
        ("가나다 一二", "ko"),
        ("a cat", "en"),
    ],
)
def test_the_script_of_most_weight_gives_the_rules_of_sentences(text: str, language: str) -> None:
    assert _language(text) == language


@settings(deadline=None, max_examples=60)
@example("00000\x80¢\ue440𐀀", 16, 0.9)
@given(prose | texts, st.integers(16, 77), st.sampled_from([0.0, 0.5, 0.9]))
def test_segments_cover_the_text_in_order_and_fit(text: str, budget: int, overlap: float) -> None:
    spans = Segment(max_tokens=budget, overlap=overlap).spans(text)
    whole = sentences(text)
    covered = {place for start, end in spans for place in range(start, end)}
    assert covered >= {place for place, letter in enumerate(text) if not letter.isspace()}
    assert all(first[0] < second[0] and first[1] < second[1] for first, second in pairwise(spans))
    assert all(first[1] <= second[0] for first, second in pairwise(whole))
    for start, end in spans:
        part = text[start:end]
        assert part and part == part.strip() and count("clip", part) <= budget - 2
        assert sum(left <= start and end <= right for left, right in whole) == 1
    fitting = {(start, end) for start, end in whole if count("clip", text[start:end]) <= budget - 2}
    assert fitting <= set(spans)


def test_windows_share_words_and_end_between_them() -> None:
    text = "the old man walked " * 60 + "home"
    parts = [text[start:end] for start, end in Segment().spans(text)]
    assert all(set(part.split()) <= {"the", "old", "man", "walked", "home"} for part in parts)
    assert all(count("clip", part) > 60 for part in parts[:-1]) and 5 <= len(parts) <= 7
    spans = Segment().spans(text)
    assert all(second[0] < first[1] for first, second in pairwise(spans))
    assert len(Segment(overlap=0.0).spans(text)) == 4


def test_a_cut_inside_a_word_is_read_again() -> None:
    text = "".join(random.Random(0).choices("aeiorstnlmdch", k=2000))  # cut anywhere, its head is spelt in more tokens
    assert all(count("clip", text[start:end]) <= 14 for start, end in Segment(max_tokens=16).spans(text))


def test_windows_end_after_a_clause_and_keep_visible_characters() -> None:
    start, end = Segment().spans(
        "一只橘色的猫坐在木头窗台上看着外面下雨的街道，街上有很多人撑着五颜六色的雨伞匆匆走过而远处的山被遮住了"
    )[0]
    assert (start, end) == (0, 23)
    family = "👨‍👩‍👧‍👦"
    assert {(end - start) % len(family) for start, end in Segment().spans(family * 40)} == {0}


def test_every_caption_has_its_segments() -> None:
    rows = [Row("0", "", b"", ("A cat sat down. It was very red.", "你好，猫。")), Row("1", "", b"", ("",))]
    cells = Segment()(Batch.read(["0", "1"], rows))["segments"]
    assert [tuple(cell.values()) for cell in cells[0]] == [(0, 0, 15), (0, 16, 32), (1, 0, 5)] and cells[1] == []


@pytest.mark.parametrize("unit", ["a", ".", "猫", "你好。", "“好。”", " ", "Hi. ", "e\u0301", "("])
def test_time_grows_no_faster_than_the_text(unit: str) -> None:
    def seconds(size: int) -> float:
        text = "x" + (unit * size)[:size] + "x"
        started = time.process_time()
        Segment().spans(text)
        return time.process_time() - started

    seconds(1000)
    assert seconds(16_000) < 0.3 + 20 * seconds(2_000)
