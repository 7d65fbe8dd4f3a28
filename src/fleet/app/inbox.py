"""Use cases around questions: inbox, answers, approvals; what an agent itself asks and tells."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.app.calendars import clock_of
from fleet.app.launching import running_state
from fleet.app.place import PLAN_RUN, FleetPlace, fold
from fleet.app.telling import changes, tell
from fleet.core import messages as m
from fleet.errors import FleetError, NotFound, Rejected
from fleet.views.flows import number_of
from fleet.views.forecast import planned_of
from fleet.views.status import question_row, task_asked_about

if TYPE_CHECKING:
    from fleet.core.plan import Patch
    from fleet.core.state import Answered, OpenQuestion, State


def inbox(place: FleetPlace) -> dict[str, Any]:
    """Returns `fleet.inbox/1`: the open questions of all live runs, what costs most slack first."""
    rows = []
    for state in live_states(place):
        planned = planned_of(state.about)
        clock = clock_of(state)
        for asked in state.questions.values():
            task = task_asked_about(state, asked, planned)
            rows.append(question_row(asked, task, planned, clock))
    rows.sort(key=lambda row: (row["slack_days"] is None, row["slack_days"] or 0, row["asked_at"]))
    return {"schema": "fleet.inbox/1", "questions": rows}


def live_states(place: FleetPlace) -> list[State]:
    """Returns every run that has not ended."""
    reader = place.reader()
    if reader is None:
        return []
    with closing(reader):
        found = [fold(reader, row.run) for row in reader.runs() if row.state == "running"]
    return [state for state in found if state is not None]


def find_question(place: FleetPlace, name: str) -> tuple[State, OpenQuestion]:
    """Returns the run and the open question that an id or a unique part of one means; raises
    Rejected for one that is answered already, with its answer, and NotFound.
    """
    found: list[tuple[State, OpenQuestion]] = []
    known: list[str] = []
    for state in live_states(place):
        for asked in state.questions.values():
            known.append(asked.id)
            if name in (asked.id, asked.id.rpartition(".")[2]) or asked.id.startswith(name):
                found.append((state, asked))
    exact = [pair for pair in found if pair[1].id == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise NotFound("one question", name, [pair[1].id for pair in found])
    closed = _closed(place, name)
    if closed is not None:
        raise Rejected(
            f"question {name} is answered already: {closed.value!r} by {closed.by or 'nobody'}"
        )
    raise NotFound("open question", name, known)


def _closed(place: FleetPlace, name: str) -> Answered | None:
    """Returns the answer that a question of that very id has got, None for none."""
    run = name.rpartition(".")[0]
    state = place.run_state(run) if run else None
    return state.answers.get(name) if state is not None else None


def answer(place: FleetPlace, name: str, value: str, note: str = "") -> str:
    """Answers an open question and returns its id; raises Rejected when it takes no such answer."""
    state, asked = find_question(place, name)
    if asked.question.kind == "number" and number_of(value) is None:
        raise Rejected(f"{value!r} is no number", hint=f"fleet answer {asked.id} NUMBER")
    patch = rework_patch(state, asked, note) if value == "rework" else None
    tell(
        place,
        [m.AnswerQuestion(id=asked.id, value=value, note=note, patch=patch)],
        run=state.run,
    )
    return asked.id


def rework_patch(state: State, asked: OpenQuestion, note: str) -> Patch | None:
    """Returns the patch that a person's `rework` stands for: one more round of the task."""
    from fleet.files.rework import next_round

    one = state.known(asked.step)
    if one is None or one.step.kind != "check":
        return None
    steps = {n: s.step for n, s in state.steps.items() if s.step.whole == one.step.whole}
    reason = note or "a person asked for rework"
    patch = next_round(one.step, steps, reason=reason, on="failed")
    put = [
        replace(step, params={**step.params, "note": note}) if step.kind == "agent" else step
        for step in patch.put
    ]
    return replace(patch, put=tuple(put))


def approve(place: FleetPlace, name: str, note: str = "", *, always: bool = False) -> str:
    """Approves what a question asks approval of, `always` also what is like it for the rest of the
    run, and returns its id.
    """
    words = ("always",) if always else ("approve", "allow", "yes")
    return _decide(place, name, words, note)


def reject(place: FleetPlace, name: str, reason: str) -> str:
    """Rejects what a question asks approval of, and returns its id."""
    return _decide(place, name, ("reject", "deny", "no"), reason)


