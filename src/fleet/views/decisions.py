"""What was decided: answers by roles and by people, and what documents say was decided. Pure rows.

An answer that nobody gave, and what a session was allowed to do, is no decision. The id of what a
document says comes from its text, for another decision may be written before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from fleet.core.messages import Then
from fleet.core.state import Answered, OpenQuestion, State
from fleet.views.flows import Look
from fleet.views.tasks import tasks_of

PROPOSAL = "proposal"
"""What a question is about, by the change of the plan that its approval stands for."""

NOBODY = frozenset({"timeout", "files"})
"""Who answers without deciding: a question's time was up, or the documents have gone on."""


def is_decision(answer: Answered) -> bool:
    """Returns whether an answer decides something: somebody gave it, and not to a session alone."""
    return answer.by not in NOBODY and answer.question.then is not Then.REPLY


def why_not(look: Look, asked: OpenQuestion, agent: str) -> str:
    """Returns why an agent may not answer a question, nothing when it may: nobody answers what they
    asked, nor decides about their own work.
    """
    if asked.by == f"agent:{agent}":
        return f"{agent} asked this itself"
    one = look(asked.step)
    join = look(one.step.whole) if one is not None else None
    task: Any = join.step.params.get("task") if join is not None else None
    if isinstance(task, Mapping):
        worker = str(task.get("agent") or "")
    else:
        told: Any = one.step.params.get("agent") if one is not None else None
        worker = str(told.get("id") or "") if isinstance(told, Mapping) else ""
    return f"{agent} would decide about its own work" if worker == agent else ""


def decisions_of(state: State, time_of: Callable[[int], str]) -> list[dict[str, Any]]:
    """Returns the decisions of a run, the oldest first."""
    return [
        {
            "id": one.id,
            "run": state.run,
            "task": _task(state, one.step),
            "topic": one.question.topic or None,
            "question": one.question.message,
            "change": _change(one),
            "answer": one.value,
            "reason": one.note,
            "by": one.by,
            "at": time_of(one.at_ms),
            "source": "answer",
        }
        for one in state.answers.values()
        if is_decision(one)
    ]


def written_decisions(state: State) -> list[dict[str, Any]]:
    """Returns what the documents of a run's tasks say was decided, by the order of the tasks."""
    rows = []
    for name, task in tasks_of(state).items():
        told: Any = task.facts.get("decisions") or ()
        rows += [_written(state, name, one) for one in told]
    return rows


def _written(state: State, task: str, told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{task}.{sha256(str(told['text']).encode()).hexdigest()[:8]}",
        "run": state.run,
        "task": task,
        "topic": None,
        "question": None,
        "change": None,
        "answer": told["text"],
        "reason": told.get("reason") or "",
        "by": None,
        "at": None,
        "source": "document",
    }


def _change(one: Answered) -> str | None:
    """Returns why the plan was to be changed, where that was asked; None of another question."""
    told: Any = one.question.about.get(PROPOSAL)
    return str(told.get("reason") or "no reason was given") if told else None


def _task(state: State, step: str) -> str | None:
    one = state.known(step)
    return (one.step.whole or step) if one is not None else (step or None)
