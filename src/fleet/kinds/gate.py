"""The kind `gate`: what must be true before a phase may be merged, each condition with its
evidence.

A gate never fails; it stays closed until it opens. Every task is verified at the very head of its
branch: a head that has moved is checked again first, and a verifier that has judged another commit
judges again. Approvals hold for exactly those commits, and nobody approves their own work. A
person's rejection names tasks in its note and raises their rework. An open gate pins the commits
that the merge lands. A checkpoint's gate is the same, before what waits for the checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fleet.core.messages import Ending, Outcome, Question, Then
from fleet.core.plan import SETTLED, Failure, Need, NeedsChange, Patch, Step
from fleet.core.state import Answered, Standing
from fleet.errors import FleetError
from fleet.files.changes.rejudging import Rejudging, judge_again, last_check, rounds_of, send_back
from fleet.files.changes.rework import next_round, recheck
from fleet.kinds import Work

APPROVE, REJECT = "approve", "reject"


@dataclass(frozen=True, slots=True)
class Task:
    """One task before the gate: the step that verified it last, at which commit, and where its
    branch is now.
    """

    id: str
    branch: str
    check: str
    commit: str | None
    head: str | None
    skipped: bool

    @property
    def moved(self) -> bool:
        """Whether there are commits that nobody has verified."""
        return self.commit is not None and self.head is not None and self.head != self.commit

    def condition(self) -> dict[str, Any]:
        """Returns this task's line among the gate's conditions."""
        text = f"{self.id} is verified"
        if self.skipped or self.commit is None:
            return {"text": text, "met": True, "why": "it was skipped", "task": self.id}
        why = f"at {self.commit[:12]}"
        if self.moved:
            assert self.head is not None
            why = f"verified {self.commit[:12]}, but {self.branch} is at {self.head[:12]}"
        elif self.head is None:
            why += f" (the branch {self.branch} is gone; the commit is kept)"
        return {
            "text": text,
            "met": not self.moved,
            "why": why,
            "task": self.id,
            "commit": self.commit,
        }


async def run(work: Work) -> Outcome:
    """Returns SUCCEEDED with {commits, base, evidence} when open; else ASKED, or DEFERRED with the
    patch to come.
    """
    if work.stop.is_set():
        return Outcome(ending=Ending.STOPPED, text="stopped")
    try:
        tasks, base = await work.world.in_thread(_look, work)
    except FleetError as failed:
        return Outcome(
            ending=Ending.FAILED, failure=Failure.INFRA, text=f"{failed.text} {failed.hint}".strip()
        )
    conditions = [task.condition() for task in tasks]
    moved = [task for task in tasks if task.moved]
    if moved:
        return _check_again(work, moved, conditions)
    commits = {task.id: task.commit for task in tasks if task.commit is not None}
    judged, stale = _judged(work, commits)
    conditions += judged
    if stale:
        return _judge_again(work, stale, conditions)
    answers = _answers(work, commits)
    last = next(reversed(answers.values()), None)
    if last is not None and last.value == REJECT:
        return _rejected(work, tasks, commits, conditions, last)
    signed = {name for name, one in answers.items() if one.value == APPROVE}
    approved = sorted({*_approved_before(work, commits), *signed})
    missing = _missing(work, approved)
    if missing is not None:
        return _ask(work, commits, conditions, missing, _own_words(work))
    if work.params.get("approve"):
        conditions.append({"text": "approved", "met": True, "why": f"by {', '.join(approved)}"})
    output = {"commits": commits, "base": base, "approved": approved, "evidence": conditions}
    return Outcome(ending=Ending.SUCCEEDED, output=output, evidence={"conditions": conditions})


def _look(work: Work) -> tuple[list[Task], str]:
    repo, params = work.world.repository, work.params
    base = repo.resolve(f"refs/heads/{params['base']}")
    if base is None:
        raise FleetError(f"the base branch {params['base']!r} does not exist")
    heads = repo.heads([str(task["branch"]) for task in params["tasks"]])
    return [_task(work, str(one["id"]), str(one["branch"]), heads) for one in params["tasks"]], base


def _task(work: Work, name: str, branch: str, heads: Mapping[str, str]) -> Task:
    """Returns a task by the latest of its checks that this gate sees."""
    check, found = work.verified(name)
    output: Any = found.get("output")
    commit = str(output["commit"]) if isinstance(output, Mapping) and output.get("commit") else None
    skipped = found.get("standing") == "skipped" or commit is None
    return Task(name, branch, check, commit, heads.get(branch), skipped)


# --- a head that moved ----------------------------------------------------------------------------


def _check_again(work: Work, moved: list[Task], conditions: list[dict[str, Any]]) -> Outcome:
    names = ", ".join(task.id for task in moved)
    text, reason = f"{names} moved since it was verified", f"{names}: the branch moved"
    judged = _of_the_checkpoint(work)
    if any(task.id in judged for task in moved):
        listed = [task.id for task in moved if task.id in judged]
        patch = _sent_back(work, {}, listed, reason)
        return _put_off(f"{text}; all is judged again", patch, conditions)
    put, needs = [], []
    for task in moved:
        check, steps = _steps(work, task)
        again = recheck(
            check,
            steps,
            needs=(Need(step=check.id, on=SETTLED),),
            spent=_tries(work, task),
            before=(work.step.id,),
        )
        put.append(replace(again, whole=task.id))
        needs.append(Need(step=again.id))
    change = {work.step.id: NeedsChange(add=tuple(needs))}
    patch = Patch(put=tuple(put), needs=change, reason=reason)
    return _put_off(f"{text}; it is checked again", patch, conditions)


def _sent_back(work: Work, back: Mapping[str, int], moved: Sequence[str], reason: str) -> Patch:
    """Returns the patch by which what a checkpoint judges is reworked or checked again, and judged
    again by all that had passed it, before this gate.
    """
    check = last_check(work.course, work.step.whole)
    assert check is not None, "a checkpoint has a check"
    return send_back(work.course, check.step, back, moved=moved, gate=work.step, reason=reason)


def _put_off(text: str, patch: Patch, conditions: Sequence[Mapping[str, Any]]) -> Outcome:
    """Returns the outcome of a gate that waits for what the patch brings."""
    evidence = {"conditions": list(conditions)}
    return Outcome(ending=Ending.DEFERRED, text=text, patch=patch, evidence=evidence)


def _of_the_checkpoint(work: Work) -> list[str]:
    """Returns the tasks that the checkpoint of this gate judges: what waits for it is to begin with
    what it has judged and others have passed. Behind a phase all begins with the base.
    """
    listed: Any = work.params["tasks"]
    own = [one for one in listed if one["id"] == work.step.whole]
    return [str(name) for one in own for name in one.get("verifies", ())]


def _steps(work: Work, task: Task) -> tuple[Step, dict[str, Step]]:
    """Returns the task's latest check and all the rounds of the task, as they stand in the plan."""
    found = work.rounds(task.id)
    check = found.get(task.check)
    if check is None:
        raise FleetError(f"the plan holds no check of {task.id}")
    return check, found


