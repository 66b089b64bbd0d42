"""What is computed once for a user and kept between runs. Without it all works as well, only later."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def user_cache() -> Path:
    """The folder for what is cached for this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pairloom"


def keep(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises `OSError` where that can't be done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    private = path.with_name(f"{path.name}.{secrets.token_hex(6)}")
    try:
        private.write_bytes(data)
        private.replace(path)
    finally:
        private.unlink(missing_ok=True)
