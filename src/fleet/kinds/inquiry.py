"""The kind `inquiry`: what an agent is told that is to answer a question of the run, and where.

The question, who asked, how that work stands, and what was decided so far. Nobody answers what they
asked themselves, and nobody decides about their own work: then this fails, and the question goes on
to somebody else. What others wrote stands in fences.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from fleet.adapters.layout import scratch_path
from fleet.core.messages import Ending, Outcome, Then
from fleet.core.plan import QUESTION, Failure
from fleet.core.state import OpenQuestion, StepState
from fleet.files.kept import keep_text
from fleet.harnesses.brief import fence, findings
from fleet.kinds import Work
from fleet.views.decisions import is_decision, why_not

SHOWN_CHARS: Final = 4_000
"""So much is shown of a question's parts: a brief, findings, a check-in."""

DECISIONS: Final = 20
"""How many of the run's decisions are told, the newest."""

DECISION_CHARS: Final = 600

LADDER_ANSWERS: Final = 3
"""How often an agent says how the same task goes on, before somebody else is asked."""

LADDER: Final = {
    "retry": "it is tried again, with your reason in its brief",
    "rework": "it is sent back for another round, with your reason in its brief",
    "skip": "it counts as done, and what depends on it goes on",
    "fail": "it has failed, and what depends on it does not start",
}
"""What the answers to the question of a task that failed mean."""


async def run(work: Work) -> Outcome:
    """Returns {worktree, brief: digest of the text} as output; FAILED where the agent is the wrong
    one to ask.
    """
    asked = work.asked(str(work.params[QUESTION]))
    if asked is None:
        return Outcome(ending=Ending.SUCCEEDED, text="the question has closed", output={})
    agent = str(work.params["agent"])
    why = why_not(work.look, asked, agent) or _too_often(work, asked, agent)
    if why:
        return Outcome(ending=Ending.FAILED, failure=Failure.TASK, text=why)
    outcome: Outcome = await work.world.in_thread(_made, work, asked)
    return outcome


def _too_often(work: Work, asked: OpenQuestion, agent: str) -> str:
    """Returns that an agent has said often enough how a task that fails is to go on, nothing when
    it has not: a task and a role may not keep each other busy for ever.
    """
    one = work.look(asked.step)
    if one is None or asked.question.then is not Then.LADDER:
        return ""
    earlier = [
        answer
        for answer in work.decided()
        if answer.by == f"agent:{agent}"
        and answer.question.then is Then.LADDER
        and (before := work.look(answer.step)) is not None
        and before.step.whole == one.step.whole
    ]
    if len(earlier) < LADDER_ANSWERS:
        return ""
    return f"{agent} has said {len(earlier)} times how {one.step.whole} goes on"


def _made(work: Work, asked: OpenQuestion) -> Outcome:
    folder = scratch_path(work.world.state, work.run, work.step.whole) / "work"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = _text(work, asked)
    digest = sha256(text.encode()).hexdigest()
    keep_text(work.world.state, digest, text)
    place = {"path": str(folder), "branch": "", "start": "", "admin": "", "port": None}
    return Outcome(ending=Ending.SUCCEEDED, output={"worktree": place, "brief": digest})


def _text(work: Work, asked: OpenQuestion) -> str:
    question = asked.question
    about = f" about {question.topic}" if question.topic else ""
    whose = _whose(work, asked)
    parts = [
        f"{whose} asks{about}, and waits for you to decide:",
        fence(question.message, 2 * SHOWN_CHARS),
        _choices(asked),
        _asker(work, asked),
        _decided(work),
        _wanted(asked),
    ]
    return "\n\n".join(part for part in parts if part)


def _whose(work: Work, asked: OpenQuestion) -> str:
    one = work.look(asked.step)
    where = f"`{one.step.whole or asked.step}`" if one is not None else "The run"
    by = asked.by.removeprefix("agent:")
    return f"{where} (agent `{by}`)" if asked.by.startswith("agent:") else where


def _choices(asked: OpenQuestion) -> str:
    question = asked.question
    if not question.choices:
        return ""
    meant = LADDER if question.then is Then.LADDER else {}
    lines = [f"- `{one}`{': ' + meant[one] if one in meant else ''}" for one in question.choices]
    return "\n".join(["The answer is one of:", "", *lines])


def _asker(work: Work, asked: OpenQuestion) -> str:
    """Returns how the work stands that the question came from: what it was told, its branch, its
    last check-in, what was found red last.
    """
    one = work.look(asked.step)
    task = one.step.whole if one is not None else ""
    join = work.look(task) if task else None
    parts = []
    body = _brief(work, task)
    if body:
        parts += [f"What `{task}` was told:", fence(body, SHOWN_CHARS)]
    told: Any = join.step.params.get("task") if join is not None else None
    if isinstance(told, Mapping) and told.get("branch"):
        parts.append(f"Its branch is `{told['branch']}`, its worktree `{told.get('worktree')}`.")
    checkin = join.checkin if join is not None else None
    if checkin is not None:
        lines = [f"done: {checkin['done']}", f"next: {checkin['next']}"]
        blockers: Any = checkin["blockers"]
        lines += [f"blocker: {each}" for each in blockers]
        parts += ["Its last check-in:", fence("\n".join(lines), SHOWN_CHARS)]
    red = _red(work, task)
    if red:
        parts += ["What was found wrong with it last:", red]
    return "\n\n".join(["## Who asks", *parts]) if parts else ""


def _brief(work: Work, task: str) -> str:
    """Returns the text that an asking step was given, shortened by who shows it."""
    made = work.look(f"{task}.brief")
    output: Any = made.output if made is not None else None
    worked = work.plan_step(f"{task}/work")
    digest = (output or {}).get("brief") or (worked.params.get("brief") if worked else None)
    path = work.world.state / "texts" / str(digest or "")
    return path.read_text(encoding="utf-8") if digest and path.is_file() else ""


def _red(work: Work, task: str) -> str:
    """Returns the findings of the task's latest check that was red, as a brief shows them."""
    checks = [work.look(name) for name, step in work.rounds(task).items() if step.kind == "check"]
    red: list[StepState] = [one for one in checks if one is not None and one.evidence]
    last = max(red, key=lambda one: one.ended_ms, default=None)
    return fence(findings(last.evidence, last.text), 2 * SHOWN_CHARS) if last is not None else ""


def _decided(work: Work) -> str:
    lines = []
    for one in [one for one in work.decided() if is_decision(one)][-DECISIONS:]:
        when = time.strftime("%Y-%m-%d", time.gmtime(one.at_ms / 1000))
        told = f"{one.question.message}\n-> {one.value}"
        told += f"\n   because {one.note}" if one.note else ""
        lines += [f"{when}, by {one.by or 'somebody'}:", fence(told[:DECISION_CHARS], SHOWN_CHARS)]
    return "\n\n".join(["## Decided so far, the newest last", *lines]) if lines else ""


def _wanted(asked: OpenQuestion) -> str:
    answer = asked.question.choices[0] if asked.question.choices else "your answer"
    return f"""\
## What you say last

Your answer as JSON, alone or in a last fenced block (or give it to `fleet done --output FILE`):

```json
{{"answer": "{answer}", "reason": "why, in a sentence or two"}}
```

It is kept as a decision. Decide; change nothing. If you cannot, end without an answer: then
somebody else is asked."""
