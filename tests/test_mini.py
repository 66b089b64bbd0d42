"""The model that ships, on the sample pairs: its files belong together, and mean something in both languages.

It learnt from some of these pictures, so this is no measure of how good it is; `training/mini/measure.py` is.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pairloom import Decode
from pairloom.alignment.bank import Bank
from pairloom.models import MINI, Model, embed_bank, load, onnx
from pairloom.models import bank as banks

COLOURS = {"red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色", "blue": "蓝色", "purple": "紫色", "pink": "粉色",
           "brown": "棕色", "black": "黑色", "white": "白色"}  # fmt: skip
PAINTS = [(200, 20, 30), (240, 130, 20), (240, 220, 40), (30, 140, 40), (30, 60, 190), (120, 40, 160), (240, 130, 180),
          (100, 60, 30), (10, 10, 10), (250, 250, 250)]  # fmt: skip
PAIRS = Path(__file__).parents[1] / "examples" / "pairs"
SWAPPED = {"openclipart-0009-teapot": "A teapot.", "tuxpaint-0014-pelican": "A pelican."}


@pytest.fixture(scope="module")
def mini() -> Model:
    return load("mini")


def image(stem: str) -> np.ndarray:
    [path] = [path for path in PAIRS.glob(f"{stem}.*") if path.suffix != ".txt"]
    return Decode().image(path.read_bytes()).pixels


def samples(pattern: str, letters: str) -> dict[str, str]:
    """The pairs of a name and a script, without those that are wrong on purpose."""
    texts = {path.stem: path.read_text("utf-8") for path in sorted(PAIRS.glob(f"{pattern}.txt"))}
    return {stem: text for stem, text in texts.items() if re.search(letters, text) and stem not in SWAPPED}


@pytest.mark.parametrize(("pattern", "letters", "first"), [("openclipart-*", "[a-z]", 0.5), ("tuxpaint-*", "[一-鿿]", 0.3)])
def test_texts_find_their_images_in_both_languages(mini: Model, pattern: str, letters: str, first: float) -> None:
    some = samples(pattern, letters)
    scores = mini.embed_texts(list(some.values())) @ mini.embed_images([image(stem) for stem in some]).T
    assert len(some) > 7
    assert (scores.argmax(1) == np.arange(len(some))).mean() >= first


def test_both_languages_say_the_same(mini: Model) -> None:
    said = {"a dog running on the grass": "一只狗在草地上奔跑", "a red car": "一辆红色的汽车", "a house by the sea": "海边的房子",
            "two children playing football": "两个孩子在踢足球", "an apple": "苹果", "a cup of tea": "一杯茶"}  # fmt: skip
    likeness = mini.embed_texts(list(said)) @ mini.embed_texts(list(said.values())).T
    assert (likeness.argmax(0) == np.arange(len(said))).all()


@pytest.mark.parametrize("frame", ["a {} shirt", "something {}", "一个{}的东西"])
@pytest.mark.parametrize("size", [(256, 256), (120, 400)])
def test_it_tells_colours_in_both_languages(mini: Model, frame: str, size: tuple[int, int]) -> None:
    shown = []
    for paint in PAINTS:
        pixels = np.full((*size, 3), 128, np.uint8)
        pixels[size[0] // 4 : size[0] * 3 // 4, size[1] // 4 : size[1] * 3 // 4] = paint
        shown.append(pixels)
    said = [frame.format(chinese if "的" in frame else english) for english, chinese in COLOURS.items()]
    scores = mini.embed_texts(said) @ mini.embed_images(shown).T
    assert (scores.argmax(1) == np.arange(len(COLOURS))).mean() >= 0.9  # without the shares of colours 0.2 to 0.4


def test_a_swapped_text_fits_worse_than_the_right_one(mini: Model) -> None:
    for stem, right in SWAPPED.items():
        swapped = (PAIRS / f"{stem}.txt").read_text("utf-8")
        wrong, own = (mini.embed_texts([swapped, right]) @ mini.embed_images([image(stem)]).T)[:, 0]
        assert own - wrong > 0.1


SHOWN = [
    "a dog runs over the grass",
    "two children on a red sledge",
    "a bowl of soup on a wooden table",
    "一只猫睡在沙发上",
    "雪山下的湖",
]
UNSHOWN = ["This offer ends on Friday and cannot be combined with others.", "She was never asked whether she agreed.",
           "The next version will fix this.", "这项规定从明年开始生效。", "我认为他说得有道理。"]  # fmt: skip


def test_prose_is_told_from_what_can_be_seen(mini: Model) -> None:
    bank = Bank.of(embed_bank(mini))
    (_, shown), (_, unshown) = (bank.statistics(mini.embed_texts(texts)) for texts in (SHOWN, UNSHOWN))
    assert (shown[:, None] > 1.1 * unshown[None]).all()


def test_the_embeddings_of_the_bank_that_ship_are_those_of_this_model(mini: Model) -> None:
    assert [path.name for path in (banks.BANK / "embedded").iterdir()] == [banks._name(mini, None)]
    some = list(banks._images(None))[::32]
    assert np.abs(mini.embed_images(some) - embed_bank(mini).images[::32]).max() < 1e-3


def test_a_processor_that_may_clip_sums_gets_the_same_embeddings(mini: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "sums_exactly", lambda: False)  # without VNNI it is so already, and nothing is compared
    other = onnx.open_onnx("mini", MINI, "cpu", 1)
    options = other.towers.image.get_session_options()
    assert options.get_session_config_entry("session.x64quantprecision") == "1"
    some = [image(stem) for stem in (*SWAPPED, *list(samples("openclipart-*", "[a-z]"))[:14])]
    assert np.array_equal(mini.embed_images(some), other.embed_images(some))


def test_it_is_as_small_as_promised() -> None:
    assert sum(path.stat().st_size for path in MINI.iterdir()) < 32e6
