"""A phase's gate as one plain object: every condition with its evidence, `fleet.gate/1`.

Whether the gate may open is the gate step's business; this shows what it would find, from what was
verified and from where the branches stand now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from fleet.core.state import Standing, State, StepState, answers_to
from fleet.records import record
from fleet.views.proofs import proof_in_words, proof_row
from fleet.views.status import Clock, Observed, Seen
from fleet.views.tasks import (
    PhaseSteps,
    TaskSteps,
    needing_people,
    phases_before,
    phases_of,
    state_of,
    tasks_of,
)
from fleet.views.verdicts import found_in, verdicts_of


def gate_of(
    state: State, name: str, task_names: Sequence[str], observed: Observed, clock: Clock
) -> dict[str, Any]:
    """Returns {schema, run, phase, checkpoint, gate, merged_as, pull_request, pushed, pinned,
    commits, missing, conditions, metrics} of one phase, a manifest of what it rests on.

    A condition is {kind, text, met, evidence, commit, at, by, digest}: when it was found, by which
    attempt of a step or which person, and what names the content that it was found of.
    """
    tasks, phase = tasks_of(state), phases_of(state)[name]
    asked = needing_people(state)
    conditions = [
        condition("phase", f"{before} has landed", "not yet", met=False)
        for before in phases_before(state, phase)
    ]
    metrics: list[dict[str, Any]] = []
    for task in task_names:
        seen = observed.tasks.get(task, Seen())
        if tasks[task].is_checkpoint:
            conditions.append(passed(state, tasks[task], clock))
            continue
        view = _Task(state, task, tasks[task], phase, seen, clock)
        now = {name: _now(tasks[name], observed.tasks.get(name, Seen())) for name in task_names}
        conditions += [*view.conditions(asked), *view.verdicts(now)]
        metrics += view.metrics()
    commits = {task: tasks[task].verified["commit"] for task in task_names if tasks[task].verified}  # type: ignore[index]
    conditions += approvals(state, phase, commits, clock)
    conditions += _merge(state, phase, clock)
    landed = phase.landed
    met = all(one["met"] for one in conditions)
    return {
        "schema": "fleet.gate/1",
        "run": state.run,
        "phase": name,
        "checkpoint": None,
        "gate": "open" if landed is not None or met else "closed",
        "merged_as": landed.get("commit") if landed else None,
        "pull_request": phase.published("pull_request"),
        "pushed": phase.published("pushed"),
        "pinned": dict(phase.pinned),
        "commits": commits,
        "conditions": conditions,
        "metrics": metrics,
        "missing": [one["text"] for one in conditions if not one["met"]],
    }


@record(kw_only=False)
class _Task:
    """One task before the gate of its phase."""

    state: State
    name: str
    steps: TaskSteps
    phase: PhaseSteps
    seen: Seen
    clock: Clock

    def conditions(self, asked: AbstractSet[str]) -> list[dict[str, Any]]:
        """Returns what the gate asks of the task; all that was found at a commit is met no more
        once the branch has moved.
        """
        name, task = self.name, self.steps
        word = state_of(task, self.phase, asked)
        if word == "skipped":
            steps = (task.join, *reversed(task.inner))
            said = [one for one in steps if one.text and one.standing is Standing.SKIPPED]
            by = self._found(said[0]) if said else {}
            told = said[0].text if said else "skipped"
            text = f"{name}: skipped by a person"
            return [condition("task", text, told, met=True, **by)]
        verified = task.verified
        if verified is None:
            waits = task.join.text or f"it is {word}"
            text = f"{name} is verified"
            return [condition("task", text, waits, met=False), *self._last_red()]
        commit, head = str(verified.get("commit", "")), self.seen.head
        moved = head is not None and head != commit and word != "merged"
        found = [*self._judged(self._check, verified), *self._proof()]
        if moved:
            told = f"no more: found at {commit[:10]}, and its branch has moved"
            found = [{**one, "met": False, "evidence": told} for one in found]
        told = f"its branch is at {head[:10]} now" if moved and head else f"at {commit[:10]}"
        still = f"{name}: head is the commit that was verified"
        by = self._found(self._check)
        return [*found, condition("head", still, told, commit, met=not moved, **by)]

    def verdicts(self, now: Mapping[str, str | None]) -> list[dict[str, Any]]:
        """Returns what the task, a verifier, says of each task that it judges; `now` is where these
        stand. What was judged at another commit is not met.
        """
        told = verdicts_of(self.steps)
        if not told or self.steps.join.standing is Standing.SKIPPED:
            return []
        last, step = told[-1], self.state.steps[told[-1]["step"]]
        kept = {**self._found(step), "digest": last["digest"] or None}
        found = []
        for task, sha in last["commits"].items():
            same = now.get(task) in (None, sha)
            why = found_in(last, task) or ("no findings" if last["passed"] else step.text)
            why = why if same else f"of {sha[:10]}, and {task} is at {str(now[task])[:10]}: {why}"
            text, met = f"{self.name} passes {task}", same and bool(last["passed"])
            found.append(condition("verdict", text, why, sha, met=met, **kept))
        return found

    def metrics(self) -> list[dict[str, Any]]:
        """Returns what was measured of the task at the commit that was verified."""
        verified = self.steps.verified
        found: Any = verified.get("metrics", ()) if verified else ()
        told = self._found(self._check) if found else {}
        return [
            {
                "task": self.name,
                "name": one.get("name"),
                "value": one.get("value"),
                "unit": one.get("unit"),
                "target": _target(one),
                "met": one.get("met"),
                "commit": one.get("at_commit"),
                "digest": one.get("digest") or None,
                **told,
            }
            for one in found
        ]

    @property
    def _check(self) -> StepState:
        begun = [one for one in self.steps.checks if one.standing is not Standing.WAITING]
        return begun[-1]

    def _last_red(self) -> list[dict[str, Any]]:
        """Returns what the latest judgement found wanting."""
        for one in reversed(self.steps.checks):
            if one.standing in (Standing.FAILED, Standing.ASKING) and one.evidence:
                return [told for told in self._judged(one, one.evidence) if not told["met"]]
        return []

    def _proof(self) -> list[dict[str, Any]]:
        """Returns whether the assumption that the task is to prove holds; where it does not, what
        follows is what the gate asks for.
        """
        row = proof_row(self.steps)
        if row is None or row["holds"] is None:
            return []
        met = bool(row["holds"] or row["followed"])
        told, by = proof_in_words(row), self._found(self._check)
        text = f"{row['of']}: {row['text']}: {told}"
        return [condition("proof", text, told, met=met, **by)]

    def _judged(self, step: StepState, told: Mapping[str, Any]) -> list[dict[str, Any]]:
        by, found = self._found(step), []
        for one in told.get("deliverables", ()):
            why = one.get("why") or ("committed" if one["met"] else "")
            text, met, digest = f"{self.name}: {one['text']}", bool(one["met"]), one.get("digest")
            kept = {**by, "digest": digest or None}
            found.append(condition("deliverable", text, why, one.get("commit"), met=met, **kept))
        found += [_shown(self.name, one, by) for one in told.get("evidence", ())]
        for one in told.get("checks", ()):
            if told.get("disproved") and not one["passed"]:
                continue  # what follows from that is a condition of its own
            why = last_line(one) or ("passed" if one["passed"] else "failed")
            text, met, digest = (
                f"{self.name}: check {one['text']}",
                bool(one["passed"]),
                one.get("digest"),
            )
            kept = {**by, "digest": digest or None}
            found.append(condition("check", text, why, one.get("at_commit"), met=met, **kept))
        return found

    def _found(self, step: StepState) -> dict[str, Any]:
        return found_by(self.state, step, self.clock)


def passed(state: State, task: TaskSteps, clock: Clock) -> dict[str, Any]:
    """Returns that a checkpoint of the phase is passed, as one condition."""
    name, join, gate = task.join.step.id, task.join, task.gates[-1]
    text = f"the checkpoint {name} is passed"
    if task.is_waived and join.settled:
        text = f"the checkpoint {name} is passed (skipped by a person)"
        return condition("checkpoint", text, "skipped by a person", met=True)
    met = join.standing is Standing.SUCCEEDED and gate.standing is Standing.SUCCEEDED
    commit = str(task.verified["commit"]) if met and task.verified else None
    told = f"at {commit[:10]}" if commit else f"see: fleet gate {name}"
    by = found_by(state, gate, clock) if met else {}
    return condition("checkpoint", text, told, commit, met=met, **by)


def _shown(task: str, one: Mapping[str, Any], by: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a piece of evidence as a condition."""
    met, kept = bool(one["met"]), {**by, "digest": one.get("digest") or None}
    why = one.get("why") or (f"committed: {one['file']}" if one.get("file") else last_line(one))
    text = f"{task}: evidence {one['text']}" + (" (stated)" if one["how"] == "stated" else "")
    return condition("evidence", text, why or "passed", one.get("commit"), met=met, **kept)


