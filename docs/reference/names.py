"""The page about the Python API, read from the source: nothing is imported, so torch need not be there."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "pairloom"
Definition = ast.ClassDef | ast.FunctionDef


def page() -> str:
    """Every public name of `pairloom` and `pairloom.torch` with its signature and docstring."""
    text = (
        "# Python\n\nEverything below can be imported from `pairloom`, what stands under `pairloom.torch` from there. Other "
        "names may change. Steps are classes, too: `Letterbox(size=384)` is what `letterbox: {size: 384}` is in a recipe.\n"
    )
    text += "\n## `pairloom`\n" + "".join(map(_entry, public("api.py")))
    return (
        text
        + "\n## `pairloom.torch`\n\nNeeds `pip install 'pairloom[torch]'`.\n"
        + "".join(map(_entry, public("torch/__init__.py")))
    )


def public(file: str) -> list[tuple[str, Definition | ast.Module]]:
    """The names in `__all__` of one file, each with what defines it."""
    tree = ast.parse((PACKAGE / file).read_text("utf-8"))
    origin = {
        (alias.asname or alias.name): (node.module or "", alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    names = [ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign) and _targets(node) == ["__all__"]]
    return [(name, _definition(*origin[name])) for name in names[0]]


def _targets(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _definition(module: str, name: str) -> Definition | ast.Module:
    """What a module calls so, also where it has it from another one."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, Definition) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and node.module and any((one.asname or one.name) == name for one in node.names):
            return _definition(node.module, name)
    return ast.parse((path / f"{name}.py").read_text("utf-8"))


def _entry(named: tuple[str, Definition | ast.Module]) -> str:
    name, node = named
    if isinstance(node, ast.Module):  # a module of functions, such as `evaluate`
        functions = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name[0] != "_"]
        return f"\n### `{name}`\n\n{_doc(node)}\n" + "".join(f"\n{_code(one)}\n{_doc(one)}\n" for one in functions)
    about = _doc(node)
    for called in _registered(node):  # the page about steps has the rest
        about = f"{about.split(chr(10) * 2)[0]} As a step: [`{called}`](steps.md#{called})."
    text = f"\n### `{name}`\n\n{_code(node)}\n{about}\n"
    members = _members(node) if isinstance(node, ast.ClassDef) else []
    return text + ("\nMethods and properties:\n" if members else "") + "".join(map(_member, members))


def _registered(node: Definition) -> list[str]:
    """The name under which recipes know a class, if it is a step."""
    calls = [one for one in node.decorator_list if isinstance(one, ast.Call) and ast.unparse(one.func) == "step"]
    return [ast.literal_eval(call.args[0]) for call in calls]


def _members(node: ast.ClassDef) -> list[ast.FunctionDef]:
    """Public methods and properties that say what they do."""
    return [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name[0] != "_" and ast.get_docstring(one)]


def _member(node: ast.FunctionDef) -> str:
    names = [decorator.id for decorator in node.decorator_list if isinstance(decorator, ast.Name)]
    signature = node.name if "property" in names else f"{node.name}({', '.join(_parameters(node.args)[1:])})"
    about = " ".join((ast.get_docstring(node) or "").split())
    return f"\n* `{signature}`: {about}\n"


def _code(node: Definition) -> str:
    if isinstance(node, ast.ClassDef):
        made = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
        parameters, returns = (_parameters(made.args)[1:] if made else _fields(node)), ""
    else:
        parameters, returns = _parameters(node.args), f" -> {ast.unparse(node.returns)}" if node.returns else ""
    inner = ", ".join(parameters)
    if len(inner) > 80:
        inner = "\n" + "".join(f"    {one},\n" for one in parameters)
    return f"```py\n{'class ' if isinstance(node, ast.ClassDef) else ''}{node.name}({inner}){returns}\n```\n"


def _parameters(all_: ast.arguments) -> list[str]:
    """The parameters as they are written, each with its type and default."""
    places = [*all_.posonlyargs, *all_.args]
    defaults: list[ast.expr | None] = [None] * (len(places) - len(all_.defaults)) + list(all_.defaults)
    found = [_parameter(*one) for one in zip(places, defaults, strict=True)]
    if all_.vararg:
        found.append(f"*{_parameter(all_.vararg, None)}")
    elif all_.kwonlyargs:
        found.append("*")
    found += [_parameter(*one) for one in zip(all_.kwonlyargs, all_.kw_defaults, strict=True)]
    return [*found, f"**{_parameter(all_.kwarg, None)}"] if all_.kwarg else found


def _parameter(node: ast.arg, default: ast.expr | None) -> str:
    kind = f": {_type(node.annotation)}" if node.annotation else ""
    return node.arg + kind + (f" = {ast.unparse(default)}" if default else "")


def _fields(node: ast.ClassDef) -> list[str]:
    """The fields of a dataclass, as its parameters."""
    found = [one for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]
    public = [one for one in found if ast.unparse(one.target)[0] != "_" and "ClassVar" not in ast.unparse(one.annotation)]
    return [
        f"{ast.unparse(one.target)}: {_type(one.annotation)}" + (f" = {ast.unparse(one.value)}" if one.value else "")
        for one in public
    ]


def _type(node: ast.expr) -> str:
    """An annotation without its limits, which the page about steps has."""
    return re.sub(r"Annotated\[(\w+(?:\[[^\]]*\])?), .*?\)\]", r"\1", ast.unparse(node))


def _doc(node: Definition | ast.Module) -> str:
    """A docstring as Markdown: what is raised becomes a list."""
    text = inspect.cleandoc(ast.get_docstring(node) or "")
    text = re.sub(r"^Args:\n", "", text, flags=re.MULTILINE)
    text = re.sub(
        r"^Raises:\n((?: {4}.*\n?)+)",
        lambda found: re.sub(r"^    (\w.*?: )", r"    raises \1", found[1], flags=re.M),
        text,
        flags=re.M,
    )
    return re.sub(r"^    (raises )?([A-Z_a-z][\w, ]*): ", r"* \1`\2`: ", text, flags=re.MULTILINE)
