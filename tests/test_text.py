"""Text steps: cleaning keeps the meaning, languages are told by script, and captions fit the budget they name."""

import unicodedata
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import ftfy
import pytest
from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pairloom.batch import Batch, Row
from pairloom.errors import RecipeError
from pairloom.languages import identifier
from pairloom.recipe import Recipe
from pairloom.steps.segment import Segment, sentences
from pairloom.steps.text import _BIDI, _MAYBE_BROKEN, _MEND, _REMOVED, Clean, DetectLanguage, Tokenize, _lost, _round
from pairloom.steps.truncate import Truncate
from pairloom.tokenizer import count

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
messy = st.lists(
    st.sampled_from(["&", "amp;", "lt;", "#38;", "Ã", "©", "â€™", "\u200b", "\ufeff", "\u202a", "\u2066", "\u202c", "\u2069"])
    | st.sampled_from([" ", "\n", "\x00", "\x85", "e", "\u0301", "猫", "\u200d", "👩", "؟", "\u037e"]),
    max_size=25,
).map("".join)
prose = st.lists(
    st.sampled_from(["A cat sat. ", "你好，猫。", "Really? ", "a very old man ", "3.5", "👨‍👩‍👧", "！", "\n"]), max_size=80
).map("".join)


def batch(*captions: tuple[str, ...]) -> Batch:
    rows = [Row(str(number), "test", b"", texts) for number, texts in enumerate(captions)]
    return Batch.read([row.source_key for row in rows], rows)


@pytest.mark.parametrize(
    "text",
    [
        "你好，世界！（全角）：ＡＢＣ１２３",
        "می‌خواهم",  # Persian with ZWNJ
        "क्‍ष बिल्ली है।",  # Hindi with ZWJ
        "「本当？」ｶﾀｶﾅ…",
        "👨‍👩‍👧‍👦 ❤️ 🇩🇪 👍🏽",
        "“curly” ‘quotes’ — ﬁne œuvre",
        "\u2067שלום\u2069 x",
        "AT&T R&D a < b",
        "Straße İstanbul ΟΔΟΣ",
    ],
)
def test_what_is_meant_stays(text: str) -> None:
    assert Clean().text(text) == text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("schÃ¶n", "schön"),
        ("itâ€™s", "it’s"),
        ("cats &amp;amp; dogs &lt;3", "cats & dogs <3"),
        ("&" + "amp;" * 50_000 + "é", "&é"),
        (" a\u3000b\u00a0\u00a0c\r\n\td ", "a b c d"),
        ("\ufeffa\u200bb\x00c\x7fd", "abcd"),
        ("cafe\u0301", "café"),
        ("a\u202eb", "ab"),
        ("a\u2069b\u202cc", "abc"),
        ("\u2066a\u202ab\u2069\u202c", "\u2066ab\u2069"),
        ("\u2066" * 50_000 + "\u202c" * 50_000, ""),
    ],
)
def test_what_is_broken_is_mended(text: str, clean: str) -> None:
    assert Clean().text(text) == clean


@given(texts | messy)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    clean = Clean().text(text)
    assert Clean().text(clean) == clean == unicodedata.normalize("NFC", clean)
    assert not [letter for letter in clean if unicodedata.category(letter) == "Cc" or letter in "\u200b\ufeff\u00a0"]


@given(
    st.text(
        st.characters(categories=["Lu", "Ll", "Lo", "Nd", "Po", "Ps"], min_codepoint=0x370, exclude_characters="&"), max_size=40
    )
)
def test_letters_digits_and_punctuation_of_every_script_stay(text: str) -> None:
    assert Clean().text(text) == unicodedata.normalize("NFC", text)


def test_clean_drops_empty_captions_and_counts_what_it_changed() -> None:
    done = Clean()(batch((" a\n\nb", "\u200b"), ("\u200b", " "), ("fine",), ()))
    assert done["texts"][0] == ["a b"] and done["text"][0] == "a b" and done["original_texts"][0] == [" a\n\nb", "\u200b"]
    assert [cell and cell["code"] for cell in done["reject"]] == [None, "empty_text", None, "empty_text"]
    assert done["cleaned_chars"][0] == 3 and done["cleaned_chars"][2] == 0


def test_clean_must_come_before_what_points_into_the_text() -> None:
    with pytest.raises(RecipeError, match="put `clean` before"):
        Recipe((Segment(), Clean()))
    with pytest.raises(RecipeError, match="no tokenizer 'nope'"):
        Recipe((Truncate(tokenizer="nope"),))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("a small dog runs over the wet sand", "en"),
        ("Ein Foto einer Katze auf der Matte", "de"),
        ("一只猫", "zh"),
        ("猫です", "ja"),
        ("고양이", "ko"),
        ("кіт сидить на вікні", "uk"),
        ("این یک گربه است", "fa"),
        ("यह बिल्ली है", "hi"),
        ("iPhone 手机壳", "zh"),
        ("ok", "und"),
        ("12 :)", "und"),
        ("", "und"),
    ],
)
def test_language(text: str, language: str) -> None:
    name, score = DetectLanguage().text(text)
    assert name == language and 0 <= score <= 1 and (score > 0) == (name != "und")
    assert DetectLanguage()(batch((text,)))["language"] == [language]


def test_tokens_have_the_marks_of_clip() -> None:
    assert Tokenize()(batch(("a photo of a cat", "other")))["tokens"] == [[49406, 320, 1125, 539, 320, 2368, 49407]]


LONG = "A cat sat on the mat. " * 20


