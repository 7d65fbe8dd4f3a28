"""Step kinds: what a step does. A module is a kind; this table names them; they do not know each
other.

A kind's module has `async def run(work: Work) -> Outcome`, or `def settle(work: Work) -> Outcome`
when it neither waits nor touches the world: that is called inside the coordinator's turn, before
what started the attempt is committed, and shares the commit; where it returns None, `run` does the
work. Both are called again for the same (run, step, attempt) after any crash; `run` is
adopt-or-start: it looks first (claim, exit record, worktree, refs) and only does what is not done.
The world's failures are Outcomes; an exception that escapes is a bug and ends the attempt as an
infra failure.

Adding a kind: `kinds/<name>.py`, a line here, its test, its row in the reference.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fleet.adapters.layout import attempt_path
from fleet.errors import NotFound, Rejected
from fleet.files.changes.rework import STEMS, Course

if TYPE_CHECKING:
    from fleet.adapters.attempts import ExitRecord, Launch
    from fleet.adapters.git import Repository, Request, StartConflict, Worktree
    from fleet.adapters.mcp_client import Servers
    from fleet.adapters.tmux import Tmux
    from fleet.core.messages import Command
    from fleet.core.plan import Patch, Plan, Step
    from fleet.core.state import Answered, OpenQuestion, StepState
    from fleet.errors import FleetError

KINDS: dict[str, str] = {
    "worktree": "fleet.kinds.worktree",
    "agent": "fleet.kinds.agent",
    "check": "fleet.kinds.check",
    "gate": "fleet.kinds.gate",
    "merge": "fleet.kinds.merge",
    "undo": "fleet.kinds.undo",
    "call": "fleet.kinds.call",
    "set": "fleet.kinds.set",
    "subplan": "fleet.kinds.subplan",
    "evaluate": "fleet.kinds.evaluate",
    "choose": "fleet.kinds.choose",
    "map": "fleet.kinds.map",
    "ask": "fleet.kinds.ask",
    "brief": "fleet.kinds.brief",
    "shell": "fleet.kinds.shell",
    "tool": "fleet.kinds.tool",
    "verify": "fleet.kinds.verify",
    "consult": "fleet.kinds.consult",
    "inquiry": "fleet.kinds.inquiry",
    "answer": "fleet.kinds.answer",
    "adapt": "fleet.kinds.adapt",
}
"""Kind -> the module that is it; nothing is imported until it is used."""

Result = TypeVar("Result")

FOUND_REMEMBERED: Final = 10_000


def load_kind(name: str) -> ModuleType:
    """Returns the module of a kind, from the table or from an entry point `fleet.kinds`; else
    NotFound.
    """
    if name in KINDS:
        return import_module(KINDS[name])
    from importlib.metadata import entry_points

    for entry in entry_points(group="fleet.kinds"):
        if entry.name == name:
            found: ModuleType = entry.load()
            return found
    raise NotFound("kind", name, sorted(KINDS))


@dataclass(frozen=True, slots=True)
class Changed:
    """A change of the plan, worked out: the change, why a person must approve it, and its patch.

    `taken` says that the run has taken it up before; then there is no patch.
    """

    change: Mapping[str, Any]
    against: Sequence[str] = ()
    patch: Patch | None = None
    taken: bool = False


async def _unchanged(run: str, _change: str | Mapping[str, Any]) -> Changed:
    raise Rejected(f"nobody changes the plan of {run} here")


@dataclass(slots=True)
class World:
    """What the attempts of one coordinator share: repository, tmux, state folder, log."""

    root: Path
    state: Path
    repository: Repository
    tmux: Tmux
    launch: Callable[[Launch], Awaitable[str | None]]
    """Starts a session, together with others that ask at the same time; a text says why it failed.
    """
    wait_for_exit: Callable[[Launch], Awaitable[ExitRecord | None]]
    """Returns the attempt's exit record; None when its claim holder is gone and left none (lost).
    """
    resolve: Callable[[str], Awaitable[str | None]]
    """Returns the commit that a name means now; those that ask at once share one look."""
    make_worktree: Callable[[Request], Awaitable[Worktree | StartConflict | FleetError]]
    """Makes or adopts a worktree, together with others that are asked for at the same time."""
    in_thread: Callable[..., Awaitable[Any]]
    """Calls a blocking function in a bounded pool of threads."""
    soon: Callable[..., Awaitable[Any]]
    """Calls one that takes a moment, without waiting for those that wait for programs."""
    log: Callable[..., None]
    left_running: Callable[[Path], Awaitable[bool]]
    """Returns whether a process of an ended attempt, named by its folder, still lives."""
    watching: Callable[[Path], AbstractContextManager[Callable[[], Awaitable[None]]]]
    """Yields what returns once a folder's entries may be others than when it last returned."""
    judge: Callable[[Work, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
    """Returns what the check of an agent's step finds now in its worktree (`place`), as the kind
    `check` puts it out, and `against`: the reasons why it is red."""
    run_child: Callable[[str, Plan, tuple[str, str, int]], Awaitable[str]]
    """Starts a run that answers to a step, or finds it again; returns how it ended."""
    cancel_run: Callable[[str], None]
    servers: Servers
    """MCP servers, each with one connection that all share; closed by whoever made the world."""
    change: Callable[[str, str | Mapping[str, Any]], Awaitable[Changed]] = _unchanged
    """Returns what a change of the plan, or a named one, means for a run as it stands now."""
    thread: Callable[[str, str], Mapping[str, Any]] = lambda _thread, _run: {}
    """Returns what the runs of a thread that began before a run have put out: step -> output."""
    endings: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    """By worktree: the ending of what an attempt left running there; the next one waits for it."""
    answers: dict[tuple[str, ...], tuple[float, asyncio.Future[str]]] = field(default_factory=dict)
    """What programs said last when they were asked of their sessions, and when they were asked."""
    found: dict[str, dict[tuple[str, str, str], str | None]] = field(default_factory=dict)
    """By run: what was found behind its steps (`views.flows.Found`)."""

    def found_in(self, run: str) -> dict[tuple[str, str, str], str | None]:
        """Returns what was found in a run, to be added to; of a very long one not all is kept."""
        found = self.found.setdefault(run, {})
        if len(found) > FOUND_REMEMBERED:
            found.clear()
        return found


@dataclass(slots=True)
class Work:
    """All that a kind may use while it runs one attempt."""

    run: str
    step: Step
    attempt: int
    inputs: Mapping[str, Mapping[str, Any]]
    """What the step's needs put out: id -> {standing, output, label, text, attempt, tries,
    evidence}.
    """
    answers: Sequence[Answered]
    """Answers to questions that this step asked in earlier attempts, oldest first."""
    facts: Mapping[str, Any]
    """What earlier progress reports of this step left."""
    siblings: Mapping[str, Step]
    """The steps of the same composite (same `whole`), as they stand in the plan now."""
    now_ms: int
    world: World
    report: Callable[[Mapping[str, object]], None]
    """Reports progress: facts about this step, journaled and merged over the earlier ones."""
    tell: Callable[[Command], None] = lambda _command: None
    """Tells the run something else than progress: a question that a person must answer."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the attempt is to end now; `run` then ends what it started and returns STOPPED."""
    allowed: Sequence[str] = ()
    """Patterns that a person has allowed this step's agent for the rest of the run."""
    plan_step: Callable[[str], Step | None] = lambda _name: None
    """Looks up any step of the plan as it stands now, also of another composite; None for none."""
    look: Callable[[str], StepState | None] = lambda _name: None
    """Looks up how any step of the run stands now, to be read only; None for none."""
    behind: Callable[[str], Sequence[str]] = lambda _name: ()
    """Returns the steps that need a step now."""
    asked: Callable[[str], OpenQuestion | None] = lambda _name: None
    """Looks up a question of the run that is open now; None for none."""
    decided: Callable[[], Sequence[Answered]] = lambda: ()
    """Returns all answers of the run so far, oldest first."""
    _folder: Path | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def params(self) -> Mapping[str, Any]:
        """The step's params, as its document was lowered."""
        return self.step.params

    @property
    def task(self) -> str:
        """What the step works at, as its agent is told: the task, else the composite."""
        return str(self.params.get("task") or self.step.whole)

    @property
    def key(self) -> str:
        """run/step/attempt, the name of this attempt in the world."""
        return f"{self.run}/{self.step.id}/{self.attempt}"

    @property
    def worktree(self) -> Mapping[str, Any] | None:
        """The task's worktree {path, branch, start, admin, port}, as a step before hands it on."""
        for one in self.inputs.values():
            for told in (one.get("output"), one.get("evidence")):
                if isinstance(told, Mapping):
                    place = told if "admin" in told else told.get("worktree")
                    if isinstance(place, Mapping) and "admin" in place:
                        return place
        return None

    def rounds(self, task: str) -> dict[str, Step]:
        """Returns the steps of all rounds of a task, wherever they hang in the plan."""
        found = {
            n: s for n, s in {**self.siblings, self.step.id: self.step}.items() if s.whole == task
        }
        for number in itertools.count(1):
            suffix = "" if number == 1 else f".{number}"
            steps = [self.plan_step(f"{task}/{stem}{suffix}") for stem in STEMS]
            found |= {step.id: step for step in steps if step is not None}
            if not any(steps):
                break
        return found

    def verified(self, task: str) -> tuple[str, Mapping[str, Any]]:
        """Returns the latest green check of a task among what this step needs, and what it and its
        attempt left; the task's join, with an empty name, where no check is among that.
        """
        checks = [
            (int(step.rpartition(".")[2]) if step[-1].isdigit() else 1, step)
            for step, one in self.inputs.items()
            if re.fullmatch(re.escape(task) + r"/check(\.\d+)?", step)
            and one.get("standing") == "succeeded"
        ]
        check = max(checks)[1] if checks else ""
        return check, self.inputs.get(check) or self.inputs.get(task) or {}

    @property
    def course(self) -> Course:
        """The run as it stands, as rework asks for it."""
        return Course(self.look, self.behind)

    def environment(
        self,
        *,
        task: str,
        branch: str,
        worktree: str,
        port: int | None = None,
        search: str | None = None,
    ) -> dict[str, str]:
        """Returns what every program of a task finds in its environment; `search` is its PATH."""
        root = self.world.root
        ceilings = dict.fromkeys(str(Path(p).parent) for p in (root, worktree))
        told = {
            "FLEET_ROOT": str(root),
            "FLEET_RUN": self.run,
            "FLEET_TASK": task,
            "FLEET_BRANCH": branch,
            "FLEET_WORKTREE": worktree,
            "GIT_CEILING_DIRECTORIES": ":".join(ceilings),
            "PATH": f"{self.world.state / 'bin'}:{search or os.environ.get('PATH', os.defpath)}",
        }
        return told | ({"FLEET_PORT": str(port), "PORT": str(port)} if port else {})

    @property
    def folder(self) -> Path:
        """The attempt's own folder; made by whoever first writes into it."""
        if self._folder is None:
            self._folder = attempt_path(self.world.state, self.run, self.step.id, self.attempt)
        return self._folder
