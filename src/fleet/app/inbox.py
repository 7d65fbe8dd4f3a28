"""Use cases around questions: inbox, answers, approvals."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from fleet.app.calendars import clock_of
from fleet.app.place import FleetPlace, fold
from fleet.app.telling import actor, tell
from fleet.core import messages as m
from fleet.errors import NotFound, Rejected
from fleet.views.decisions import why_not
from fleet.views.flows import number_of
from fleet.views.forecast import planned_of
from fleet.views.status import question_row, task_asked_about

if TYPE_CHECKING:
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


def answer(place: FleetPlace, name: str, value: str, note: str = "", by: str = "") -> str:
    """Answers an open question and returns its id; raises Rejected when it takes no such answer.

    `by` is who answers: whoever runs this process, if nothing is said.
    """
    state, asked = find_question(place, name)
    agent = (by or actor()).removeprefix("agent:") if (by or actor()).startswith("agent:") else ""
    why = why_not(state.known, asked, agent) if agent else ""
    if why:
        raise Rejected(f"{asked.id} is not answered: {why}", hint="somebody else answers it")
    if asked.question.kind == "number" and number_of(value) is None:
        raise Rejected(f"{value!r} is no number", hint=f"fleet answer {asked.id} NUMBER")
    patch = None
    if value == "rework":
        from fleet.files.changes.rejudging import asked_rework
        from fleet.files.changes.rework import course_of

        patch = asked_rework(course_of(state), asked.step, note)
    if value == "approve":
        from fleet.app.proposing import approve_change

        if approve_change(place, state, asked, note, by):
            return asked.id
    tell(
        place,
        [m.AnswerQuestion(id=asked.id, value=value, note=note, patch=patch)],
        run=state.run,
        by=by,
    )
    return asked.id


def escalate(place: FleetPlace, name: str, reason: str = "") -> tuple[str, str]:
    """Sends an open question on to the next whom its routes name, and returns its id and whose it
    is then; raises Rejected for one that is a person's already.
    """
    state, asked = find_question(place, name)
    tell(place, [m.EscalateQuestion(id=asked.id, reason=reason)], run=state.run)
    after = place.run_state(state.run)
    now = after.questions.get(asked.id) if after is not None else None
    return asked.id, now.question.whom if now is not None else ""


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
