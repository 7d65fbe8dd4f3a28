"""A profile: an agent program as data. What is printed of it drives the program, in every way.

    program, words, env, files      what is started; texts in which `{name}` stands for what is
                                    known then (see `filling`)
    headless, interactive           the argv of each mode, begun and gone on with
    permissions                     each permission that it keeps to -> what it fills
    hooks, reads                    the harness whose code hands hooks over, or understands what
                                    the program puts out; `reads` may be data, too (see `reading`)

A harness that has a profile keeps as code only what no data could say: `outcome`, which reads, and
`hook_up`, which hands over. A profile that people write names them, and is driven by the same code.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.harnesses import (
    HARNESSES,
    AgentFacts,
    Found,
    Preparation,
    Report,
    exit_report,
    find_program,
    on_path,
)

Fill = str | Sequence[str]
"""What stands for a placeholder: one text, or as many words as there are."""

Fills = Mapping[str, Fill]
Where = Mapping[str, str | int | float | bool]
"""Values by dotted key: an event that has them all is meant."""

PERMISSION: Final = "permission"
"""The placeholder that a permission fills whose value is a bare text."""

EXIT: Final = "exit"
"""What is read where a program says nothing: its exit code."""

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What the program is asked for its version, and with which one the profile was tried: that one
    or later, or `FIRST - LAST`.
    """

    asked: Sequence[str] = ("--version",)
    tested: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How the program is started in one mode: its arguments, begun and gone on with, what is on its
    standard input, and what is this mode's alone; `events` are those that it is hooked for, with
    placeholders.
    """

    start: Sequence[str]
    resume: Sequence[str] = ()
    stdin: str = ""
    permissions: Mapping[str, Fills] = field(default_factory=dict)
    sandboxed: Mapping[str, Fills] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    events: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A placeholder that is filled only where there is no file at `path`."""

    path: str
    fill: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """A value of an event: at `key`, in events that have `where`."""

    key: str
    where: Where = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an event tells of usage: name -> key; the last such event counts, or all are added."""

    keys: Mapping[str, str]
    where: Where = field(default_factory=dict)
    add: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How JSON lines on standard output are understood; without `done` the exit code tells success.

    `limited` are expressions of a used-up account, `resets` of the time when it opens again, in a
    group `wait`, `epoch` or `at`.
    """

    done: Where = field(default_factory=dict)
    session: Find | None = None
    output: Find | None = None
    error: Find | None = None
    status: Find | None = None
    usage: Usage | None = None
    limited: Sequence[str] = ()
    resets: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """An agent program; `account` is whose limits it shares, `measures` what it tells of usage,
    `sandboxed` what permissions fill otherwise where fleet shuts the agent in, `unasked` the tools
    and commands that it tells its hook of, but allows by its own rules.
    """

    name: str = ""
    program: str
    install: str = ""
    version: Version | None = None
    account: str = ""
    words: Sequence[str] = ()
    headless: Mode | None = None
    interactive: Mode | None = None
    permissions: Mapping[str, Fills] = field(default_factory=dict)
    sandboxed: Mapping[str, Fills] = field(default_factory=dict)
    absent: Mapping[str, Absent] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    hooks: str = ""
    unasked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reads: str | Reading = EXIT
    measures: Sequence[str] = ()

    def mode(self, name: str) -> Mode | None:
        """Returns how it is started in a mode; None where it has no such mode."""
        return self.interactive if name == "interactive" else self.headless

    def permitted(self, name: str) -> Mapping[str, Fills]:
        """Returns the permissions that it keeps to in a mode, with what they fill."""
        mode = self.mode(name)
        return {**self.permissions, **(mode.permissions if mode else {})}

    def fills(self, name: str, permission: str, *, sandboxed: bool) -> Fills:
        """Returns what a permission that it keeps to fills in a mode."""
        found = self.permitted(name)[permission]
        mode = self.mode(name)
        if not sandboxed or mode is None:
            return found
        inside = {**self.sandboxed, **mode.sandboxed}
        return {**found, **inside.get(permission, {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the code that hands hooks over may know: the `events` that a session is hooked for, its
    agent, the attempt's folder, and the `words` that its program is given.
    """

    events: Sequence[str]
    agent: AgentFacts
    folder: Path
    words: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HookUp:
    """How hooks are handed over: what `{hooks}` stands for, variables that come before the agent's
    own, files, links, and what the session asks of its hook besides.
    """

    fill: Fill = ""
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    links: Mapping[Path, Path] = field(default_factory=dict)
    wishes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Profiled:
    """The harness of a profile."""

    name: str
    profile: Profile

    def prepare(
        self, agent: AgentFacts, brief: Path, folder: Path, worktree: Path, resume: str | None
    ) -> Preparation:
        """Returns how the agent is started; raises Rejected for a mode or permissions that the
        program does not have.
        """
        from fleet.harnesses.profile.filling import prepare

        return prepare(
            self.name,
            self.profile,
            agent,
            brief=brief,
            folder=folder,
            worktree=worktree,
            resume=resume,
        )

    def outcome(self, ended: ExitRecord | None, folder: AttemptFolder) -> Report:
        """Returns what its end means."""
        reads = self.profile.reads
        if isinstance(reads, Reading):
            from fleet.harnesses.profile.reading import outcome

            return outcome(self.profile, ended, folder)
        if reads == EXIT:
            return exit_report(ended, folder)
        found: Report = code_of(reads).outcome(ended, folder)
        return found

    def check(self, environ: Mapping[str, str]) -> Found | str:
        """Returns the program and its version, or the problem with its cure."""
        told = self.profile
        cure = told.install or f"install {told.program}"
        if told.version is None:
            return on_path(told.program, environ, cure)
        return find_program(told.program, environ, cure, told.version.asked)

    def __getattr__(self, name: str) -> Any:
        """Returns what else the code offers whose output the program speaks."""
        reads = self.profile.reads
        if isinstance(reads, Reading) and reads.usage is not None and name == "meter":
            from fleet.harnesses.profile.reading import meter

            return partial(meter, reads.usage)
        if name.startswith("_") or isinstance(reads, Reading) or reads == EXIT:
            raise AttributeError(name)
        return getattr(code_of(reads), name)


def code_of(name: str) -> ModuleType:
    """Returns the module of the harness that `reads` or `hooks` name."""
    return importlib.import_module(HARNESSES[name])


# --- as plain values ------------------------------------------------------------------------------


def profile_of(plain: Mapping[str, Any]) -> Profile:
    """Returns the profile that plain values stand for, as `plain` puts them out."""
    told = _frozen(plain)
    for name in ("headless", "interactive"):
        if name in told:
            told[name] = _made(Mode, told[name])
    if "version" in told:
        told["version"] = _made(Version, told["version"])
    if "absent" in told:
        told["absent"] = {name: Absent(**one) for name, one in told["absent"].items()}
    if isinstance(told.get("reads"), Mapping):
        told["reads"] = _reading(told["reads"])
    return _made(Profile, told)


def _reading(told: Mapping[str, Any]) -> Reading:
    found = dict(told)
    for name in ("session", "output", "error", "status"):
        if name in found:
            at = found[name]
            found[name] = Find(key=at) if isinstance(at, str) else Find(**at)
    if "usage" in found:
        found["usage"] = Usage(**found["usage"])
    return Reading(**found)


def _made(kind: type[Part], told: Mapping[str, Any]) -> Part:
    values = dict(told)
    for name in ("permissions", "sandboxed"):
        if name in values:
            values[name] = _permissions(values[name])
    return kind(**values)


def _permissions(told: Mapping[str, Any] | Sequence[str]) -> dict[str, Fills]:
    if not isinstance(told, Mapping):
        return {name: {} for name in told}
    return {
        name: fills if isinstance(fills, Mapping) else {PERMISSION: fills}
        for name, fills in told.items()
    }


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _frozen(one) for name, one in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def plain(profile: Profile) -> dict[str, Any]:
    """Returns a profile as plain values in the shortest form that a document may have."""
    found: dict[str, Any] = _plain(replace(profile, account=""))
    return {**found, "account": profile.account} if profile.account else found


def _plain(value: Any) -> Any:
    if isinstance(value, Find) and not value.where:
        return value.key
    if is_dataclass(value) and not isinstance(value, type):
        told = {one.name: getattr(value, one.name) for one in fields(value)}
        return {
            name: _shortest(told[name])
            if name in ("permissions", "sandboxed")
            else _plain(told[name])
            for name, one in ((one.name, one) for one in fields(value))
            if told[name] != _default(one)
        }
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _shortest(permissions: Mapping[str, Fills]) -> Any:
    if not any(permissions.values()):
        return list(permissions)
    return {
        name: _plain(fills[PERMISSION]) if set(fills) == {PERMISSION} else _plain(fills)
        for name, fills in permissions.items()
    }


def _default(one: Any) -> Any:
    if one.default_factory is not MISSING:
        return one.default_factory()
    return one.default
