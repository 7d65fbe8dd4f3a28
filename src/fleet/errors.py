"""What can go wrong, as a person will read it.

    FleetError                      one sentence to the user
    |- InvalidPlan(problems)        all of them, with file:line:column and a hint
    |- Rejected                     the command has no place in this state
    |- NotFound                     no such run, task, agent, kind (did you mean ...)
    `- ToolFailed(argv, code, err)  git, tmux, a process: the evidence, not prose

A failing agent, a red check, a conflict or a time-out is no exception: it is an Outcome. A broken
invariant is an AssertionError, and a bug. This module imports nothing of fleet, so every layer may
raise these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LISTED = 8
"""So many names at most are listed where none is close."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file something stands; line and column count from 1, 0 is the file as a whole."""

    path: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}" if self.line else self.path


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding about the documents: a sentence, where it stands, how to mend it."""

    text: str
    place: Place | None = None
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.text}{hint}"


class FleetError(Exception):
    """The root of everything that is told to a person as one sentence; `hint` says how to go on."""

    exit_code = 1

    def __init__(self, text: str, *, hint: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint


class InvalidPlan(FleetError):
    """The documents or a patch do not hold; carries every problem, not the first."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Rejected(FleetError):
    """A command that has no place in the present state; nothing was changed."""


class NotFound(FleetError):
    """A name that nothing bears; `choices` are the names that exist."""

    def __init__(self, what: str, name: str, choices: Sequence[str] = ()) -> None:
        self.what, self.name, self.choices = what, name, tuple(choices)
        super().__init__(
            f"no {what} {name!r}", hint=did_you_mean(name, choices) or _listed(choices)
        )


class Ambiguous(NotFound):
    """The beginning of several names, `choices`, where one is to be meant."""

    def __init__(self, what: str, name: str, choices: Sequence[str]) -> None:
        super().__init__(what, name, choices)
        self.text = f"{name!r} may be several {what}s"
        self.args, self.hint = (self.text,), f"one of: {', '.join(choices)}"


class ToolFailed(FleetError):
    """An outside program failed: its argv, exit code (None when it was killed on time-out) and what
    it said.
    """

    def __init__(
        self, argv: Sequence[str], code: int | None, stderr: str, *, hint: str = ""
    ) -> None:
        self.argv, self.code, self.stderr = tuple(argv), code, stderr
        said = stderr.strip().splitlines()
        ending = "timed out" if code is None else f"exited with {code}"
        super().__init__(
            f"{' '.join(self.argv[:4])} {ending}: {said[-1] if said else 'no output'}", hint=hint
        )


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Returns `did you mean 'x'?` for the closest of `choices`, else an empty text."""
    from difflib import get_close_matches  # a start that errs nowhere does without

    close = get_close_matches(name, list(choices), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def _listed(choices: Sequence[str]) -> str:
    """Returns the first of the names that there are, for who has guessed wide of all of them."""
    if not choices:
        return "there is none yet"
    more = ", ..." if len(choices) > LISTED else ""
    return f"there are: {', '.join(choices[:LISTED])}{more}"
