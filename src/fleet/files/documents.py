"""The documents as the rest of fleet sees them: frozen, in one normal form, defaults applied.

Every shorthand that a file may use is gone here: a deliverable is always a `Deliverable`, a time is
in milliseconds, dependencies are a tuple of ids. Standard library only, because the cache rebuilds
these values from JSON (`*_of`) without the forms. What a key means is said in the contract; the
comments here say only what its name and type do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Command = str | tuple[str, ...]
"""A text for `sh -c`, or an argv."""

Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Working days; `window` is (first, last) day, both included, when the file named days."""

    likely: float
    low: float | None = None
    high: float | None = None
    window: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverable:
    """What must be left committed; exactly one of path (or glob), tag, branch_merged, command is set."""

    path: str | None = None
    count: int | None = None  # at least so many files match
    contains: tuple[str, ...] = ()
    min_bytes: int | None = None
    schema: str | Mapping[str, Json] | None = (
        None  # a path in the worktree, or the JSON Schema itself
    )
    fresh: bool = True  # new or changed since the branch point
    tag: str | None = None
    branch_merged: tuple[str, ...] = ()
    command: Command | None = None

    @property
    def text(self) -> str:
        """One short line for a person."""
        if self.path is not None:
            return f"{self.path} (at least {self.count})" if self.count else self.path
        if self.tag is not None:
            return f"tag {self.tag}"
        if self.branch_merged:
            return f"merged: {', '.join(self.branch_merged)}"
        return command_text(self.command or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A command, or an agent that judges; exactly one of `command` and `agent` is set."""

    command: Command | None = None
    agent: str | None = None
    verdict: str | Mapping[str, Json] | None = None  # what the judge's answer must look like
    instructions: str = ""
    name: str = ""
    timeout_ms: int | None = None

    @property
    def text(self) -> str:
        """One short line for a person."""
        return self.name or (
            f"judged by {self.agent}" if self.agent else command_text(self.command)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    name: str
    baseline: float | None = None  # None: unknown
    op: Literal["<", "<=", ">", ">=", "=="] = "=="
    target: float | None = None
    unit: str = ""
    measure: Command | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    text: str
    mitigation: str = ""
    likelihood: str = ""
    impact: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    text: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What follows a failure: exactly one of the fields before `question` is set."""

    agent: str | None = None
    model: str | None = None
    adapt: str | None = None  # the name of a patch
    escalate: str | None = None  # a role
    ask: str | None = None  # a person
    fail: bool = False
    question: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A proof of concept: who or what shows it, what it must leave, what decides."""

    agent: str | None = None
    command: Command | None = None
    evidence: tuple[str, ...] = ()
    success: Command | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    text: str
    proof: Proof | None = None
    on_failure: tuple[Rung, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLimits:
    timeout_ms: int | None = None
    idle_ms: int | None = None
    attempts: int | None = None
    tokens: int | None = None
    usd: float | None = None
    launches_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    kind: Literal["none", "bwrap"] = "none"
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    network: bool | tuple[str, ...] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDocument:
    id: str
    name: str = ""
    roles: tuple[str, ...] = ()
    harness: Command = "claude"
    model: str | None = None
    mode: Literal["headless", "interactive"] | None = None  # None: the harness's own
    args: Command = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    permissions: Literal["ask", "edits", "auto", "plan", "deny", "yolo"] | None = None
    limits: AgentLimits = AgentLimits()
    sandbox: Sandbox = Sandbox()
    owns: tuple[str, ...] = ()
    prompt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDocument:
    id: str
    name: str = ""
    agent: str = ""
    phase: str = ""
    priority: Literal["critical", "high", "medium", "low"] = "medium"
    worktree: str = ""  # as written; Fleet.worktree gives the folder
    branch: str = ""
    port: int | Literal["auto"] | None = None
    days: Estimate = Estimate(likely=1.0)
    estimated: bool = True  # False: `days` is only the default
    dependencies: tuple[str, ...] = ()
    uses: Mapping[str, int] = field(default_factory=dict)
    deliverables: tuple[Deliverable, ...] = ()
    checks: tuple[Check, ...] = ()
    attempts: int | None = None
    timeout_ms: int | None = None
    idle_ms: int | None = None
    backoff_ms: int | None = None
    on_failure: tuple[Rung, ...] = ()
    verifies: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    evidence: tuple[str, ...] = ()
    approved_by: tuple[str, ...] = ()
    risks: tuple[Risk, ...] = ()
    decisions: tuple[Decision, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    setup: tuple[Command, ...] = ()
    teardown: tuple[Command, ...] = ()
    copy: tuple[str, ...] = ()
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    id: str
    name: str = ""
    tasks: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    approve: bool | tuple[str, ...] = False
    merge: Literal["ask", "auto"] = "ask"
    strategy: Literal["merge", "squash", "rebase"] = "merge"
    land: Literal["local", "pr"] = "local"
    tag: str | None = None
    rollback: tuple[Command, ...] = ()
    implicit: bool = False  # holds the tasks that name no phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Days without work; `country` adds its public holidays."""

    weekend: tuple[str, ...] = ("sat", "sun")
    holidays: tuple[str, ...] = ()
    country: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    fleet: str = ""
    base: str = ""
    start: str | None = None
    calendar: Calendar = Calendar()
    worktrees: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    ports: tuple[int, int] = (8000, 8999)
    metrics: tuple[Metric, ...] = ()
    risks: tuple[Risk, ...] = ()
    rules: str = ""  # the body: what every agent is told
    # Normal form of what sections 5 to 7 of the contract fix; plain JSON values.
    escalations: tuple[Mapping[str, Json], ...] = ()
    loops: Mapping[str, Json] = field(default_factory=dict)
    patches: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    envelope: Mapping[str, Json] = field(default_factory=dict)
    checkpoints: tuple[Mapping[str, Json], ...] = ()
    mcp_servers: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)
    notify: tuple[Mapping[str, Json], ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)