def _tries(work: Work, task: Task) -> int:
    output: Any = work.inputs[task.check].get("output")
    return int(output.get("tries") or 0) if isinstance(output, Mapping) else 0


# --- verdicts -------------------------------------------------------------------------------------


def _judged(work: Work, commits: Mapping[str, str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Returns a condition for each task that a verifier judges, and why verifiers have to judge
    again, by verifier; one that was skipped is not asked.
    """
    conditions, stale = [], dict[str, str]()
    for one in work.params["tasks"]:
        verifier = str(one["id"])
        output: Any = work.verified(verifier)[1].get("output")
        verdict = output.get("verdict") if isinstance(output, Mapping) else None
        last = last_check(work.course, verifier)
        waived = last is not None and last.standing is Standing.SKIPPED
        if not verdict or verifier not in commits or waived:
            continue
        for task in one.get("verifies", ()):
            seen, now = verdict["commits"].get(task), commits.get(task)
            if now is None:
                continue
            why = f"at {now[:12]}"
            if seen != now:
                why = f"judged at {str(seen)[:12]}, and {task} is at {now[:12]}"
                stale[verifier] = f"{verifier}: {why}"
            text = f"{verifier} passes {task}"
            told = {"text": text, "met": seen == now, "why": why, "task": verifier, "commit": now}
            conditions.append(told)
    return conditions, stale


def _judge_again(work: Work, stale: Mapping[str, str], conditions: list[dict[str, Any]]) -> Outcome:
    draft = Rejudging(work.course)
    for verifier in stale:
        rounds = rounds_of(work.course, verifier)
        own = [verifier] if verifier == work.step.whole else []  # a checkpoint's join, beside it
        judge_again(draft, verifier, rounds, before=[work.step.id, *own])
    return Outcome(
        ending=Ending.DEFERRED,
        text=f"{', '.join(stale)} judges again: {'; '.join(stale.values())}",
        patch=draft.patch("; ".join(stale.values())),
        evidence={"conditions": conditions},
    )


# --- approval -------------------------------------------------------------------------------------


def _answers(work: Work, commits: Mapping[str, str]) -> dict[str, Answered]:
    """Returns the last answer of each person that is about these very commits, the latest last; an
    agent of the phase says nothing about its own work.
    """
    own = _agents(work)
    found: dict[str, Answered] = {}
    for one in work.answers:
        about: Any = one.question.about
        if one.by in own and one.value == APPROVE:
            continue
        if one.question.kind == APPROVE and about.get("commits") == dict(commits):
            found.pop(one.by, None)
            found[one.by] = one
    return found


def _agents(work: Work) -> set[str]:
    """Returns the agents of the phase, as they are called who answer from inside a session."""
    named = [one.get("agent") for one in work.params["tasks"]]
    return {f"agent:{name}" for name in (*named, *work.params.get("agents", ()))}


def _own_words(work: Work) -> str:
    """Returns that the last approval does not count, where it was an agent's of the phase."""
    last = work.answers[-1] if work.answers else None
    if last is None or last.value != APPROVE or last.by not in _agents(work):
        return ""
    return f"{last.by.removeprefix('agent:')} cannot approve its own work. "


def _approved_before(work: Work, commits: Mapping[str, str]) -> list[str]:
    """Returns who approved these very commits at an earlier gate of the phase, before a merge
    closed it again.
    """
    found: list[str] = []
    for step, one in work.inputs.items():
        output: Any = one.get("output") if step.startswith(f"{work.step.whole}/gate") else None
        if isinstance(output, Mapping) and output.get("commits") == dict(commits):
            found += output.get("approved") or ()
    return found


def _missing(work: Work, approved: Sequence[str]) -> str | None:
    """Returns who has yet to approve: a name, `person` for anybody, or None."""
    wanted = work.params.get("approve")
    if not wanted:
        return None
    if isinstance(wanted, list | tuple):
        return next((str(name) for name in wanted if name not in approved), None)
    return None if approved else "person"


def _ask(
    work: Work,
    commits: Mapping[str, str],
    conditions: list[dict[str, Any]],
    whom: str,
    why: str = "",
) -> Outcome:
    text = f"waits for the approval of {whom}" if whom != "person" else "waits for an approval"
    listed = ", ".join(f"{task} at {sha[:12]}" for task, sha in commits.items())
    return Outcome(
        ending=Ending.ASKED,
        text=text,
        question=Question(
            message=f"{why}{_asked(work, listed or 'nothing')}",
            kind=APPROVE,
            choices=(APPROVE, REJECT),
            whom=whom,
            then=Then.AGAIN,
            about={"phase": work.params["phase"], "commits": dict(commits)},
        ),
        evidence={"conditions": [*conditions, {"text": "approved", "met": False, "why": text}]},
    )


def _has_agent(work: Work, task: str) -> bool:
    """Whether there is somebody who could work on a task once more."""
    return any(
        step.kind == "agent" and "judged" not in step.params for step in work.rounds(task).values()
    )


def _asked(work: Work, listed: str) -> str:
    name = work.params.get("name") or work.params["phase"]
    if not work.params.get("checkpoint"):
        return f"Is {name} good to be merged? It brings {listed}."
    output: Any = work.verified(str(work.params["phase"]))[1].get("output")
    items = len(output["checks"]) if isinstance(output, Mapping) else 0
    met = f" All {items} items are met." if items > 1 else ""
    return f"Is the checkpoint {name} passed? It stands on {listed}.{met}"


def _rejected(
    work: Work,
    tasks: list[Task],
    commits: Mapping[str, str],
    conditions: list[dict[str, Any]],
    answer: Answered,
) -> Outcome:
    """Returns the rework of the tasks that the rejection's note names; asks again when it names
    none.
    """
    able = [task for task in tasks if task.check and _has_agent(work, task.id)]
    named = [
        task
        for task in able
        if re.search(rf"(?<![\w.-]){re.escape(task.id)}(?![\w-])", answer.note)
    ]
    if not named and len(able) == 1:
        named = able
    if not named:
        asks = (
            f"It was rejected ({answer.note or 'no reason given'}): approve, or reject again "
            "with the ids of the tasks that are to be reworked in the reason. "
        )
        return _ask(work, commits, conditions, answer.question.whom, asks)
    names = ", ".join(task.id for task in named)
    text = f"{answer.by} rejected it; {names} is reworked: {answer.note}"
    shown = [*conditions, {"text": "approved", "met": False, "why": text}]
    patch = _rework(work, named, answer.note, text[:500])
    return _put_off(text, patch, shown)


def _rework(work: Work, named: list[Task], note: str, reason: str) -> Patch:
    """Returns the patch by which tasks are reworked before this gate, with a note."""
    judged = _of_the_checkpoint(work)
    back = {task.id: _tries(work, task) for task in named if task.id in judged}
    patch = Patch(reason=reason)
    if back:
        patch = _sent_back(work, back, (), reason)
    put, needs = [*patch.put], []
    for task in named:
        if task.id not in back:
            check, steps = _steps(work, task)
            check = replace(check, params={**check.params, "before": [work.step.id]})
            more = next_round(check, steps, reason="", spent=_tries(work, task), on=SETTLED)
            put += more.put
            needs.append(Need(step=more.put[-1].id))
    told = {task.id for task in named}
    put = [_noted(step, note) if step.whole in told else step for step in put]
    known = patch.needs.get(work.step.id, NeedsChange())
    change = replace(known, add=(*known.add, *needs))
    return replace(patch, put=tuple(put), needs={**patch.needs, work.step.id: change})


def _noted(step: Step, note: str) -> Step:
    """Returns a work that is told why it was rejected, in the place of what verifiers found."""
    if step.kind != "agent":
        return step
    kept = {name: value for name, value in step.params.items() if name != "verdicts"}
    return replace(step, params={**kept, "note": note})
