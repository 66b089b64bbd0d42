"""`pairloom.json`, what a model's folder says about itself beyond the files of other tools; every entry may be missing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pairloom.alignment.attention import Pooling
from pairloom.errors import UsageError

FILE = "pairloom.json"


@dataclass(frozen=True)
class Settings:
    """The entries of `pairloom.json`; None where the model's other files tell."""

    context_length: int | None = None
    dimension: int | None = None
    pad_token_id: int | None = None
    languages: tuple[str, ...] = ()
    license: str = ""
    pooling: Pooling = field(default_factory=Pooling)


def read_settings(folder: Path) -> Settings:
    """The settings of a model's folder, all unset where it has no `pairloom.json`.

    Raises:
        UsageError: if the file is no JSON, or an entry has a wrong type.
    """
    try:
        return TypeAdapter(Settings).validate_json((folder / FILE).read_bytes())
    except FileNotFoundError:
        return Settings()
    except ValidationError as fault:
        found = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in fault.errors())
        raise UsageError(f"{folder / FILE}: {found}") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file that may be missing, then empty. Raises `UsageError` if it is something else."""
    try:
        found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    except ValueError as fault:
        raise UsageError(f"{path} is not JSON: {fault}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path} does not hold a JSON object")
    return found
