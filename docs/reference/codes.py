"""Every reason code that the source can give, read from the source itself: the page about them must name each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "pairloom"
_CODE = re.compile(r"^[a-z]+(_[a-z]+)*$")
_PLACE = {"Reject": 0, "_BrokenTable": 0, "read_file": 2, "parse_json": 1, "fault": 2}
"""Calls that take a code, and as which argument."""
_NAMES = {"code", "reason"}
"""What a code is called where it is kept; `missing` is a parameter that is handed on, too."""


def codes() -> dict[str, set[str]]:
    """Each code with the files that give it. Raises `ValueError` at a code that can't be told from the source."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for value in _values(node):
                for code in _constants(value, f"{path}:{value.lineno}"):
                    found.setdefault(code, set()).add(path.relative_to(PACKAGE).as_posix())
    return found


def _values(node: ast.AST) -> Iterator[ast.expr]:
    """What stands where a code belongs: in a call, an assignment or the default of a parameter."""
    if isinstance(node, ast.Call):
        called = _name(node.func)
        yield from node.args[_PLACE[called] :][:1] if called in _PLACE else []
    elif isinstance(node, ast.AnnAssign) and node.value and _called(node.target):
        yield node.value
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from (value for one, value in zip(target.elts, node.value.elts, strict=True) if _called(one))
            elif _called(target):
                yield node.value
    elif isinstance(node, ast.arguments):
        named = zip(node.args[len(node.args) - len(node.defaults) :], node.defaults, strict=True)
        yield from (default for argument, default in named if argument.arg in {*_NAMES, "missing"})


def _called(target: ast.expr) -> bool:
    return _name(target) in _NAMES


def _name(target: ast.expr) -> str:
    return target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")


def _constants(value: ast.expr, place: str) -> Iterator[str]:
    """The codes that an expression can be; what is read back from a file, `row["code"]`, was written as one of them."""
    if isinstance(value, ast.IfExp):
        yield from _constants(value.body, place)
        yield from _constants(value.orelse, place)
    elif isinstance(value, ast.Constant):
        yield from [value.value] if isinstance(value.value, str) and _CODE.match(value.value) else []
    elif not (isinstance(value, ast.Subscript) or _called(value) or _name(value) == "missing"):
        raise ValueError(f"{place}: which reason code {ast.unparse(value)!r} is can't be told; write it as a constant")
