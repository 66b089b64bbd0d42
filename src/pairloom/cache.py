"""Where things are that are computed once for a user and kept between runs. Without them all works as well, only later."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """The folder for what is cached for this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pairloom"
