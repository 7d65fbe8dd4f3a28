"""What the world shows around a run right now: heads, changes, ports, processes, the coordinator.

Each look is bounded: one git call for all heads, ahead and behind from a cache by commit, changes
only of worktrees that are in use and not too many. What is not looked at is None.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.core.state import Standing
from fleet.errors import FleetError
from fleet.views.status import Observed, Seen
from fleet.views.tasks import TaskSteps, phases_of, seen_of, state_of, tasks_of

if TYPE_CHECKING:
    from fleet.adapters.attempts import AttemptFolder
    from fleet.adapters.git import Repository
    from fleet.app.place import FleetPlace
    from fleet.core.state import State, StepState

DIRTY_LOOKS = 24
"""Worktrees whose changes are counted in one look; more would make a status slow."""

PAIR_LOOKS = 200
"""Pairs of branches that one look foresees conflicts for; the next goes on where it ended."""


UNSEEN_MS = 20_000
"""How long an attempt may be under way before its process is missed."""


def observe(place: FleetPlace, state: State, now_ms: int, warnings: Sequence[str] = ()) -> Observed:
    """Returns what can be seen of a run's tasks; of an unreadable repository journal facts only."""
    tasks = tasks_of(state)
    begun = {name: task for name, task in tasks.items() if _begun(task)}
    heads: Mapping[str, str] = {}
    counts: Mapping[str, tuple[int, int]] = {}
    dirty: Mapping[str, int] = {}
    clashes: Mapping[tuple[str, str], Sequence[Any]] = {}
    told = list(warnings)
    if begun:
        try:
            repository = _repository(place)
            base = str(state.about.get("base", ""))
            found = repository.heads([*(str(t.facts["branch"]) for t in begun.values()), base])
            heads = {
                name: found[b]
                for name, t in begun.items()
                if (b := str(t.facts["branch"])) in found
            }
            counts = _counts(place, repository, heads, found.get(base))
            dirty = _dirty(state, repository, begun)
            own = {name: head for name, head in heads.items() if counts.get(name, (0, 0))[0]}
            if own:
                clashes = _clashes(place, state, repository, own, found[base])
        except FleetError as failed:
            told.append(failed.text)
    rows = {}
    listening = _listening(begun.values())
    for name, task in begun.items():
        ahead, behind = counts.get(name, (None, None))
        port = _port(task)
        looked = {
            "port_open": None if port is None else port in listening,
            "head": heads.get(name),
            "ahead": ahead,
            "behind": behind,
            "dirty": dirty.get(name),
        }
        rows[name] = _seen(place, state, task, looked, now_ms)
    return Observed(
        tasks=rows, coordinator=coordinator_facts(place), warnings=told, clashes=clashes
    )


def _port(task: TaskSteps) -> int | None:
    output: Any = task.worktree.output if task.worktree else None
    port = (output or {}).get("port")
    return port if isinstance(port, int) else None


def _listening(tasks: Iterable[TaskSteps]) -> frozenset[int]:
    """Returns the ports that something listens on; none where no task has one."""
    if all(_port(task) is None for task in tasks):
        return frozenset()
    from fleet.adapters.ports import listening

    return listening()


def _repository(place: FleetPlace) -> Repository:
    """Returns the repository of a fleet whose agents have begun; a launch has proved it fit."""
    from fleet.adapters.git import Repository

    common = place.root / ".git"
    if (common / "HEAD").is_file() and not common.is_symlink():
        return Repository(place.root, common)
    return Repository.at(place.root)


def coordinator_facts(place: FleetPlace) -> dict[str, Any]:
    """Returns {alive, pid, host} of the coordinator."""
    from fleet.adapters.lease import holder

    found = holder(place.state) if place.state.exists() else None
    if found is None:
        return {"alive": False, "pid": None, "host": None}
    return {"alive": True, "pid": found.pid, "host": found.host}


def _begun(task: TaskSteps) -> bool:
    return task.worktree is not None and task.worktree.attempt > 0


def _counts(
    place: FleetPlace, repository: Repository, heads: Mapping[str, str], base: str | None
) -> dict[str, tuple[int, int]]:
    """Returns (ahead, behind) by task; computed once for a pair of commits and kept."""
    if base is None:
        return {}
    path = place.state / "cache" / "ahead.json"
    kept: dict[str, list[int]] = {}
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_text())
    found: dict[str, tuple[int, int]] = {}
    fresh: dict[str, list[int]] = {}
    for name, head in heads.items():
        key = f"{head} {base}"
        pair = kept.get(key) or list(repository.ahead_behind(head, base))
        fresh[key] = pair
        found[name] = (pair[0], pair[1])
    if fresh != kept:
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = path.with_name(f".ahead.{os.getpid()}")
            draft.write_text(json.dumps(fresh))
            draft.replace(path)
    return found


