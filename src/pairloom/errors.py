"""Everything that can go wrong, in three kinds with three ways out.

* `RecipeError`, `UsageError`: what was asked for makes no sense. Nothing is written; the command exits with 2.
* `Reject`: one pair can't be used. It goes to `rejects/` with its reason code; the run goes on.
* `RunError` and anything unforeseen: the machine or the data as a whole. The shard stays undone, the command
  exits with 1, and running again goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class PairloomError(Exception):
    """The root of all errors that Pairloom raises on purpose, apart from `Reject`."""


class UsageError(PairloomError):
    """A path, option or combination that can't work; the message says what to do instead."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a recipe: `place` is a path such as `steps[2].letterbox.size`, with its line when known."""

    place: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}, {self.place}" if self.line else self.place
        return f"{where}: {self.message}"


class RecipeError(PairloomError):
    """A recipe that can't run. `problems` names every fault at once, each with its place."""

    def __init__(self, problems: Sequence[Problem], name: str = "recipe") -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"{name} has {count}:\n{lines}")


class RunError(PairloomError):
    """The run could not finish; what was committed stays, and running again goes on from there."""


class Unfit(RunError):
    """This machine, or the limits given, can't do any shard of the run."""


class TooManyRejects(RunError):
    """More pairs failed than `max_reject` allows."""


class Interrupted(PairloomError):
    """Ctrl-C, stopped at a safe point; running again goes on from there."""


class Reject(Exception):
    """One pair can't be used: `code` is a short stable snake_case word, `message` says what was found.

    Raised by the author of a step (or of a reader) for one value, caught by the line, written to `rejects/`.
    """

    def __init__(self, code: str, message: str = "") -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}" if message else code)

    def bare(self) -> Reject:
        """The same without its traceback, which holds all that the raising functions held, such as the bytes of a large file."""
        return type(self)(self.code, self.message)

    def __reduce__(self) -> tuple[type[Reject], tuple[str, str]]:
        return type(self), (self.code, self.message)
