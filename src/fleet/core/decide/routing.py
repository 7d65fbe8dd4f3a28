"""Where questions are raised, whose they are, and how they climb.

A question for anybody goes to the first route that it fits, one that names somebody to the route of
that name; the route's steps work at an answer. It climbs to the next one when its time is up, when
these steps have closed and nobody has answered, or when it is told to; at last it is a person's. So
nobody is waited for who is not at work.
"""

from __future__ import annotations

from dataclasses import replace

from fleet.core import messages as m
from fleet.core.decide.draft import Draft, apply, request_stop, settle
from fleet.core.patches import patch_problems
from fleet.core.plan import PERSON, QUESTION, Patch, Route, Step
from fleet.core.state import CLOSED, OpenQuestion, Standing

SIGNED = frozenset({"approval", "approve", "budget", "quarantine"})
"""Kinds of questions that are people's, as what a session waits for is, unless a route says so."""

ENDINGS = (m.AttemptEnded, m.StepSettled, m.PlanRevised, m.QuestionAnswered)
"""Events with which the work at an answer may be over, or nobody waits for it any more."""


def ask(draft: Draft, step: str, question: m.Question, by: str) -> str:
    """Raises a question, sends it on its way, and returns its id, which counts on in its run."""
    name = f"{draft.state.run}.q{draft.state.asked + 1}"
    draft.emit(m.QuestionRaised, id=name, question=question, step=step, by=by)
    _send(draft, draft.state.questions[name], "", last=None)
    return name


def climb(draft: Draft, asked: OpenQuestion, why: str) -> None:
    """Takes a question from those who work at it and sends it on, at last to a person."""
    _dismiss(draft, asked)
    _send(draft, asked, why, last=Route(whom=PERSON))


def attend(draft: Draft) -> None:
    """Ends the work at answers that nobody waits for, and sends on what nobody works at."""
    before, state = draft.origin.questions, draft.state
    if not any(isinstance(event, ENDINGS) for event in draft.events):
        return
    for name in sorted(before.keys() - state.questions.keys()):
        _dismiss(draft, before[name])
    shut = state.shut | state.quarantined.keys()
    for asked in [one for one in state.questions.values() if one.steps and not state.cancelling]:
        found = [one for step in asked.steps if (one := state.known(step)) is not None]
        left = [one for one in found if one.standing not in CLOSED]
        idle = [one for one in left if one.standing is not Standing.RUNNING]
        if not left or any(not shut.isdisjoint(one.step.uses) for one in idle):
            climb(draft, asked, next((one.text for one in found if one.failure), ""))


def _send(draft: Draft, asked: OpenQuestion, why: str, *, last: Route | None) -> None:
    shut = draft.state.shut | draft.state.quarantined.keys()
    for route in (*draft.state.routes, *([last] if last else [])):
        put = _steps(asked, route)
        patch = Patch(put=put, reason=f"{route.whom} is asked {asked.id}")
        if route is last or (
            _fits(route, asked)
            and all(shut.isdisjoint(step.uses) for step in put)
            and not patch_problems(draft.state, patch)
        ):
            ids = tuple(step.id for step in put)
            at_ms = None if route.limit_ms is None else draft.at_ms + max(route.limit_ms, 1)
            told = {"whom": route.whom, "steps": ids, "climbs_at_ms": at_ms, "reason": why}
            draft.emit(m.QuestionRouted, id=asked.id, **told)
            if put:
                apply(draft, patch, asked.id)
            return


def _fits(route: Route, asked: OpenQuestion) -> bool:
    question, wanted = asked.question, (route.topic, route.kind, route.severity)
    told = (question.topic, question.kind, str(question.about.get("severity", "")))
    fits = all(one in ("", other) for one, other in zip(wanted, told, strict=True))
    if route.whom in asked.passed or not fits:
        return False
    if not route.kind and (question.kind in SIGNED or question.then is m.Then.REPLY):
        return False
    if asked.passed:
        return any(wanted)
    return question.whom == route.whom or (any(wanted) and question.whom == PERSON)


def _steps(asked: OpenQuestion, route: Route) -> tuple[Step, ...]:
    suffix = f".{len(asked.passed) + 1}" if asked.passed else ""
    return tuple(
        replace(
            step,
            id=f"{asked.id}/{step.id}{suffix}",
            params={**step.params, QUESTION: asked.id},
            needs=tuple(replace(n, step=f"{asked.id}/{n.step}{suffix}") for n in step.needs),
            whole=asked.id,
        )
        for step in route.steps
    )


def _dismiss(draft: Draft, asked: OpenQuestion) -> None:
    """Has the steps of an answer that nobody waits for never begin, or end if they take units."""
    for name in asked.steps:
        one = draft.state.known(name)
        if one is not None and one.standing is Standing.RUNNING:
            if one.step.uses:
                request_stop(draft, name, "skip")
        elif one is not None and one.standing not in CLOSED:
            settle(draft, name, Standing.SKIPPED, "nobody waits for the answer")
