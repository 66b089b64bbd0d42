"""Filters: what each keeps at and around its limits, what it says, and what it refuses to be."""

from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pairloom.batch import Batch, Row
from pairloom.errors import RecipeError
from pairloom.recipe import Recipe
from pairloom.step import Filter
from pairloom.steps.filters import AspectRatio, Between, Language, MinSide, TextLength
from pairloom.steps.text import DetectLanguage

TYPES = {
    "original_width": pa.int32(),
    "original_height": pa.int32(),
    "language": pa.string(),
    "language_score": pa.float32(),
    "alignment": pa.float32(),
}


def batch(**columns: list[Any]) -> Batch:
    size = len(next(iter(columns.values())))
    keys = [str(number) for number in range(size)]
    return Batch.read(keys, [Row(key, "", b"", ("x",)) for key in keys]).with_columns(TYPES, **columns)


@pytest.mark.parametrize(
    ("filter", "columns", "kept"),
    [
        (MinSide(), {"original_width": [28, 27, 900], "original_height": [28, 900, 27]}, [True, False, False]),
        (AspectRatio(), {"original_width": [300, 301, 100], "original_height": [100, 100, 301]}, [True, False, False]),
        (TextLength(), {"text": ["", "a", "a" * 9999]}, [False, True, True]),
        (TextLength(max_characters=3), {"text": ["abc", "abcd"]}, [True, False]),
        (TextLength(min_words=3, max_words=4), {"text": ["a b", "a b c", "一只猫", "一只猫 a b"]}, [False, True, True, False]),
        (
            Language(allow=("en", "zh"), min_score=0.5),
            {"language": ["en", "zh", "de"], "language_score": [0.5, 0.4, 1]},
            [True, False, False],
        ),
        (
            Between(column="alignment", min=0.25),
            {"alignment": [0.25, 0.2, None, float("nan"), 9]},
            [True, False, False, False, True],
        ),
        (Between(column="alignment", max=0), {"alignment": [0, -1, 0.1, None]}, [True, True, False, False]),
    ],
)
def test_what_is_kept(filter: Filter, columns: dict[str, list[Any]], kept: list[bool]) -> None:
    done = filter(batch(**columns))
    assert [cell is None for cell in done["reject"]] == kept
    assert {cell["code"] for cell in done["reject"] if cell} == {filter.reason}


def test_the_message_says_what_was_found() -> None:
    assert MinSide(side=200)(batch(original_width=[64], original_height=[300]))["reject"][0] == {
        "code": "too_small",
        "message": "original_width 64, original_height 300",
    }


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Between, {"column": "alignment"}),
        (Between, {"column": "alignment", "min": 2, "max": 1}),
        (Between, {"column": "alignment", "min": float("nan")}),
        (Language, {"allow": ()}),
        (AspectRatio, {"max": 0.5}),
        (MinSide, {"side": 0}),
        (TextLength, {"min_words": 3, "max_words": 2}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind(**options)


def test_a_recipe_knows_which_column_between_reads() -> None:
    with pytest.raises(RecipeError, match="reads `language_score`, which no earlier step adds: put `detect_language` before"):
        Recipe((Between(column="language_score", min=0.5),))
    recipe = Recipe((DetectLanguage(), Between(column="language_score", min=0.5)))
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
