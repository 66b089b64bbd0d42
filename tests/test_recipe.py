"""Recipes: YAML and dataclasses say the same, and all faults are told at once with their places."""

from __future__ import annotations

import json

import pytest

from pairloom import Contain, Decode, Duplicates, Encode, Letterbox, Recipe, RecipeError
from pairloom.recipe import schema, shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_read_write_and_read_again(name: str) -> None:
    recipe = Recipe.load(name)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.from_yaml(json.dumps(recipe.to_literal())) == recipe
    assert Recipe.from_yaml(recipe.to_yaml()).fingerprint() == recipe.fingerprint()


def test_a_recipe_is_the_literal_of_its_dataclasses() -> None:
    text = "steps: [decode: {background: [0, 0, 0]}, letterbox: {size: 64, fill: [1, 2, 3]}, encode]\nselect: [duplicates]"
    steps = (Decode(background=(0, 0, 0)), Letterbox(64, fill=(1, 2, 3)), Encode())
    assert Recipe.from_yaml(text) == Recipe(steps, (Duplicates(),))


def test_all_faults_are_told_at_once_with_their_places() -> None:
    text = "steps:\n- decode\n- letterbx: {size: 5}\n- contain: {longest: big, colour: red}\n- encode: {quality: 101}\nextra: 1\n"
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml(text, "mine.yaml")
    said = str(caught.value)
    assert "mine.yaml has 5 problems" in said
    for part in (
        "line 3, steps[1]: nothing is called 'letterbx'; did you mean 'letterbox'?",
        "line 4, steps[2].contain.longest:",
        "line 4, steps[2].contain.colour:",
        "line 5, steps[3].encode.quality:",
        "extra: unknown",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ("[contain, encode]", "steps[0].contain: works on pixels: put `decode` before it"),
        ("[decode, contain]", "never encoded"),
        ("[decode, encode, token_ratio]", "reads `tokens_kept`, which no earlier step adds: put `truncate` before it"),
        ("[decode, {between: {column: beauty, min: 1}}]", "reads `beauty`"),
        ("[decode, {between: {column: width}}, encode]", "steps[1].between"),
        ("[{between: {column: text, min: 1}}]", "steps[0].between: needs numbers, but `text` is of type string"),
        ("[clean]\nselect: [{keep_top: {column: source, share: 0.5}}]", "select[0].keep_top: needs numbers"),
        ("[decode: 5]", "options are written as"),
        ("[decode, {smart_resize: {min_pixels: 9, max_pixels: 8}}, encode]", "min_pixels is 9, more than max_pixels, 8"),
        ("[decode, {anyres: {canvases: []}}, encode]", "steps[1].anyres.canvases"),
        ("[{normalize: {std: [0, 1, 1]}}]", "steps[0].normalize.std"),
        ("[{decode: {}, encode: {}}]", "one name with its options"),
        ("{decode: {}}", "must hold a list called `steps`"),
        ("[decode, {contain: {longest: '512'}}, encode]", "longest"),
        ("[decode, {contain: {longest: 2020-01-01}}, encode]", "steps[1].contain"),
        ("[", "file:"),
    ],
)
def test_what_makes_no_sense_is_refused(steps: str, fault: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml(f"steps: {steps}")
    assert fault in str(caught.value)


def test_python_objects_are_refused() -> None:
    with pytest.raises(RecipeError):
        Recipe.from_yaml("steps: !!python/object/apply:os.system ['true']")


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(RecipeError, match=r"shipped recipes are chinese-clip, clip, default, letterbox, .*, siglip2-naflex"):
        Recipe.load("no-such-recipe")


def test_the_fingerprint_knows_options_and_selection() -> None:
    one = Recipe((Decode(), Contain(), Encode()))
    assert one.fingerprint() != Recipe((Decode(), Contain(256), Encode())).fingerprint()
    assert one.fingerprint() != Recipe(one.steps, (Duplicates(),)).fingerprint()
    assert one.fingerprint() == Recipe(one.steps, (Duplicates(),)).staged().fingerprint()


def test_the_schema_names_every_step_and_option() -> None:
    said = json.dumps(schema())
    assert '"letterbox"' in said and '"max_pixels"' in said and '"duplicates"' in said


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("steps: [decode, encode]\nselect: {duplicates: {}}", "select: must be a list"),
        ("steps: [decode, encode]\nselect: duplicates", "select: must be a list"),
        ("steps: [decode]\nsteps: [decode, encode]", "steps: stands twice"),
        ("steps: [decode, {contain: &a {longest: *a}}, encode]", "steps[1].contain"),
        ("steps: [decode, {contain: {longest: 2020-99-99}}, encode]", "month"),
        ("steps: [!!int abc]", "file:"),
        ("steps: [!!bool maybe]", "file:"),
        ("steps: " + "[" * 2000, "file:"),
    ],
)
def test_odd_yaml_is_refused_too(source: str, fault: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml(source)
    assert fault in str(caught.value)


def test_an_empty_selection_and_a_merged_list_are_good_yaml() -> None:
    plain = Recipe.from_yaml("steps: [decode, encode]")
    assert Recipe.from_yaml("steps: [decode, encode]\nselect:") == plain
    assert Recipe.from_yaml("<<: {steps: [decode, encode]}") == plain
