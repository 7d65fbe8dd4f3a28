"""Commands about questions, check-ins and notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fleet.core import messages as m
from fleet.core.decide.draft import Draft, apply, live, settle
from fleet.core.decide.routing import ask, climb
from fleet.core.patches import patch_problems
from fleet.core.plan import PERSON, Ask
from fleet.core.state import OpenQuestion, Standing
from fleet.errors import Rejected

LOOP = "loop"
"""A question about a loop is of this kind; those that came into the loop later are about its id."""


def raise_question(draft: Draft, command: m.RaiseQuestion) -> None:
    """Asks on behalf of a running step; the answer comes back as a note.

    Raises Rejected when nobody is there to wait for an answer.
    """
    live(draft)
    if draft.state.ended:
        raise Rejected(f"the run has {draft.state.ended} already; nobody waits for an answer")
    if {"budget", "quarantine"} & command.question.about.keys():
        raise Rejected("only the run itself asks about a budget or a quarantine")
    then = m.Then.NOTE
    if command.step:
        draft.step(command.step)
    if command.question.then is m.Then.REPLY:
        then = m.Then.REPLY
        if command.step not in draft.state.running:
            raise Rejected(f"step {command.step!r} is not running; nobody waits for an answer")
    name = ask(draft, command.step, replace(command.question, then=then), command.by)
    if then is m.Then.NOTE and len(command.like) + 1 >= draft.state.loops.after:
        _leave_loop(draft, command, (*command.like, name))


def _leave_loop(draft: Draft, command: m.RaiseQuestion, rounds: tuple[str, ...]) -> None:
    """Does what the plan says of a question that is asked again and again, else asks a person."""
    told = command.loop or m.Question(message=f"{', '.join(rounds)} ask the same")
    mark = {"rounds": list(rounds)}
    told = replace(told, kind=LOOP, then=m.Then.NOTE, about={**told.about, **mark})
    for rung in draft.state.loops.then:
        if isinstance(rung, Ask):
            told = replace(told, whom=rung.whom)
            break
        more = {**mark, "why": told.message}
        put = [
            replace(step, id=f"{step.id}/{rounds[-1]}", params={**step.params, **more})
            for step in rung.patch.put
        ]
        patch = replace(rung.patch, put=tuple(put))
        if not patch_problems(draft.state, patch):
            return apply(draft, patch, rounds[-1])
    ask(draft, command.step, told, command.by)
    return None


def answer_question(draft: Draft, command: m.AnswerQuestion) -> None:
    """Takes an answer that the question allows, with the patch that it stands for; no agent's to
    what it asked itself.
    """
    live(draft)
    asked = _open(draft, command.id)
    if command.by == asked.by and asked.by.startswith("agent:"):
        raise Rejected(f"{asked.by.removeprefix('agent:')} asked {asked.id!r} itself")
    question = asked.question
    if question.choices and command.value not in question.choices and command.patch is None:
        raise Rejected(
            f"{command.value!r} is no answer to question {command.id!r}",
            hint=f"one of: {', '.join(question.choices)}",
        )
    if command.patch is not None:
        problems = patch_problems(draft.state, command.patch)
        if problems:
            raise Rejected("the patch was refused: " + "; ".join(str(p) for p in problems))
        apply(draft, command.patch, command.by)
        if asked.id not in draft.state.questions:
            return  # a budget's, which the patch has granted anew
    answer(draft, asked.id, command.value, command.by, command.note, revised=bool(command.patch))


def escalate_question(draft: Draft, command: m.EscalateQuestion) -> None:
    """Sends an open question on at once; raises Rejected for a person's that nobody comes after."""
    live(draft)
    asked = _open(draft, command.id)
    climb(draft, asked, command.reason)
    after = draft.state.questions[asked.id].question
    if asked.question.whom == after.whom == PERSON and asked.climbs_at_ms is None:
        raise Rejected(f"question {asked.id!r} is a person's already; nobody comes after that")


def _open(draft: Draft, name: str) -> OpenQuestion:
    asked = draft.state.questions.get(name) or _about(draft, name)
    if asked is None:
        closed = name in draft.origin.answers
        raise Rejected(f"question {name!r} is {'answered already' if closed else 'not open'}")
    return asked


def _about(draft: Draft, request: str) -> OpenQuestion | None:
    """Returns the open question that is about a request of a session."""
    asked = draft.state.questions.values()
    return next((one for one in asked if one.question.about.get("request") == request), None)


def answer(
    draft: Draft, name: str, value: str, by: str, note: str = "", *, revised: bool = False
) -> None:
    """Closes a question and does to its step what the question says."""
    asked = draft.state.questions[name]
    question, step = asked.question, asked.step
    draft.emit(m.QuestionAnswered, id=name, value=value, note=note, by=by)
    ends = question.kind == LOOP and by != "timeout" and value not in question.refusals
    rounds = _rounds_of(draft, asked) if ends else []
    for other in rounds:
        if other.id in draft.state.questions:
            answer(draft, other.id, question.message if question.choices else value, by, note)
    one = draft.state.known(step)
    if one is None:
        return
    hears = step in draft.state.running and all(other.step != step for other in rounds)
    if question.then in (m.Then.NOTE, m.Then.REPLY) and hears:
        text = f"Answer to your question {question.message!r}: {value or 'nobody gave one'}"
        about = {**question.about, "value": value, "note": note}
        _send(draft, step, text if not note else f"{text}\n{note}", by, about)
    if question.then is m.Then.SETTLE and one.standing is Standing.ASKING:
        refused = value in question.refusals or (question.choices and value not in question.choices)
        standing = Standing.FAILED if refused else Standing.SUCCEEDED
        output = {"value": value, "by": by, "note": note}
        settle(draft, step, standing, note, output=output, label=value, by=by)
    if question.then is m.Then.LADDER and one.standing is Standing.ASKING and value != "retry":
        standing = Standing.SKIPPED if value == "skip" and not revised else Standing.FAILED
        settle(draft, step, standing, note, by=by)


def _rounds_of(draft: Draft, loop: OpenQuestion) -> list[OpenQuestion]:
    """Returns the questions that came into a loop and are still open: its answer is theirs."""
    ids: Any = loop.question.about.get("rounds", ())
    found = draft.state.questions.values()
    return [one for one in found if one.id in ids or one.question.about.get(LOOP) == loop.id]


def check_in(draft: Draft, command: m.CheckIn) -> None:
    """Keeps a task's report."""
    draft.step(command.step)
    draft.emit(
        m.CheckedIn,
        step=command.step,
        done=command.done,
        next=command.next,
        blockers=command.blockers,
        by=command.by,
    )


def send_note(draft: Draft, command: m.SendNote) -> None:
    """Sends a message to a running attempt; raises Rejected when nobody would read it."""
    draft.step(command.step)
    if command.step not in draft.state.running:
        raise Rejected(f"step {command.step!r} is not running; nobody would read the note")
    _send(draft, command.step, command.text, command.by)


def _send(
    draft: Draft, step: str, text: str, by: str, about: Mapping[str, object] | None = None
) -> None:
    number = draft.state.noted + 1
    draft.emit(m.NoteSent, note=number, step=step, text=text, about=about or {}, by=by)
