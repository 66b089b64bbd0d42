"""A recipe: the steps of a run, as a YAML file and as dataclasses that say the same.

`- letterbox: {size: 512}` is `Letterbox(size=512)`. A recipe is checked whole before a byte is read, and all its faults
are reported at once, each with its place.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import yaml
from pydantic import TypeAdapter, ValidationError

from pairloom import registry
from pairloom.batch import READ
from pairloom.choices import shipped_recipes
from pairloom.errors import Problem, RecipeError, UsageError
from pairloom.registry import REGISTRIES
from pairloom.step import STEPS, Selection, Step
from pairloom.steps import decode, encode

_LOCKED = ("pairloom", "pillow", "simplejpeg", "kornia-rs", "numpy", "pyarrow", "tokenizers", "sentencex", "ftfy", "py3langid")
# Beside its own errors PyYAML lets through what Python raises for `!!int abc`, `!!bool maybe` or the 99th of a month.
_NO_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps in the order in which they run, and what is then selected among all pairs of the run.

    Raises:
        RecipeError: if a step needs what no earlier step makes; every such fault is named.
    """

    steps: tuple[Step, ...]
    select: tuple[Selection, ...] = ()

    def __post_init__(self) -> None:
        problems = _line_problems(self.steps, self.select)
        if problems:
            raise RecipeError(problems)

    @classmethod
    def load(cls, name: str) -> Recipe:
        """A shipped recipe by its name (`default`, `clip`; `shipped_recipes()` has them all) or one from a YAML file."""
        if name in shipped_recipes():
            return cls.from_yaml(recipe_text(name), name)
        return cls.from_yaml(_read(name), name)

    @classmethod
    def from_yaml(cls, source: str, name: str = "recipe") -> Recipe:
        """Read a recipe from YAML text."""
        node, literal = _parse(source, name)
        problems = [Problem(key, "unknown; a recipe holds `steps` and `select`") for key in literal if key not in REGISTRIES]
        made: dict[str, list[Any]] = {}
        for part in REGISTRIES:
            made[part], faults = _part(part, literal.get(part) or [], _lines(node, part))
            problems += faults
        if len(made["steps"]) == len(literal["steps"]):
            problems += _line_problems(made["steps"], made["select"])
        if problems:
            raise RecipeError(problems, name)
        return cls(tuple(made["steps"]), tuple(made["select"]))

    @classmethod
    def from_literal(cls, literal: Mapping[str, Any]) -> Recipe:
        """The recipe that `to_literal` wrote; what `select:` reads is not checked again."""
        whole = cls.from_yaml(yaml.safe_dump({"steps": literal["steps"]}))
        return cls.unchecked(whole.steps, _part("select", literal.get("select") or [], [])[0])

    @classmethod
    def selection(cls, name: str) -> tuple[Selection, ...]:
        """Only the `select:` of a recipe, for pairs that are prepared already: its steps need not fit together with it."""
        source = recipe_text(name) if name in shipped_recipes() else _read(name)
        node, literal = _parse(source, name)
        made, problems = _part("select", literal.get("select") or [], _lines(node, "select"))
        if problems:
            raise RecipeError(problems, name)
        return tuple(made)

    @classmethod
    def unchecked(cls, steps: Sequence[Step], select: Sequence[Selection]) -> Recipe:
        """A recipe whose selection reads columns from elsewhere."""
        recipe = cls(tuple(steps))
        object.__setattr__(recipe, "select", tuple(select))
        return recipe

    def to_literal(self) -> dict[str, Any]:
        """The recipe as YAML and JSON hold it, with every option written out."""
        literal = {"steps": [{step.name: _options(step)} for step in self.steps]}
        return literal | ({"select": [{one.name: _options(one)} for one in self.select]} if self.select else {})

    def to_yaml(self) -> str:
        """The resolved recipe; reading it gives an equal recipe."""
        return yaml.safe_dump(self.to_literal(), sort_keys=False, allow_unicode=True, default_flow_style=None)

    def fingerprint(self) -> str:
        """A digest of what the output depends on beside the input: the resolved recipe and the versions of the libraries."""
        return fingerprint_of(self.to_literal(), self.versions())

    def versions(self) -> dict[str, str]:
        """What the bytes of an output depend on beside input and recipe: versions of libraries, digests of what steps read."""
        read = {f"{step.name} {k}": digest for step in self.steps for k, digest in step.depends_on().items()}
        return {**versions(), **registry.packages(self.steps), **read}

    def staged(self) -> Recipe:
        """The same steps without the selection: what has to be done again only if a step changes."""
        return Recipe(self.steps)

    def bound(self) -> tuple[Step, ...]:
        """The steps, each told what follows it."""
        return tuple(step.bind(self.steps[number + 1 :]) for number, step in enumerate(self.steps))

    def columns(self) -> dict[str, pa.DataType]:
        """Every column of the ledger with its Arrow type: what readers fill and what the steps add."""
        added = {name: type for step in self.steps for name, type in step.adds.items()}
        return {**READ, **added}

    @property
    def suffix(self) -> str | None:
        """File name suffix of the encoded images, None where the recipe leaves the bytes as they came."""
        return next((step.suffix for step in reversed(self.steps) if isinstance(step, encode.Encode)), None)


