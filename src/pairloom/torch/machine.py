"""Where and how a loader works, apart from what it loads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from pairloom.errors import UsageError


@dataclass(frozen=True)
class Machine:
    """Where and how a loader works; nothing of this changes what it yields.

    `workers` are processes; 0 works in this one. `rank` and `ranks` come from `torch.distributed` or the environment of
    torchrun unless given. A batch that takes more than `timeout` seconds is an error. `cache_bytes` bounds the local copies
    of remote files.
    """

    workers: int = 0
    rank: int | None = None
    ranks: int | None = None
    prefetch: int = 2
    pin_memory: bool = False
    timeout: float = 600.0
    cache: str | Path | None = None
    cache_bytes: int = 64 << 30

    def __post_init__(self) -> None:
        for name, least in (("workers", 0), ("prefetch", 1), ("timeout", 1), ("cache_bytes", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {least}")

    def place(self) -> tuple[int, int]:
        """The rank of this process, and how many there are. Raises `UsageError` if they make no sense."""
        running = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank = torch.distributed.get_rank() if running else int(os.environ.get("RANK", 0))
        ranks = torch.distributed.get_world_size() if running else int(os.environ.get("WORLD_SIZE", 1))
        rank = rank if self.rank is None else self.rank
        ranks = ranks if self.ranks is None else self.ranks
        if not 0 <= rank < ranks:
            raise UsageError(f"rank {rank} of {ranks} makes no sense")
        return rank, ranks