def test_sentences_are_kept_whole_and_in_order() -> None:
    done = Truncate(max_tokens=20)(batch((LONG.strip(),), ("Short.",)))
    assert done["caption"] == ["A cat sat on the mat. A cat sat on the mat.", "Short."] and done["text"][0] == LONG.strip()
    assert done["tokens_kept"] == [14, 2] and done["tokens_lost"] == [126, 0]


def test_a_first_sentence_that_is_too_long_gives_its_head() -> None:
    assert Truncate(max_tokens=16).text("one two " * 40 + ". Next.") == ("one two " * 7).strip()


def test_characters_are_the_naive_way() -> None:
    step = Truncate(by="characters", max_characters=512)
    assert step.text("猫" * 600) == "猫" * 512
    assert step(batch(("猫" * 600,)))["tokens_kept"][0] > 77


def test_segments_are_used_where_they_are() -> None:
    assert Truncate(max_tokens=20)(Segment(language="zh")(batch((LONG,))))["caption"] == [Truncate(max_tokens=20).text(LONG)]
    cut = Batch.read(["0"], [Row("0", "", b"", (LONG,))]).with_columns(
        Segment.adds, segments=[[{"caption": 0, "start": 0, "end": 5}, {"caption": 0, "start": 5, "end": 400}]]
    )
    assert Truncate(max_tokens=20)(cut)["caption"] == ["A cat"]


@settings(deadline=None, max_examples=60)
@given(prose | texts, st.sampled_from(["sentences", "tokens"]), st.integers(16, 90))
def test_captions_fit_and_are_the_head_of_the_text(text: str, by: str, budget: int) -> None:
    caption = Truncate(by=by, max_tokens=budget).text(text)
    assert count("clip", caption) <= budget - 2 and text.strip().startswith(caption)
    assert bool(caption) == bool(text.strip())
    spans = sentences(text)
    if by == "sentences" and spans and count("clip", text[: spans[0][1]].strip()) <= budget - 2:
        assert caption in [text[:end].strip() for _, end in spans]


SIGNS = "".join(MOJIBAKE_CATEGORIES[kind] for kind in ("common", "bad", "law", "currency", "numeric", "end_punctuation", "box"))
SIGNS += (
    MOJIBAKE_CATEGORIES["start_punctuation"]
    + "ŒœÃÂ×°ØÙàáéüßçñŠžВГРСвЂΒΓā€Ää\x80\x9f\xa0\ufffdﬁﬂ\ud800\udc00aZ1 .\n&;<“”汉字かなабв"
)


@settings(deadline=None, max_examples=1000)
@given(
    st.lists(st.sampled_from(SIGNS) | st.sampled_from(["&amp;", "Ã©", "â€™", "\x85"]) | st.characters(), max_size=8).map("".join)
)
def test_ftfy_is_left_out_only_where_it_changes_nothing(text: str) -> None:
    if "&" not in text and not _MAYBE_BROKEN.search(text):
        assert ftfy.fix_text(text, _MEND) == text


def test_pairs_of_signs_that_ftfy_mends_are_not_left_out() -> None:
    """Every two signs beside each other, after a letter and before one: all that ftfy takes for mojibake goes to it."""
    for one in dict.fromkeys(SIGNS):
        for two in dict.fromkeys(SIGNS):
            for text in (f"{one}{two}", f"a{one}{two}b", f" {one} {two}a"):
                assert not is_bad(text) or _MAYBE_BROKEN.search(text), ascii(text)


@settings(deadline=None, max_examples=1000)
@given(
    st.lists(
        st.sampled_from(SIGNS)
        | st.sampled_from(["&am", "p;", "\u200b", "e\u0301", "\u202a", "\x1c", " \n", "\u2000", "Ã ", "\u037e"])
        | st.characters(),
        max_size=10,
    ).map("".join)
)
@example("voilA\u0303 le travail")
@example("a\u00d0\x01\u00bfb")
def test_a_second_round_is_left_out_only_where_it_changes_nothing(text: str) -> None:
    once, sound = _round(text)
    assert not sound or (once and _round(once)[0]) == once


def test_what_is_removed_is_never_printable() -> None:
    for letter in map(chr, range(0x110000)):
        assert not letter.isprintable() or not (_REMOVED.match(letter) or _BIDI.match(letter)), hex(ord(letter))


@settings(deadline=None)
@given(st.text(max_size=40) | st.text(" \n\t\xa0\u3000ab汉", max_size=40), st.text(max_size=40) | st.text(" \nab汉", max_size=40))
def test_what_was_lost_is_counted_by_kind_and_number(old: str, new: str) -> None:
    for one, other in ((old, new), (old, " ".join(old.split()))):
        assert _lost(one, other) == (Counter(one) - Counter(other)).total()


def test_the_classifier_is_the_same_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["Ein kurzer Satz", "une phrase courte", "x", "", "съешь ещё этих мягких булок", "a short sentence 中文"]

    def ranks() -> list[list[tuple[str, float]]]:
        identifier.cache_clear()
        return [identifier().rank(text) for text in texts]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wanted = ranks()
    [path] = (tmp_path / "pairloom" / "languages").iterdir()
    kept = path.read_bytes()
    unpack = Mock(side_effect=AssertionError("unpacked again"))
    with monkeypatch.context() as patch:
        patch.setattr("py3langid.langid.LanguageIdentifier.from_model_file", unpack)
        assert ranks() == wanted
    for damaged in (b"", kept[:-1], bytes([kept[0] ^ 1]) + kept[1:], kept[:40] + bytes([kept[40] ^ 1]) + kept[41:]):
        path.write_bytes(damaged)
        assert ranks() == wanted
        assert path.read_bytes() == kept
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert ranks() == wanted
