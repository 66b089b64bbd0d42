"""Choosing text with the image in view: the segments that carry the match, whole, in order, inside the budget."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairloom import RecipeError
from pairloom.batch import Batch, Row
from pairloom.recipe import Recipe
from pairloom.steps.align import Align
from pairloom.steps.segment import sentences
from pairloom.steps.truncate import Truncate
from pairloom.tokenizer import count

PROSE = ["The weather was fine that day.", "Nobody knew what to say.", "It had been a long and quiet year for all of them."]
SEEN = ["A red bus stops at the corner.", "Two dogs run along the beach."]


def weighed(text: str, weights: list[float], spans: list[tuple[int, int]] | None = None, caption: int = 0) -> Batch:
    """A pair as `segment` and `align` leave it."""
    spans = spans or sentences(text)
    texts = ("Another caption.",) * caption + (text,)
    cells = [{"caption": caption, "start": start, "end": end} for start, end in spans]
    batch = Batch.read(["0"], [Row("0", "", b"", texts)])
    values = {"segments": [cells], "segment_weights": [weights], "best_caption": [caption], "text": [text]}
    types = {**Align.adds, "segments": Recipe.load("default").columns()["segments"]}
    return batch.with_columns(types, **values)


def test_the_heaviest_sentences_stay_in_their_order() -> None:
    text = " ".join([PROSE[0], SEEN[0], PROSE[1], PROSE[2], SEEN[1]])
    done = Truncate(by="alignment", max_tokens=20)(weighed(text, [0.02, 0.3, 0.01, 0.07, 0.6]))
    assert done["caption"] == [f"{SEEN[0]} {SEEN[1]}"]
    total = count("clip", text)
    assert done["tokens_kept"] == [15] and done["tokens_lost"] == [total - 15]


def test_what_fits_is_never_cut() -> None:
    text = " ".join(SEEN)
    assert Truncate(by="alignment")(weighed(text, [1.0, 0.0]))["caption"] == [text]


def test_chinese_sentences_are_joined_without_a_space() -> None:
    text = "天气很好。一只红色的公共汽车停在街角。没有人说话。两只狗在沙滩上跑。"
    done = Truncate(by="alignment", max_tokens=60)(weighed(text, [0.05, 0.5, 0.05, 0.4]))
    assert done["caption"] == ["一只红色的公共汽车停在街角。两只狗在沙滩上跑。"]


def test_windows_of_one_sentence_melt_together() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    spans = [(0, 23), (14, 39), (40, 96)]
    done = Truncate(by="alignment", max_tokens=16)(weighed(text, [0.5, 0.4, 0.1], spans))
    assert done["caption"] == [text[:39]]


def test_a_heaviest_segment_that_is_too_long_gives_its_head() -> None:
    text = "Short one here. " + "word " * 30 + "end."
    done = Truncate(by="alignment", max_tokens=16)(weighed(text, [0.1, 0.9]))
    assert done["caption"] == [("word " * 14).strip()]


def test_the_best_of_several_captions_is_cut() -> None:
    text = " ".join(PROSE + SEEN)
    for by in ("alignment", "sentences"):
        done = Truncate(by=by, max_tokens=16)(weighed(text, [0.0, 0.0, 0.0, 0.9, 0.0], caption=2))
        assert done["caption"] == [SEEN[0] if by == "alignment" else " ".join(PROSE[:2])]


def test_without_weights_it_goes_by_sentences() -> None:
    text = " ".join(PROSE + SEEN)
    assert Truncate(by="alignment", max_tokens=16)(weighed(text, [0.0] * 5))["caption"] == [" ".join(PROSE[:2])]


def test_it_needs_scores() -> None:
    with pytest.raises(RecipeError, match="reads `segment_weights`, which no earlier step adds: put `align` before it"):
        Recipe.from_yaml("steps: [decode, segment, {truncate: {by: alignment}}]")


@settings(deadline=None, max_examples=80)
@given(st.lists(st.sampled_from([*PROSE, *SEEN, "一只猫。", "Hm."]), min_size=1, max_size=30), st.integers(16, 90), st.data())
def test_the_budget_holds_and_every_piece_is_of_the_text(pieces: list[str], budget: int, data: st.DataObject) -> None:
    text = " ".join(pieces)
    spans = sentences(text)
    weights = data.draw(st.lists(st.floats(0.001, 1), min_size=len(spans), max_size=len(spans)))
    caption = Truncate(by="alignment", max_tokens=budget)(weighed(text, weights, spans))["caption"][0]
    assert caption and count("clip", caption) <= budget - 2
    left = iter(text.replace("。", "。 ").split())
    kept = caption.replace("。", "。 ").split()
    assert all(any(word == own for own in left) for word in kept), "what is kept stands in the order of the text"