def _now(task: TaskSteps, seen: Seen) -> str | None:
    """Returns the commit that a judged task stands at, as far as that is known."""
    verified = task.verified
    return seen.head or (str(verified["commit"]) if verified else None)


def found_by(state: State, step: StepState, clock: Clock) -> dict[str, Any]:
    """Returns which attempt found something, and when."""
    at = clock.time_of(step.ended_ms) if step.ended_ms else None
    return {"at": at, "by": f"{state.run}/{step.step.id}/{step.attempt}"}


def approvals(
    state: State, phase: PhaseSteps, commits: Mapping[str, str], clock: Clock
) -> list[dict[str, Any]]:
    """Returns who has to approve; an approval holds for the commits that it was given for."""
    wanted: Any = phase.gates[-1].step.params.get("approve") if phase.gates else None
    if not wanted:
        return []
    names = wanted if isinstance(wanted, list) else [""]
    given = [
        answer
        for gate in phase.gates
        for answer in answers_to(state, gate.step.id)
        if answer.value == "approve"
    ]
    found = []
    for name in names:
        mine = [answer for answer in given if not name or answer.by == name]
        text = f"approved by {name}" if name else "approved"
        if not mine:
            found.append(condition("approval", text, "not yet", met=False))
            continue
        at, about = clock.time_of(mine[-1].at_ms), mine[-1].question.about.get("commits")
        stale = about is not None and about != dict(phase.pinned or commits)
        told = f"{mine[-1].by}, {at}" + (", for other commits than these" if stale else "")
        met = bool(phase.pinned) and not stale
        found.append(condition("approval", text, told, met=met, at=at, by=mine[-1].by))
    return found


