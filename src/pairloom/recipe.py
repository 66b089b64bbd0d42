"""A recipe: the steps of a run, as a YAML file and as dataclasses that say the same.

`- letterbox: {size: 512}` is `Letterbox(size=512)`. A recipe is checked whole before a byte is read, and all its faults
are reported at once, each with its place.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from pydantic import TypeAdapter, ValidationError

from pairloom.batch import READ
from pairloom.errors import Problem, RecipeError
from pairloom.step import STEPS, Step
from pairloom.steps import decode, filters, image, segment, text

_REGISTERED = (decode, filters, image, segment, text)  # importing a module registers its steps
_LOCKED = ("pairloom", "pillow", "simplejpeg", "numpy", "pyarrow", "tokenizers", "sentencex", "ftfy", "py3langid")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps in the order in which they run.

    Raises:
        RecipeError: if a step needs what no earlier step makes; every such fault is named.
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        problems = _line_problems(self.steps)
        if problems:
            raise RecipeError(problems)

    @classmethod
    def load(cls, name: str) -> Recipe:
        """A shipped recipe by its name (`default`, `letterbox`, `naive`) or one from a YAML file."""
        shipped = resources.files("pairloom") / "recipes" / f"{name}.yaml"
        if name in shipped_recipes():
            return cls.from_yaml(shipped.read_text("utf-8"), name)
        try:
            return cls.from_yaml(Path(name).read_text("utf-8"), name)
        except (OSError, UnicodeDecodeError) as fault:
            names = ", ".join(shipped_recipes())
            raise RecipeError([Problem(name, f"{fault}; shipped recipes are {names}")]) from None

    @classmethod
    def from_yaml(cls, source: str, name: str = "recipe") -> Recipe:
        """Read a recipe from YAML text."""
        try:
            node = yaml.compose(source, yaml.SafeLoader)
            literal = yaml.safe_load(source)
        except yaml.YAMLError as fault:
            raise RecipeError([Problem("file", " ".join(str(fault).split()))], name) from None
        if not isinstance(literal, dict) or not isinstance(literal.get("steps"), list) or node is None:
            raise RecipeError([Problem("file", "must hold a list called `steps`")], name)
        problems = [Problem(key, "unknown; a recipe holds `steps`") for key in literal if key != "steps"]
        lines = [item.start_mark.line + 1 for key, value in node.value if key.value == "steps" for item in value.value]
        steps = []
        for number, (entry, line) in enumerate(zip(literal["steps"], lines, strict=True)):
            made, faults = _step(entry, f"steps[{number}]", line)
            problems += faults
            steps += [made] if made else []
        problems += _line_problems(steps) if len(steps) == len(lines) else []
        if problems:
            raise RecipeError(problems, name)
        return cls(tuple(steps))

    def to_literal(self) -> dict[str, Any]:
        """The recipe as YAML and JSON hold it, with every option written out."""
        return {"steps": [{step.name: _options(step)} for step in self.steps]}

    def to_yaml(self) -> str:
        """The resolved recipe; reading it gives an equal recipe."""
        return yaml.safe_dump(self.to_literal(), sort_keys=False, allow_unicode=True, default_flow_style=None)

    def fingerprint(self) -> str:
        """A digest of what the output depends on beside the input: the resolved recipe and the versions of the libraries."""
        versions = {name: metadata.version(name) for name in _LOCKED}
        said = json.dumps({"recipe": self.to_literal(), "versions": versions}, sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:32]

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
        return next((step.suffix for step in reversed(self.steps) if isinstance(step, image.Encode)), None)


def shipped_recipes() -> list[str]:
    """The names of the recipes in the package."""
    return sorted(f.name.removesuffix(".yaml") for f in (resources.files("pairloom") / "recipes").iterdir() if f.name[0] not in "._")


def schema() -> dict[str, Any]:
    """JSON Schema of a recipe file, for editors and validators."""
    definitions: dict[str, Any] = {}
    entries: list[dict[str, Any]] = [{"enum": sorted(STEPS)}]
    for name, kind in sorted(STEPS.items()):
        options = TypeAdapter(kind).json_schema(ref_template="#/$defs/{model}")
        definitions |= options.pop("$defs", {})
        only = {"type": "object", "properties": {name: options}, "required": [name], "additionalProperties": False}
        entries.append(only)
    steps = {"type": "array", "items": {"anyOf": entries}}
    root = {"type": "object", "properties": {"steps": steps}, "required": ["steps"], "additionalProperties": False}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Pairloom recipe", **root, "$defs": definitions}


def _options(step: Step) -> dict[str, Any]:
    options = dataclasses.asdict(step)  # type: ignore[call-overload]
    return {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}


def _step(entry: Any, place: str, line: int) -> tuple[Step | None, list[Problem]]:
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, dict) or len(entry) != 1:
        return None, [Problem(place, "must be a step's name, or one name with its options", line)]
    [(name, options)] = entry.items()
    if name not in STEPS:
        return None, [Problem(place, f"no step is called {name!r}; there are {', '.join(sorted(STEPS))}", line)]
    if options is not None and not isinstance(options, dict):
        return None, [Problem(f"{place}.{name}", "options are written as {name: value}", line)]
    try:
        # JSON mode: a list from YAML may fill a tuple, while a string never passes for a number
        return TypeAdapter(STEPS[name]).validate_json(json.dumps(options or {}), strict=True), []
    except (ValidationError, TypeError) as fault:
        if isinstance(fault, TypeError):
            return None, [Problem(f"{place}.{name}", str(fault), line)]
        found = [(".".join([place, name, *map(str, one["loc"])]), one["msg"]) for one in fault.errors()]
        return None, [Problem(where, message, line) for where, message in found]


def _line_problems(steps: tuple[Step, ...] | list[Step]) -> list[Problem]:
    """What no single step can know: whether each finds the columns and pixels it works on."""
    problems, columns = [], set(READ)
    live = changed = False
    for number, step in enumerate(steps):
        place = f"steps[{number}].{step.name}"
        for missing in [column for column in step.reads if column not in columns]:
            maker = next((name for name, kind in sorted(STEPS.items()) if missing in kind.adds), None)
            hint = f": put `{maker}` before it" if maker else ""
            problems.append(Problem(place, f"reads `{missing}`, which no earlier step adds{hint}"))
        problems += [Problem(place, text) for text in getattr(step, "problems", lambda _: [])(columns)]
        if step.reads_pixels and not live:
            problems.append(Problem(place, "works on pixels: put `decode` before it (and `encode` after it)"))
        if isinstance(step, decode.Decode):
            live = True
        elif isinstance(step, image.Encode):
            live = changed = False
        else:
            changed = changed or step.reads_pixels
        columns |= set(step.adds)
    if changed:
        problems.append(Problem("steps", "the images are changed but never encoded: put `encode` after the last image step"))
    return problems
