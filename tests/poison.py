"""A step that does to a process what a poison file does; in a module of its own, where processes find it."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

from pairloom import Recipe, Step, step
from pairloom.batch import Batch
from pairloom.step import lift


@step("poison", {})
class Poison(Step):
    """Does harm when it sees one of the keys; with `once`, the name of a file, only the first time."""

    harm: str
    keys: tuple[str, ...]
    once: str = ""

    def __call__(self, batch: Batch) -> Batch:
        if self.harm != "crowds" or len(batch) > 1:
            lift(self.one, batch["key"])
        return batch

    def one(self, key: str) -> None:
        if key in self.keys and not (self.once and Path(self.once).exists()):
            Path(self.once or os.devnull).touch()
            HARMS[self.harm]()


def sleeps() -> None:
    time.sleep(600)


def kills() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crashes() -> None:
    ctypes.string_at(0)


def eats() -> None:
    """Up to 4 GiB, for as long as it lives; the limits of the tests are far below."""
    food = []
    for _ in range(256):
        food.append(b"\1" * (16 << 20))
        time.sleep(0.01)
    time.sleep(600)


def lacks() -> None:
    raise MemoryError


def crowds() -> None:
    """Never when a pair is alone."""
    kills()


def exits() -> None:
    os._exit(7)


HARMS = {harm.__name__: harm for harm in (sleeps, kills, crashes, eats, lacks, exits, crowds)}


def poisoned(harm: str, *keys: str, once: str = "", recipe: str = "naive") -> Recipe:
    """A shipped recipe that begins with harm."""
    shipped = Recipe.load(recipe)
    return Recipe((Poison(harm, keys, once), *shipped.steps), shipped.select)


def tells_its_environment(connection: Connection) -> None:
    connection.send(os.environ.get("PAIRLOOM_TEST"))


def tells_whether_it_hears_ctrl_c(connection: Connection) -> None:
    connection.send(signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