def _merge(state: State, phase: PhaseSteps, clock: Clock) -> list[dict[str, Any]]:
    """Returns the checks of the phase at the tree that landed or is proposed, or why the last merge
    did not land.
    """
    merge = phase.merge
    if merge is None or not merge.attempt:
        return []
    by = found_by(state, merge, clock)
    if phase.landed is None and "candidate" not in merge.evidence:
        if merge.standing is Standing.RUNNING or not merge.text or phase.overtaken:
            return []
        text = "the phase merges cleanly and its checks pass"
        return [condition("merge", text, merge.text, met=False, **by)]
    checks: Any = merge.evidence.get("checks") or ()
    return [
        condition(
            "check",
            f"{phase.name}: check {one['text']}",
            last_line(one) or "passed",
            one.get("at_commit"),
            met=bool(one["passed"]),
            **{**by, **_judged_by(state, merge, one), "digest": one.get("digest") or None},
        )
        for one in checks
    ]


def _judged_by(state: State, merge: StepState, check: Mapping[str, Any]) -> dict[str, str]:
    """Returns the attempt of a merge that ran a check, where it was an earlier one."""
    number = check.get("attempt") or merge.attempt
    return {"by": f"{state.run}/{merge.step.id}/{number}"}


def condition(
    kind: str,
    text: str,
    evidence: str,
    commit: str | None = None,
    *,
    met: bool,
    at: str | None = None,
    by: str | None = None,
    digest: str | None = None,
) -> dict[str, Any]:
    """Returns one condition of a gate with what it rests on."""
    told = {"kind": kind, "text": text, "met": met, "evidence": evidence, "commit": commit}
    return {**told, "at": at, "by": by, "digest": digest}


def _target(metric: Mapping[str, Any]) -> str | None:
    target = metric.get("target")
    return None if target is None else f"{metric.get('op') or '=='}{target:g}"


def last_line(check: Mapping[str, Any]) -> str:
    """Returns why a check is red, else the last line of what it printed."""
    said = str(check.get("why") or check.get("tail") or "").strip().splitlines()
    return said[-1] if said else ""