def _decide(place: FleetPlace, name: str, words: Sequence[str], note: str) -> str:
    _, asked = find_question(place, name)
    choices = asked.question.choices
    word = next((word for word in words if word in choices), None)
    if word is None:
        listed = ", ".join(choices) or (
            "a number" if asked.question.kind == "number" else "any text"
        )
        raise Rejected(
            f"question {asked.id} takes no "
            + ("approval for good" if words == ("always",) else "approval"),
            hint=f"fleet answer {asked.id} VALUE; one of: {listed}",
        )
    return answer(place, asked.id, word, note)


# --- inside an agent's session --------------------------------------------------------------------


def session_facts(environ: Mapping[str, str] | None = None) -> tuple[str, str, Path]:
    """Returns run, task and attempt folder of this process's session; FleetError outside one."""
    environ = environ or os.environ
    try:
        return environ["FLEET_RUN"], environ["FLEET_TASK"], Path(environ["FLEET_BRIEF"]).parent
    except KeyError as missing:
        raise FleetError(
            f"{missing.args[0]} is not set: this command is for agents inside their session",
            hint="set FLEET_RUN and FLEET_TASK, or use it from an agent that fleet launched",
        ) from missing


def check_in(
    place: FleetPlace, done: str, following: str, blockers: Sequence[str], task: str = ""
) -> str:
    """Records a task's daily report and returns the task."""
    run = PLAN_RUN
    if not task:
        run, task, _ = session_facts()
    done, following, *blockers = map(_masked, (done, following, *blockers))
    tell(
        place, [m.CheckIn(step=task, done=done, next=following, blockers=tuple(blockers))], run=run
    )
    return task


def ask(
    place: FleetPlace,
    text: str,
    *,
    topic: str = "",
    choices: Sequence[str] = (),
    wait_s: float | None = None,
    expires_s: float | None = None,
    default: str | None = None,
) -> tuple[str, str | None]:
    """Raises a question of this session's task; returns its id and, when waited for, the answer.

    After `expires_s` the `default` answers it; raises FleetError for one that is no choice.
    """
    if default is not None and (expires_s is None or (choices and default not in choices)):
        listed = ", ".join(choices)
        raise FleetError(
            f"{default!r} answers nothing",
            hint=f"one of: {listed}" if expires_s is not None else "say also when, by --expires",
        )
    run, task, _ = session_facts()
    text, choices = _masked(text), [_masked(one) for one in choices]
    state = running_state(place) if run == PLAN_RUN else place.run_state(run)
    if state is None:
        raise NotFound("run", run)
    before = set(state.questions) | set(state.answers)
    step = next((s for s in state.running if state.steps[s].step.whole == task), task)
    question = m.Question(
        message=text,
        kind="choice" if choices else "text",
        choices=tuple(choices),
        topic=topic,
        expires_at_ms=None if expires_s is None else int((time.time() + expires_s) * 1000),
        default=default,
    )
    tell(place, [m.RaiseQuestion(step=step, question=question)], run=run)
    after = place.run_state(run)
    assert after is not None
    raised = [
        name
        for name, asked in after.questions.items()
        if name not in before and asked.question.message == text
    ]
    name = raised[-1] if raised else ""
    if wait_s is not None:
        for seen in changes(place, time.monotonic() + wait_s, run):
            if name in seen.answers:
                return name, seen.answers[name].value or None
    return name, None


def _masked(text: str) -> str:
    """Returns what an agent says without the secrets of its session."""
    from fleet.harnesses.secrets import mask, own

    return mask(text, own(os.environ))


def finish(output: str | None) -> Path:
    """Leaves word that the work is done, with its output; returns the file."""
    _, _, folder = session_facts()
    path = folder / "done.json"
    draft = folder / f".done.{os.getpid()}"
    text = json.dumps({"output": output if output is None else _masked(output)})
    if os.environ.get("FLEET_SANDBOX"):  # of the folder, only this file may be written there
        path.write_text(text, encoding="utf-8")
        return path
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
    return path


def hook_argv() -> list[str]:
    """Returns the command that takes one event of an agent program's session."""
    from fleet.adapters.hooks import argv

    return argv()


def brief(environ: Mapping[str, str] | None = None) -> str:
    """Returns the brief of the session that this process is in."""
    _, _, folder = session_facts(environ)
    return (folder / "brief.md").read_text(encoding="utf-8")
