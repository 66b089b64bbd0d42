"""What models there are: the one that comes with Pairloom, and the forms of names with what each needs."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pairloom import plugins
from pairloom.errors import UsageError
from pairloom.models import FORMS, MINI, OWN, load
from pairloom.models.settings import read_settings

_NEEDS = {"hf": ("torch", ("torch", "transformers", "safetensors")), "openclip": ("openclip", ("torch", "open_clip"))}


@dataclass(frozen=True)
class Listing:
    """One model: `bytes` on disk, the rest as `Model` has it, and in `problem` why it can't be opened, None if it can."""

    name: str
    bytes: int
    languages: tuple[str, ...] = ()
    license: str = ""
    dimension: int | None = None
    context_length: int | None = None
    device: str | None = None
    fingerprint: str | None = None
    problem: str | None = None


def listing(name: str, device: str = "auto") -> Listing:
    """What there is to say of a model, found by opening it. Raises nothing for one that can't be opened."""
    try:
        model = load(name, device)
    except UsageError as fault:
        return Listing(name, _size(MINI) if name == "mini" else 0, problem=str(fault))
    size = _size(MINI) if name == "mini" else sum(path.stat().st_size for path in model.weights)
    license = read_settings(model.weights[0].parent).license if model.weights else ""
    return Listing(name, size, model.languages, license, model.dimension, model.context_length,
                   model.device, model.fingerprint)  # fmt: skip


def forms() -> dict[str, tuple[str, str | None]]:
    """Each form of a name with its meaning, and what is missing for it: the line to type, or why a plugin can't be used."""
    own = {form: (meaning, _missing(form.partition(":")[0])) for form, meaning in FORMS.items()}
    return own | {name: _added(name) for name in plugins.names("models", OWN)}


def _added(name: str) -> tuple[str, str | None]:
    """What an installed package says of a model that it adds, or why it can't be used."""
    package = ", ".join(plugins.packages("models", [name]))
    try:
        said = inspect.getdoc(plugins.load("models", name)) or ""
    except UsageError as fault:
        return f"from {package}", str(fault)
    return f"{' '.join(said.partition(chr(10) * 2)[0].split())} (from {package})".lstrip(), None


def _missing(kind: str) -> str | None:
    extra, modules = _NEEDS.get(kind, ("", ()))
    return None if all(find_spec(module) for module in modules) else f"pip install 'pairloom[{extra}]'"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