def fingerprint_of(literal: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """The fingerprint of a recipe that is known only by its literal and the versions it ran with."""
    said = json.dumps({"recipe": literal, "versions": versions}, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


@cache
def versions() -> Mapping[str, str]:
    """The versions of the libraries that the bytes of an output depend on."""
    return MappingProxyType({name: metadata.version(name) for name in _LOCKED})


def recipe_text(name: str) -> str:
    """A shipped recipe as it is written, comments and all."""
    return (resources.files("pairloom") / "recipes" / f"{name}.yaml").read_text("utf-8")


def schema() -> dict[str, Any]:
    """JSON Schema of a recipe file, for editors and validators; steps of packages that can't be imported are not in it."""
    registry.load_plugins()
    definitions: dict[str, Any] = {}
    parts = {}
    for part, kinds in REGISTRIES.items():
        entries: list[dict[str, Any]] = [{"enum": sorted(kinds)}]
        for name, kind in sorted(kinds.items()):
            options = TypeAdapter(kind).json_schema(ref_template="#/$defs/{model}")
            definitions |= options.pop("$defs", {})
            only = {"type": "object", "properties": {name: options}, "required": [name], "additionalProperties": False}
            entries.append(only)
        parts[part] = {"type": "array", "items": {"anyOf": entries}}
    root = {"type": "object", "properties": parts, "required": ["steps"], "additionalProperties": False}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Pairloom recipe", **root, "$defs": definitions}


def _read(name: str) -> str:
    try:
        return Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else fault
        raise RecipeError([Problem(name, f"{why}; shipped recipes are {', '.join(shipped_recipes())}")]) from None


def _parse(source: str, name: str) -> tuple[Any, dict[str, Any]]:
    try:
        node = yaml.compose(source, yaml.SafeLoader)
        literal = yaml.safe_load(source)
    except _NO_YAML as fault:
        raise RecipeError([Problem("file", " ".join(str(fault).split()))], name) from None
    if not isinstance(literal, dict) or not isinstance(literal.get("steps"), list) or node is None:
        raise RecipeError([Problem("file", "must hold a list called `steps`")], name)
    names = [key.value for key, _ in node.value]
    twice = [part for part in REGISTRIES if names.count(part) > 1]
    if twice:  # YAML would silently take the last
        raise RecipeError([Problem(part, "stands twice; a recipe has one list of each name") for part in twice], name)
    return node, literal


def _options(step: Step | Selection) -> dict[str, Any]:
    options = dataclasses.asdict(step)  # type: ignore[call-overload]
    return {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}


def _lines(node: Any, part: str) -> list[int]:
    lists = [value for key, value in node.value if key.value == part and isinstance(value, yaml.SequenceNode)]
    return [item.start_mark.line + 1 for value in lists for item in value.value]


def _part(part: str, entries: Any, lines: list[int]) -> tuple[list[Any], list[Problem]]:
    if not isinstance(entries, list):
        return [], [Problem(part, "must be a list")]
    made, problems = [], []
    # A list that a YAML merge brought in has no lines of its own.
    for number, (entry, line) in enumerate(zip_longest(entries, lines)):
        one, faults = _entry(part, entry, f"{part}[{number}]", line)
        problems += faults
        made += [one] if one else []
    return made, problems


def _entry(part: str, entry: Any, place: str, line: int | None) -> tuple[Any, list[Problem]]:
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, dict) or len(entry) != 1:
        return None, [Problem(place, "must be a name, or one name with its options", line)]
    [(name, options)] = entry.items()
    try:
        kind = registry.find(part, name)
    except UsageError as fault:
        return None, [Problem(place, str(fault), line)]
    if kind is None:
        close = difflib.get_close_matches(str(name), registry.known(part), 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(registry.known(part))}"
        return None, [Problem(place, f"nothing is called {name!r}; {hint}", line)]
    if options is not None and not isinstance(options, dict):
        return None, [Problem(f"{place}.{name}", "options are written as {name: value}", line)]
    try:
        # JSON mode: a list from YAML may fill a tuple, while a string never passes for a number
        return TypeAdapter(kind).validate_json(json.dumps(options or {}), strict=True), []
    except ValidationError as fault:
        found = [(".".join([place, name, *map(str, one["loc"])]), one["msg"]) for one in fault.errors()]
        return None, [Problem(where, message, line) for where, message in found]
    except (TypeError, ValueError) as fault:  # YAML knows dates and values that hold themselves, JSON does not
        return None, [Problem(f"{place}.{name}", str(fault), line)]


def _line_problems(steps: Sequence[Step], select: Sequence[Selection]) -> list[Problem]:
    """What no single step can know: whether each finds the columns and pixels it works on."""
    problems, columns = [], dict(READ)
    live = changed = False
    for number, step in enumerate(steps):
        place = f"steps[{number}].{step.name}"
        problems += _missing(step, place, columns)
        problems += [Problem(place, text) for text in getattr(step, "problems", lambda _: [])(set(columns))]
        if step.reads_pixels and not live:
            problems.append(Problem(place, "works on pixels: put `decode` before it (and `encode` after it)"))
        if isinstance(step, decode.Decode):
            live = True
        elif isinstance(step, encode.Encode):
            live = changed = False
        else:
            changed = changed or step.changes_pixels
        columns |= step.adds
    if changed:
        problems.append(Problem("steps", "the images are changed but never encoded: put `encode` after the last image step"))
    for number, one in enumerate(select):
        problems += _missing(one, f"select[{number}].{one.name}", columns)
    return problems


def not_numbers(step: Step | Selection, columns: Mapping[str, pa.DataType]) -> list[str]:
    """What is wrong with the columns of a step that only works on numbers."""
    there = [column for column in step.numbers if column in columns]
    types = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    wrong = [column for column in there if not any(is_one(columns[column]) for is_one in types)]
    return [f"needs numbers, but `{column}` is of type {columns[column]}" for column in wrong]


def _missing(step: Step | Selection, place: str, columns: dict[str, pa.DataType]) -> list[Problem]:
    problems = [Problem(place, text) for text in not_numbers(step, columns)]
    for missing in [column for column in step.reads if column not in columns]:
        maker = next((name for name, kind in sorted(STEPS.items()) if missing in kind.adds), None)
        hint = f": put `{maker}` before it" if maker else ""
        problems.append(Problem(place, f"reads `{missing}`, which no earlier step adds{hint}"))
    return problems
