"""What models there are: the one that comes with Pairloom, and the forms of names with what each needs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pairloom.errors import UsageError
from pairloom.models import FORMS, MINI, load
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
    folder = model.weights[0].parent
    size = _size(folder) if name == "mini" else sum(path.stat().st_size for path in model.weights)
    return Listing(name, size, model.languages, read_settings(folder).license, model.dimension, model.context_length,
                   model.device, model.fingerprint)  # fmt: skip


def forms() -> dict[str, tuple[str, str | None]]:
    """Each form of a name with its meaning, and the line to type where a package is missing for it."""
    return {form: (meaning, _missing(form.partition(":")[0])) for form, meaning in FORMS.items()}


def _missing(kind: str) -> str | None:
    extra, modules = _NEEDS.get(kind, ("", ()))
    return None if all(find_spec(module) for module in modules) else f"pip install 'pairloom[{extra}]'"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
