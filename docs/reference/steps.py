"""The pages about steps and recipes, from the registry, the docstrings and the JSON Schema of each step's options."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import MISSING, fields
from typing import Any

import yaml
from pydantic import TypeAdapter

from pairloom.recipe import REGISTRIES, Recipe, recipe_text, shipped_recipes
from pairloom.step import SELECTIONS, STEPS

EXAMPLE = re.compile(r"\n*Example: `(.*)`$")
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def page() -> str:
    """Every step and selection with its options and a recipe that it works in."""
    text = (
        "# Steps\n\nA recipe is a list of these, in the order in which they run. `pairloom steps NAME` shows the same in the "
        "terminal. Each example is a whole recipe: it has the fewest other steps that this one needs.\n"
    )
    for part, registry in REGISTRIES.items():
        text += "" if part == "steps" else "\n## Selections under `select:`\n\nThey see all pairs of the run.\n"
        text += "".join(_entry(name, kind) for name, kind in sorted(registry.items()))
    return text


def example(name: str) -> str:
    """An entry of a recipe, as the author of the step wrote it in its docstring. Raises `ValueError` if there is none."""
    found = EXAMPLE.search(inspect.getdoc(_kinds()[name]) or "")
    if not found:
        raise ValueError(f"the docstring of step `{name}` ends without a line such as: Example: `{name}: {{size: 384}}`")
    return found[1]


def recipe(name: str) -> str:
    """The YAML of the smallest recipe in which a step's example runs."""
    needed: list[str] = []
    _need(name, needed)
    live = any(STEPS[one].reads_pixels or STEPS[one].changes_pixels for one in needed if one in STEPS)
    lines = ["steps:", *(f"- {example(one) if one == name else _short(one)}" for one in needed if one in STEPS)]
    lines += ["- encode"] if live and "encode" not in needed else []
    lines += ["select:", f"- {example(name)}"] if name in SELECTIONS else []
    source = "\n".join(lines if len(lines) > 1 else [*lines, "- clean"])
    Recipe.from_yaml(source)
    return source


def recipes() -> str:
    """The page about recipe files, with those that ship."""
    text = """# Recipe files

A recipe is a YAML file with two lists:

| key | holds | needed |
|---|---|---|
| `steps` | [steps](steps.md), in the order in which they run on each pair | yes; empty is enough for `pairloom select` |
| `select` | [selections](steps.md#selections-under-select), in the order in which they see all pairs of the run | no |

An entry is a name (`- clean`), or one name with its options (`- letterbox: {size: 384}`). Whatever is not written has its
default; `recipe.yaml` in an output has every option written out. Unknown names and options, values of the wrong type or out of
range, and steps that don't find the columns they read are all reported at once, each with its line, before anything is read.

[`pairloom schema`](../cli/schema.md) prints the JSON Schema. [`pairloom init`](../cli/init.md) copies one of these recipes, for
you to change:
"""
    for name in shipped_recipes():
        text += f"\n## `{name}`\n\n```yaml\n{recipe_text(name).rstrip()}\n```\n"
    return text


def _entry(name: str, kind: type[Any]) -> str:
    about = EXAMPLE.sub("", inspect.getdoc(kind) or "")
    text = f"\n## `{name}`\n\n{about}\n\n"
    options = TypeAdapter(kind).json_schema()
    rows = [
        f"| `{field.name}` | {_kind(options['properties'][field.name], options)} | {_default(field)} |" for field in fields(kind)
    ]
    text += "| option | value | default |\n|---|---|---|\n" + "\n".join(rows) + "\n\n" if rows else ""
    said = [f"reads {_columns(kind.reads)}" if isinstance(kind.reads, tuple) and kind.reads else ""]
    said += [f"adds {_columns(kind.adds)}" if getattr(kind, "adds", {}) else ""]
    said += [f"drops with reason `{kind.reason}`" if hasattr(kind, "reason") else ""]
    line = ", ".join(one for one in said if one)
    text += f"{line[0].upper()}{line[1:]}.\n\n" if line else ""
    return text + f"```yaml\n{recipe(name)}\n```\n"


def _kind(schema: dict[str, Any], whole: dict[str, Any]) -> str:
    """What an option takes, in words."""
    if "$ref" in schema:
        return _kind(whole["$defs"][schema["$ref"].rsplit("/", 1)[1]], whole)
    if "anyOf" in schema:
        return ", or ".join("nothing" if one.get("type") == "null" else _kind(one, whole) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    if "prefixItems" in schema:
        return f"a list of {len(schema['prefixItems'])}: {_kind(schema['prefixItems'][0], whole)} each"
    if schema.get("type") == "array":
        return f"a list of {_kind(schema['items'], whole)}"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
    limits = " and ".join(f"{sign} {schema[key]:,}" for key, sign in _LIMITS.items() if key in schema)
    return f"{words[schema['type']]} {limits}".rstrip()


def _default(field: Any) -> str:
    if field.default is MISSING:
        return "required"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return "–" if value is None else f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def _columns(columns: Any) -> str:
    return ", ".join(f"`{column}`" for column in columns)


def _kinds() -> dict[str, type[Any]]:
    return {**STEPS, **SELECTIONS}


def _made(name: str) -> Any:
    """The step of an example."""
    literal = yaml.safe_load(example(name))
    options = literal[name] if isinstance(literal, dict) else {}
    return TypeAdapter(_kinds()[name]).validate_json(json.dumps(options), strict=True)


def _need(name: str, needed: list[str]) -> None:
    """Put into `needed` the steps that must come before one, in their order, then the step itself."""
    made = _made(name)
    before = ["decode"] if getattr(made, "reads_pixels", False) else []
    for column in (*made.reads, *made.numbers):
        before += [maker for maker, kind in sorted(STEPS.items()) if column in kind.adds][:1]
    for one in before:
        if one not in needed and one != name:
            _need(one, needed)
    needed.append(name)


def _short(name: str) -> str:
    """A step that another one needs: its bare name, where that is enough."""
    return example(name) if any(field.default is MISSING for field in fields(_kinds()[name])) else name
