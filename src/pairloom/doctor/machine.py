"""Cores, memory, disk and shared memory, with the limits that a container or a batch system sets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pairloom.doctor.finding import Finding, size

N = TypeVar("N", int, float)
_WORKER = 3 << 29  # bytes; one worker with the recipe `default` takes 0.9 GiB on the sample pairs
_SHARED, _DISK = 1 << 30, 1 << 30
_NONE = 1 << 60  # cgroups of version 1 say a number beyond all memory where they mean none


def look(path: Path) -> Iterator[Finding]:
    """All findings about the machine; `path` is where an output is to go."""
    yield from _cores_and_memory()
    yield from _disk(path)
    yield from _shared()


def _cores_and_memory() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, most = cpu_limit(), memory_limit()
    if quota is not None and quota < cores:
        said = f"{cores}, but the container may use only {quota:g} of them at a time"
        yield Finding("cores", "note", said, f"pairloom run … --workers {max(1, int(quota))}")
        cores = max(1, int(quota))
    else:
        yield Finding("cores", "ok", str(cores))
    free = available()
    if free is None:
        return
    room = min(free, most or free)
    said = f"{size(free)} available" + (f", of which the container may use {size(most)}" if most and most < free else "")
    workers = max(1, room // _WORKER)
    if workers < cores:
        said += f"; enough for {workers} worker{'' if workers == 1 else 's'} with `align`, and there are {cores} cores"
        yield Finding("memory", "note", said, f"pairloom run … --workers {workers}")
    else:
        yield Finding("memory", "ok", said)


def _disk(path: Path) -> Iterator[Finding]:
    place = next((each for each in (path.absolute(), *path.absolute().parents) if each.exists()), Path("/"))
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        what = "can't be written to" if place.is_dir() else "is a file"
        yield Finding("disk", "problem", f"{place} {what}; an output needs a folder", "pairloom doctor ANOTHER_FOLDER")
        return
    free = shutil.disk_usage(place).free
    said = f"{size(free)} free at {place}"
    if free < _DISK:
        yield Finding("disk", "note", f"{said}; `pairloom check INPUT` says how much a run will write", f"df -h '{place}'")
    else:
        yield Finding("disk", "ok", said)


def _shared(place: Path = Path("/dev/shm")) -> Iterator[Finding]:
    """PyTorch's loader hands batches from its workers through shared memory; Docker gives 64 MB unless told otherwise."""
    if not place.is_dir():
        return
    whole = shutil.disk_usage(place).total
    if whole < _SHARED:
        said = f"{size(whole)} at {place}: worker processes of the loader may die with a bus error"
        yield Finding("shared memory", "note", said, "docker run --shm-size=8g …")
    else:
        yield Finding("shared memory", "ok", f"{size(whole)} at {place}")


def available(about: Path = Path("/proc/meminfo")) -> int | None:
    """The bytes of memory that programs can still get on this machine, None where nothing tells."""
    with suppress(OSError, ValueError, StopIteration):
        lines = about.read_text("ascii").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))) << 10
    with suppress(OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def cpu_limit(root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")) -> float | None:
    """How many cores' time the cgroups of this process allow, None where they set no limit."""

    def quota(group: Path) -> float | None:
        if (group / "cpu.max").exists():
            allowed, period = (group / "cpu.max").read_text("ascii").split()
        else:
            allowed, period = ((group / f"cpu.cfs_{name}_us").read_text("ascii") for name in ("quota", "period"))
        return int(allowed) / int(period) if allowed.strip().isdecimal() else None

    return _least(root, groups, "cpu", quota)


def memory_limit(root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")) -> int | None:
    """How many bytes of memory the cgroups of this process allow, None where they set no limit."""

    def most(group: Path) -> int | None:
        name = "memory.max" if (group / "memory.max").exists() else "memory.limit_in_bytes"
        allowed = (group / name).read_text("ascii").strip()
        return int(allowed) if allowed.isdecimal() and int(allowed) < _NONE else None

    return _least(root, groups, "memory", most)


def _least(root: Path, groups: Path, controller: str, limit: Callable[[Path], N | None]) -> N | None:
    """The least of the limits of this process's cgroup and of all above it."""
    found = []
    for group in _groups(root, groups, controller):
        with suppress(OSError, ValueError):
            found.append(limit(group))
    return min((each for each in found if each is not None), default=None)


def _groups(root: Path, groups: Path, controller: str) -> Iterator[Path]:
    """The folders of the cgroup, of those above it, and of the root: in a container the path may be that of the machine."""
    with suppress(OSError):
        for line in groups.read_text("utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            base = root / controller if controllers else root
            place = Path(path.lstrip("/"))
            yield from (base / each for each in (place, *place.parents))