def _dirty(state: State, repository: Repository, begun: Mapping[str, TaskSteps]) -> dict[str, int]:
    """Returns how many changes are not committed, for worktrees whose task is still under way."""
    phases = phases_of(state)
    wanted: dict[str, Path] = {}
    for name, task in begun.items():
        word = state_of(task, phases.get(str(task.facts.get("phase") or "")), set())
        folder = str(task.facts["worktree"])
        if word not in ("merged", "skipped") and os.path.isdir(folder):  # noqa: PTH112 - often
            wanted[name] = Path(folder)
            if len(wanted) > DIRTY_LOOKS:
                return {}
    if not wanted:
        return {}
    from fleet.adapters.git import dirty, find

    def look(folder: Path) -> int | None:
        try:
            worktree = find(repository, folder)
            return None if worktree is None else len(dirty(worktree))
        except FleetError:
            return None

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        counted = dict(zip(wanted, pool.map(look, wanted.values()), strict=True))
    return {name: count for name, count in counted.items() if count is not None}


def _clashes(
    place: FleetPlace, state: State, repository: Repository, heads: Mapping[str, str], base: str
) -> Mapping[tuple[str, str], Sequence[Any]]:
    """Returns what would conflict among the branches that are handed in and with the base."""
    from fleet.app.conflicts import live_branches
    from fleet.app.foresight import foresee

    live = live_branches(state)
    own = {name: head for name, head in heads.items() if name in live}
    return foresee(place, repository, own, base, most=PAIR_LOOKS).clashes


def _seen(
    place: FleetPlace, state: State, task: TaskSteps, looked: dict[str, Any], now_ms: int
) -> Seen:
    """Returns what was looked up of a task, and beside it its attempt's process."""
    work = task.last_work
    alive, pid, source, turn, doubt = None, None, "journal", "", ""
    policy: Mapping[str, Any] | None = None
    since_ms = work.since_ms if work is not None else 0
    if work is not None and work.standing is Standing.RUNNING:
        folder = _folder(place, state, work)
        alive, pid, source = _process(folder)
        event, policy = _told(folder)
        found: list[Mapping[str, Any]] = [{"source": "hook", **event}, seen_of(work)]
        told = max(found, key=lambda one: int(one.get("at_ms") or 0))
        if told.get("turn") and alive:
            turn, source, since_ms = str(told["turn"]), str(told["source"]), int(told["at_ms"])
        doubt = _doubt(alive, source, turn, now_ms - work.since_ms)
    return Seen(
        **looked,
        pid=pid,
        alive=alive,
        source=source,
        age_s=round(max(0, now_ms - since_ms) / 1000, 1) if since_ms else None,
        turn=turn,
        doubt=doubt,
        policy=policy,
    )


def _doubt(alive: bool | None, source: str, turn: str, running_ms: int) -> str:  # noqa: FBT001
    """Returns why the state of a running attempt may not be believed, nothing when it may."""
    if alive is False:
        return "its process is gone, and it left no exit record"
    if turn == "unknown":
        return "nothing was heard of it since its start"
    if source == "journal" and running_ms > UNSEEN_MS:
        return "it was never seen to start"
    return ""


def gone(place: FleetPlace, state: State) -> list[str]:
    """Returns the tasks whose running attempt has lost its process and left no exit record."""
    works = {name: task.last_work for name, task in tasks_of(state).items()}
    return [
        name
        for name, work in works.items()
        if work is not None
        and work.standing is Standing.RUNNING
        and _process(_folder(place, state, work))[0] is False
    ]


def _folder(place: FleetPlace, state: State, work: StepState) -> AttemptFolder:
    from fleet.adapters.attempts import AttemptFolder
    from fleet.adapters.layout import attempt_path

    return AttemptFolder(attempt_path(place.state, state.run, work.step.id, work.attempt))


def _told(folder: AttemptFolder) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Returns the latest event of an attempt's hooks, {} when none has come, and what patterns
    decided in its session, None when they decided nothing.
    """
    from fleet.adapters.hooks import SESSION, decisions_of, turn_of

    if not os.path.isdir(f"{folder.path}/{SESSION}"):  # noqa: PTH112 - most agents have no hooks
        return {}, None
    return turn_of(folder.path), decisions_of(folder.path) or None


def _process(folder: AttemptFolder) -> tuple[bool | None, int | None, str]:
    """Returns whether the attempt's process lives, its pid, and what says so."""
    from fleet.adapters.lease import start_of

    if folder.exit_record() is not None:
        return None, None, "exit record"
    claim = folder.claim()
    if claim is None:
        return None, None, "journal"
    alive = claim.boot_id == _boot() and start_of(claim.pid) == claim.start_ticks
    return alive, claim.pid, "process"


@cache
def _boot() -> str:
    from fleet.adapters.lease import boot_id

    return boot_id()
