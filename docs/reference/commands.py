"""The page about the command line, from the functions that the verbs are."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

import pairloom.cli
from pairloom.cli.app import app


def page() -> str:
    """Every verb with its arguments and options."""
    text = (
        "# Options of every command\n\nThe same as `pairloom VERB --help`. What a verb is for, with examples, stands on its own "
        "page. Results go to standard output, all else to standard error.\n\nExit codes: 0 done; 1 the data or the run failed, "
        "running again goes on; 2 wrong usage or recipe, nothing was written; 130 interrupted.\n"
    )
    for name, verb in sorted(verbs().items()):
        text += f"\n## `pairloom {name}`\n\n{inspect.getdoc(verb)} [Its page](../cli/{name}.md).\n"
        rows = [_row(*one) for one in options(verb)]
        text += "\n| argument, option | what | default |\n|---|---|---|\n" + "\n".join(rows) + "\n" if rows else ""
    return text


def verbs() -> dict[str, Callable[..., Any]]:
    """Every verb by its name."""
    for module in pkgutil.iter_modules(pairloom.cli.__path__, "pairloom.cli."):
        importlib.import_module(module.name)  # each registers its verb
    found = [(one.name or one.callback.__name__, one.callback) for one in app.registered_commands if one.callback]
    return {name.replace("_", "-"): callback for name, callback in found}


def options(verb: Callable[..., Any]) -> list[tuple[list[str], Any, ArgumentInfo | OptionInfo, Any]]:
    """What a verb takes: names as they are typed, type, what is said about it, default."""
    hints, found = get_type_hints(verb, include_extras=True), []
    for parameter in inspect.signature(verb).parameters.values():
        kind, about = get_args(hints[parameter.name])
        own = [] if isinstance(about, ArgumentInfo) else list(about.param_decls or ())
        if isinstance(about, OptionInfo) and not any(name.startswith("--") for name in own):
            own.append("--" + parameter.name.rstrip("_").replace("_", "-"))
        found.append((own or [parameter.name.upper()], kind, about, parameter.default))
    return found


def _row(names: list[str], kind: Any, about: ArgumentInfo | OptionInfo, default: Any) -> str:
    words = " ".join((about.help or "").split())
    choices = [choice for one in (kind, *get_args(kind)) if get_origin(one) is Literal for choice in get_args(one)]
    if choices and not all(choice in words for choice in choices):
        words += f" One of {', '.join(f'`{one}`' for one in choices)}."
    repeated = " …" if _is_list(kind) else ""
    typed = ", ".join(f"`{one}`" for one in sorted(names))
    return f"| {typed}{repeated} | {words.replace('|', chr(92) + '|')} | {_default(about, default)} |"


def _is_list(kind: Any) -> bool:
    inner = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return any(get_origin(one) is list for one in inner)


def _default(about: ArgumentInfo | OptionInfo, default: Any) -> str:
    if default is inspect.Parameter.empty or default is ...:
        return "required"
    if isinstance(about.show_default, str):
        return about.show_default
    return "" if default is None or default is False else f"`{default}`"
