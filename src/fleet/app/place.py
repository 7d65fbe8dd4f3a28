"""A fleet on disk: its root, its state folder, and the runs that its journal tells of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fleet import codec
from fleet.core.evolve import evolve
from fleet.core.state import Standing
from fleet.errors import Ambiguous, FleetError, NotFound, Rejected
from fleet.views.tasks import tasks_of

if TYPE_CHECKING:
    from fleet.adapters.journal import Reader
    from fleet.core.state import State
    from fleet.files.load import Fleet

PLAN_RUN = "plan"
"""The run of the fleet's own plan."""


@dataclass(frozen=True)
class FleetPlace:
    """Where a fleet lives; opening one reads nothing yet."""

    root: Path

    @property
    def state(self) -> Path:
        """The state folder, `.fleet`."""
        return self.root / ".fleet"

    @property
    def socket(self) -> str:
        """The name of the fleet's private tmux server."""
        import hashlib  # it loads OpenSSL, and a status needs no socket

        return f"fleet-{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]}"

    @cached_property
    def documents(self) -> Fleet:
        """The checked documents; raises InvalidPlan with every problem."""
        from fleet.files.load import load

        require_documents()
        return load(self.root)

    def followed(
        self, state: State | None, stead: Mapping[str, bytes | None] | None = None
    ) -> Fleet:
        """The documents as a run follows them: with the changes that it has taken up, and with what
        `stead` has of a file in its place; raises InvalidPlan, naming the change with which they do
        not hold.
        """
        from fleet.files.kept import changes_of

        changes = changes_of(state)
        if not (changes or stead):
            return self.documents
        from fleet.files.load import load

        require_documents()
        return load(self.root, changes=changes, stead=stead)

    def reader(self) -> Reader | None:
        """Returns a reader of the journal, or None when no run was ever started."""
        from fleet.adapters.journal import Reader

        return Reader(self.state) if (self.state / "journal.db").exists() else None

    def run_state(self, run: str = PLAN_RUN) -> State | None:
        """Returns a run as the journal tells it, or None when it was never started."""
        reader = self.reader()
        if reader is None:
            return None
        with closing(reader):
            return fold(reader, run)


def require_documents() -> None:
    """Raises Rejected in an agent's sandbox: what is seen there of the documents is not all."""
    if "FLEET_SANDBOX" in os.environ:
        raise Rejected("the fleet's documents are not read inside a sandbox")


def fold(reader: Reader, run: str) -> State | None:
    """Returns a run's state from its snapshot and the events after it."""
    snapshot = reader.snapshot(run)
    state = codec.load_state(snapshot[1]) if snapshot else None
    for row in reader.events(run, after=snapshot[0] if snapshot else 0):
        state = evolve(state, codec.loads_event(row.body))
        state.agenda.clear()
    return state


def find_place(
    explicit: Path | None = None,
    environ: Mapping[str, str] | None = None,
    start: Path | None = None,
) -> FleetPlace:
    """Returns the fleet that `-C`, FLEET_ROOT or the current folder means; raises NotFound, and
    FleetError when there is no current folder any more.
    """
    environ = os.environ if environ is None else environ
    try:
        here = start or Path.cwd()
    except FileNotFoundError:
        raise FleetError("the current folder was removed", hint="cd to one that is there") from None
    named = environ.get("FLEET_ROOT") if explicit is None else explicit
    near = (here / named if named else here).resolve()
    # The usual answer, without what it takes to find any other.
    if (near / "coordination.md").is_file() and (named or (near / ".git").is_dir()):
        return FleetPlace(near)
    from fleet.files.roots import find_root

    return FleetPlace(find_root(here, explicit, environ))


def resolve_task(place: FleetPlace, name: str, state: State | None, *, ready: bool = False) -> str:
    """Returns the task that an id means: a task, an agent's next task, or a unique prefix of one.

    An exact match beats a prefix and a task beats an agent; with `ready` an agent's next task is
    the first that waits to be launched. Raises NotFound, naming what is close, and
    Ambiguous.
    """
    tasks = task_facts(state) if state else _documented(place)
    agents: dict[str, list[str]] = {}
    for task, facts in tasks.items():
        agents.setdefault(str(facts["agent"]), []).append(task)
    for names in (tasks, agents):
        if name in names:
            return name if names is tasks else next_of(agents[name], state, ready=ready)
    for names in (tasks, agents):
        found = [one for one in names if one.startswith(name)]
        if len(found) == 1:
            told = agents.get(found[0], [])
            return found[0] if names is tasks else next_of(told, state, ready=ready)
        if found:
            raise Ambiguous("task" if names is tasks else "agent", name, found)
    raise NotFound("task or agent", name, [*tasks, *agents])


def _documented(place: FleetPlace) -> dict[str, Mapping[str, object]]:
    return {name: {"agent": task.agent} for name, task in place.documents.tasks.items()}


def task_facts(state: State) -> dict[str, Mapping[str, object]]:
    """Returns what the plan says of each task: its join's params, by task id, in plan order."""
    return {
        name: one.step.params["task"]  # type: ignore[misc]
        for name, one in state.steps.items()
        if "task" in one.step.params and one.step.kind == "join"
    }


def next_of(tasks: list[str], state: State | None, *, ready: bool = False) -> str:
    """Returns the first of an agent's tasks that has not ended, else its first.

    With `ready` those come before others whose needs are met and that nobody has launched.
    """
    if state is None:
        return tasks[0]
    steps = tasks_of(state)
    left = [name for name in tasks if not steps[name].join.settled] or tasks
    if ready:
        for name in left:
            first = steps[name].worktree
            if first is not None and first.standing is Standing.READY and not first.may_start:
                return name
    return left[0]
