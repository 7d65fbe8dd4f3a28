"""Use cases around one agent's session: attach to it, read its log."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.app.launching import running_state
from fleet.app.place import PLAN_RUN, FleetPlace, resolve_task
from fleet.app.telling import bring_back
from fleet.core.state import Standing
from fleet.errors import FleetError, NotFound, Rejected
from fleet.views.tasks import tasks_of

if TYPE_CHECKING:
    from fleet.core.state import State, StepState

POLL_S = 0.2
LAST_POLL_S = 0.02
"""How often a log is looked at whose attempt has ended while its last lines are on their way."""

CHUNK_BYTES = 65_536


def attach_argv(place: FleetPlace, name: str) -> list[str]:
    """Returns the command that attaches a terminal to the session of a task, or of a step of a
    workflow; Rejected without one.
    """
    from fleet.adapters.tmux import Tmux

    _, called, works = _worked(place, name)
    sessions = [str(work.facts.get("session", "")) for work in works if work.attempt]
    session = sessions[-1] if sessions else ""
    tmux = Tmux(place.socket)
    if not session or session not in tmux.sessions():
        raise Rejected(
            f"{called} has no live session", hint=f"fleet logs {called} shows what it put out"
        )
    return list(tmux.attach_argv(session))


def _worked(place: FleetPlace, name: str) -> tuple[State, str, list[StepState]]:
    """Returns the run of what a name means, a task, `RUN/STEP` of a workflow, or a question that an
    agent answers, how it is called, and the steps of its agent, the oldest first; raises NotFound,
    and Ambiguous.
    """
    from fleet.app.runs import find_run, is_run

    answers = _answering(place, name)
    if answers is not None:
        return answers
    run, _, step = name.partition("/")
    if not step or not is_run(place, run):
        state = running_state(place)
        task = resolve_task(place, name, state)
        return state, task, list(tasks_of(state)[task].works)
    found = place.run_state(find_run(place, run))
    assert found is not None, "a run that was found is in the journal"
    agents = [one for one in found.steps.values() if one.step.kind == "agent"]
    works = [one for one in agents if step in (one.step.id, one.step.whole)]
    if not works:
        raise NotFound("agent at the step", step, [one.step.id for one in agents])
    return found, f"{found.run}/{step}", works


def _answering(place: FleetPlace, name: str) -> tuple[State, str, list[StepState]] | None:
    """Returns the same of a question at whose answer an agent works or has worked, else None."""
    run, _, number = name.rpartition(".")
    if not re.fullmatch(r"q\d+", number or name):
        return None
    state = place.run_state(run or PLAN_RUN)
    found = f"{run or PLAN_RUN}.{number or name}"
    works = [one for one in state.steps.values() if one.step.whole == found] if state else []
    works = [one for one in works if one.step.kind == "agent"]
    return (state, found, works) if state is not None and works else None


def log_path(place: FleetPlace, name: str, attempt: int | None) -> tuple[Path, State, str, int]:
    """Returns the log file of a task, or of a step of a workflow, and the run, step and attempt
    that wrote it.
    """
    from fleet.adapters.layout import attempt_path

    state, called, works = _worked(place, name)
    tries = [(work, number) for work in works for number in range(1, work.attempt + 1)]
    if not tries:
        hint = f"fleet launch {called}" if "/" not in called else ""
        raise Rejected(f"{called} has not run yet; there is no log", hint=hint)
    if attempt is not None and not 1 <= attempt <= len(tries):
        raise FleetError(f"{called} has attempts 1 to {len(tries)}, not {attempt}")
    work, number = tries[(attempt or len(tries)) - 1]
    folder = attempt_path(place.state, state.run, work.step.id, number)
    return folder / "output.log", state, work.step.id, number


def log_lines(
    place: FleetPlace,
    name: str,
    *,
    attempt: int | None = None,
    last: int = 200,
    follow: bool = False,
) -> Iterator[str]:
    """Yields the last lines of a log, safe for a terminal; when followed, what comes too."""
    from fleet.adapters.attempts import Follower, is_on_its_way, plain
    from fleet.harnesses.secrets import mask

    path, state, step, number = log_path(place, name, attempt)
    secrets = secrets_of(place, state, step)
    lines: deque[str] = deque(maxlen=last)
    log, lost, rest, child = Follower(path), 0, b"", None
    while True:
        over = _is_over(place.run_state(state.run) or state, step, number)
        partial = over and is_on_its_way(path)
        while chunk := log.read(CHUNK_BYTES):
            if log.lost_bytes > lost:
                rest += f"\n[{log.lost_bytes - lost:,} bytes are not kept]\n".encode()
                lost = log.lost_bytes
            *whole, rest = (rest + chunk).split(b"\n")
            lines.extend(mask(plain(one.decode(errors="replace")), secrets) for one in whole)
        if partial:
            time.sleep(LAST_POLL_S)
            continue
        if rest and (over or not follow):
            lines.append(mask(plain(rest.decode(errors="replace")), secrets))
            rest = b""
        yield from lines
        lines.clear()
        if over or not follow:
            yield from _refusals(path.parent)
            return
        child = bring_back(place, child)
        time.sleep(POLL_S)


def screen_lines(place: FleetPlace, state: State, task: str, last: int = 10) -> list[str]:
    """Returns the last lines that a task's session shows now, safe to print; none without one."""
    from fleet.adapters.attempts import plain
    from fleet.adapters.tmux import Tmux
    from fleet.harnesses.secrets import mask

    work = tasks_of(state)[task].last_work
    if work is None or work.standing is not Standing.RUNNING or not work.facts.get("session"):
        return []
    shown = plain(Tmux(place.socket).screen(str(work.facts["session"])))
    masked = mask(shown, secrets_of(place, state, work.step.id))
    return [one.rstrip() for one in masked.splitlines() if one.strip()][-last:]


def secrets_of(place: FleetPlace, state: State, step: str) -> dict[str, str]:
    """Returns the secrets of a step's agent, as far as they can be had here."""
    from fleet.harnesses.secrets import known

    told: Any = state.steps[step].step.params.get("agent") or {}
    return known(told.get("secrets") or {}, place.root)


def _refusals(folder: Path) -> Iterator[str]:
    """Yields what a sandbox did not let out, safe for a terminal."""
    if not (folder / "refused.jsonl").exists():
        return
    from fleet.adapters.attempts import plain
    from fleet.adapters.sandbox import traces

    found = traces(folder)
    for one in found.refused:
        yield plain(f"fleet: its sandbox refused {one}")
    if found.more:
        yield "fleet: its sandbox refused more"


def _is_over(state: State, step: str, number: int) -> bool:
    one: StepState = state.steps[step]
    return one.attempt != number or one.standing is not Standing.RUNNING
