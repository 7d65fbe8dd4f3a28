"""The documents as the rest of fleet sees them: frozen, in one normal form, defaults applied.

Every shorthand that a file may use is gone here: a deliverable is always a `Deliverable`, a time is
in milliseconds, dependencies are a tuple of ids. Standard library only; `normal` makes these values
from the normal forms that the cache keeps. What a key means is said in the contract; the comments
here say only what its name and type do not.
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
    """What must be left committed: one of path (or glob), tag, branch_merged and command is set."""

    path: str | None = None
    count: int | None = None  # at least so many files match
    contains: tuple[str, ...] = ()
    min_bytes: int | None = None
    schema: str | Mapping[str, Json] | None = None  # a path in the worktree, or the schema itself
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
    group: str = ""  # of a checklist
    # The command measures: the last number that it prints is held against a target.
    op: Literal["<", "<=", ">", ">=", "=="] = "=="
    target: float | None = None
    unit: str = ""

    @property
    def text(self) -> str:
        """One short line for a person."""
        if self.agent or self.name:
            return self.name or f"judged by {self.agent}"
        bound = "" if self.target is None else f" {self.op} {self.target:g} {self.unit}"
        return f"{command_text(self.command)}{bound}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure that is watched: where it began, what it should become, what measures it."""

    name: str
    baseline: float | None = None  # None: unknown
    op: Literal["<", "<=", ">", ">=", "=="] = "=="
    target: float | None = None
    unit: str = ""
    measure: Command | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """What may go wrong, and what is done about it."""

    text: str
    mitigation: str = ""
    likelihood: str = ""
    impact: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided, and why."""

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
class Evidence:
    """What a task shows: a committed file (or glob), a command that passes, or, with neither, what
    is stated for people to believe.
    """

    text: str
    path: str | None = None
    command: Command | None = None
    count: int | None = None
    contains: tuple[str, ...] = ()
    min_bytes: int | None = None
    schema: str | Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A proof of concept: who or what shows it, what it must leave, what decides."""

    agent: str | None = None
    command: Command | None = None
    evidence: tuple[Evidence, ...] = ()
    success: Check | None = None
    attempts: int = 1  # at what decides
    needs: tuple[str, ...] = ()
    phase: str = ""
    days: Estimate | None = None
    name: str = ""
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """What is taken for granted until it is proved."""

    text: str
    proof: Proof | None = None
    on_failure: tuple[Rung, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLimits:
    """What one attempt of an agent may take."""

    timeout_ms: int | None = None
    idle_ms: int | None = None
    attempts: int | None = None
    tokens: int | None = None
    usd: float | None = None
    sessions: int | None = None
    launches_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLimits:
    """What all agents of an account may take together."""

    tokens: int | None = None
    usd: float | None = None
    sessions: int | None = None
    launches_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """What an agent's session is shut into, and what it still reaches."""

    kind: Literal["none", "bwrap"] = "none"
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    copy: tuple[str, ...] = ()  # below the home folder
    network: Literal["none", "loopback", "full"] | tuple[str, ...] = "none"
    memory_bytes: int | None = None  # of each process
    processes: int | None = None  # threads are counted as well


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What patterns allow and deny, the fleet's first, and how long a question about it waits."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    expires_ms: int | None = None  # None: an hour


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessDocument:
    """A program that people have described: one file of harnesses/; `profile` is its normal form.

    `account` is whose limits its sessions share, `measures` what it tells of usage.
    """

    id: str
    program: str
    account: str
    measures: tuple[str, ...] = ()
    profile: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDocument:
    """Who works: one file of agents/, defaults applied."""

    id: str
    name: str = ""
    roles: tuple[str, ...] = ()
    harness: Command = "claude"
    profile: HarnessDocument | None = None  # of a harness that is a document
    account: str | None = None  # None: its program's
    model: str | None = None
    mode: Literal["headless", "interactive"] | None = None  # None: the harness's own
    args: Command = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    permissions: Literal["ask", "edits", "auto", "plan", "deny", "yolo"] | None = None
    policy: Policy = Policy()  # written under `permissions`, beside its mode
    limits: AgentLimits = AgentLimits()
    sandbox: Sandbox = Sandbox()
    owns: tuple[str, ...] = ()
    prompt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where a run is looked at: what must be verified, what is asked of it, who signs, and which
    tasks wait for that.
    """

    id: str
    name: str = ""
    needs: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    approve: bool | tuple[str, ...] = False
    setup: tuple[Command, ...] | None = None  # None: as every task that says nothing
    copy: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proves:
    """What a proof of concept is about: the task that takes something for granted, and what."""

    task: str
    assumption: Assumption


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDocument:
    """What is to be done: one file of tasks/, defaults applied; or what a checkpoint or a proof
    comes to.
    """

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
    evidence: tuple[Evidence, ...] = ()
    approved_by: tuple[str, ...] = ()
    risks: tuple[Risk, ...] = ()
    decisions: tuple[Decision, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    setup: tuple[Command, ...] = ()
    teardown: tuple[Command, ...] = ()
    copy: tuple[str, ...] = ()
    body: str = ""
    # Of tasks that stand in no file of their own, and of those that wait for them.
    checkpoint: Checkpoint | None = None
    proves: Proves | None = None
    behind: tuple[str, ...] = ()  # waited for, but no commits of theirs come in

    @property
    def kind(self) -> str:
        """What people call it: `task`, `proof` or `checkpoint`."""
        if self.checkpoint is not None:
            return "checkpoint"
        return "task" if self.proves is None else "proof"

    @property
    def waits_for(self) -> tuple[str, ...]:
        """All tasks that it names to wait for, each once."""
        return tuple(dict.fromkeys((*self.dependencies, *self.verifies, *self.behind)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Tasks that pass one gate together, and how they land."""

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
    """The front matter of coordination.md without its phases and defaults, and its body."""

    fleet: str = ""
    base: str = ""
    start: str | None = None
    calendar: Calendar = Calendar()
    worktrees: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    accounts: Mapping[str, AccountLimits] = field(default_factory=dict)
    ports: tuple[int, int] = (8000, 8999)
    metrics: tuple[Metric, ...] = ()
    risks: tuple[Risk, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    rules: str = ""  # the body: what every agent is told
    # Normal form of what sections 5 to 7 of the contract fix; plain JSON values.
    escalations: tuple[Mapping[str, Json], ...] = ()
    loops: Mapping[str, Json] = field(default_factory=dict)
    patches: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    envelope: Mapping[str, Json] = field(default_factory=dict)
    mcp_servers: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)
    notify: tuple[Mapping[str, Json], ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)


def command_text(command: Command | None) -> str:
    """Returns a command as one line for a person; never to be run."""
    return command if isinstance(command, str) else " ".join(command or ())