def command_text(command: Command | None) -> str:
    """Returns a command as one line for a person; never to be run."""
    return command if isinstance(command, str) else " ".join(command or ())


def agent_of(plain: Mapping[str, Json]) -> AgentDocument:
    """Returns the agent that a validated, defaulted mapping stands for."""
    values = dict(plain)
    _each(values, _LISTS)
    _nested(values, "limits", AgentLimits)
    _commands(values, ("harness", "args"))
    if "sandbox" in values:
        values["sandbox"] = _sandbox_of(values["sandbox"])
    return AgentDocument(**values)


def task_of(plain: Mapping[str, Json]) -> TaskDocument:
    """Returns the task that a validated, defaulted mapping stands for."""
    values = dict(plain)
    _each(values, _LISTS)
    days = values.get("days")
    if days is not None:
        window = days.get("window")
        values["days"] = Estimate(**{**days, "window": tuple(window) if window else None})
    values["estimated"] = days is not None
    _many(values, "deliverables", _deliverable_of)
    _many(values, "checks", _check_of)
    _many(values, "metrics", _metric_of)
    _many(values, "risks", _risk_of)
    _many(values, "decisions", lambda plain: Decision(**plain))
    _many(values, "assumptions", _assumption_of)
    _many(values, "on_failure", _rung_of)
    for key in ("setup", "teardown"):
        _many(values, key, _command_of)
    return TaskDocument(**values)


def phase_of(plain: Mapping[str, Json]) -> Phase:
    """Returns the phase that a validated mapping stands for."""
    values = dict(plain)
    _each(values, ("tasks",))
    _many(values, "checks", _check_of)
    _many(values, "rollback", _command_of)
    if isinstance(values.get("approve"), list):
        values["approve"] = tuple(values["approve"])
    return Phase(**values)


def settings_of(plain: Mapping[str, Json]) -> Settings:
    """Returns the settings that a validated mapping, without `phases` and `defaults`, stands for."""
    values = dict(plain)
    _each(values, ("ports", "escalations", "checkpoints", "notify"))
    _many(values, "metrics", _metric_of)
    _many(values, "risks", _risk_of)
    if "calendar" in values:
        calendar = dict(values["calendar"])
        _each(calendar, ("weekend", "holidays"))
        values["calendar"] = Calendar(**calendar)
    return Settings(**values)


_LISTS = (
    "roles", "secrets", "owns", "dependencies", "verifies", "evidence", "approved_by", "copy",
)  # fmt: skip


def _each(values: dict[str, Json], keys: tuple[str, ...]) -> None:
    for key in keys:
        if key in values:
            values[key] = tuple(values[key])


def _many(values: dict[str, Json], key: str, build: Any) -> None:
    if key in values:
        values[key] = tuple(map(build, values[key]))


def _nested(values: dict[str, Json], key: str, build: Any) -> None:
    if key in values:
        values[key] = build(**values[key])


def _commands(values: dict[str, Json], keys: tuple[str, ...]) -> None:
    for key in keys:
        if key in values:
            values[key] = _command_of(values[key])


def _command_of(plain: Json) -> Command:
    return tuple(plain) if isinstance(plain, list) else plain


def _deliverable_of(plain: Mapping[str, Json]) -> Deliverable:
    values = dict(plain)
    _each(values, ("contains", "branch_merged"))
    _commands(values, ("command",))
    return Deliverable(**values)


def _check_of(plain: Mapping[str, Json]) -> Check:
    values = dict(plain)
    _commands(values, ("command",))
    return Check(**values)


def _metric_of(plain: Mapping[str, Json]) -> Metric:
    values = dict(plain)
    _commands(values, ("measure",))
    if values.get("target") is not None:
        values["op"], values["target"] = values["target"]
    return Metric(**values)


def _risk_of(plain: Mapping[str, Json]) -> Risk:
    return Risk(**plain)


def _rung_of(plain: Mapping[str, Json]) -> Rung:
    return Rung(**plain)


def _assumption_of(plain: Mapping[str, Json]) -> Assumption:
    values = dict(plain)
    if values.get("proof") is not None:
        proof = dict(values["proof"])
        _each(proof, ("evidence",))
        _commands(proof, ("command", "success"))
        values["proof"] = Proof(**proof)
    _many(values, "on_failure", _rung_of)
    return Assumption(**values)


def _sandbox_of(plain: Mapping[str, Json]) -> Sandbox:
    values = dict(plain)
    _each(values, ("read", "write"))
    if isinstance(values.get("network"), list):
        values["network"] = tuple(values["network"])
    return Sandbox(**values)
