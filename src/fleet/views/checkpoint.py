"""A checkpoint as one plain object, shaped as a phase's gate is: `fleet.gate/1`, its conditions in
the groups of its checklist. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fleet.core.state import Standing, State
from fleet.views.gate import approvals, condition, found_by, last_line
from fleet.views.status import Clock, Observed, Seen
from fleet.views.tasks import PhaseSteps, TaskSteps, phases_of, tasks_of
from fleet.views.verdicts import verdict_in

STANDS_ON: Final = "stands on"
ITEMS: Final = "checks"
SIGNED: Final = "sign-off"


def checkpoint_of(state: State, name: str, observed: Observed, clock: Clock) -> dict[str, Any]:
    """Returns what `gate_of` does, of a checkpoint: {id, name, items, met, skipped}; each condition
    has its `group`.
    """
    tasks = tasks_of(state)
    task = tasks[name]
    scene = _Scene(state, task, tasks, observed, clock)
    items = scene.items()
    conditions = [*scene.needs(), *items, *scene.signs()]
    skipped = task.is_waived and task.join.settled
    opened = task.join.standing is Standing.SUCCEEDED and all(one["met"] for one in conditions)
    return {
        "schema": "fleet.gate/1",
        "run": state.run,
        "phase": task.facts.get("phase"),
        "checkpoint": {
            "id": name,
            "name": task.facts.get("name", name),
            "items": len(items),
            "met": sum(one["met"] for one in items),
            "skipped": skipped,
        },
        "gate": "open" if opened or skipped else "closed",
        "merged_as": None,
        "pull_request": None,
        "pushed": None,
        "pinned": dict(PhaseSteps(name, task.gates).pinned),
        "commits": scene.commits,
        "conditions": conditions,
        "metrics": [],
        "missing": [] if skipped else [one["text"] for one in conditions if not one["met"]],
    }


class _Scene:
    """A checkpoint among the tasks of its run."""

    def __init__(
        self,
        state: State,
        task: TaskSteps,
        tasks: Mapping[str, TaskSteps],
        observed: Observed,
        clock: Clock,
    ) -> None:
        self.state, self.task, self.tasks = state, task, tasks
        self.observed, self.clock = observed, clock
        listed: Any = task.gates[-1].step.params["tasks"] if task.gates else ()
        self.signed = [str(one["id"]) for one in listed]
        self.commits = {
            one: str(tasks[one].verified["commit"])  # type: ignore[index]
            for one in self.signed
            if one in tasks and tasks[one].verified
        }

    def needs(self) -> list[dict[str, Any]]:
        """Returns what the checkpoint stands on: each verified, and still what was judged."""
        told: Any = self.task.facts.get("dependencies", ())
        found = []
        for name in dict.fromkeys((*told, *self.signed)):
            other = self.tasks.get(name)
            if other is None or other is self.task:
                continue
            what = "passed" if other.is_checkpoint else "verified"
            text = f"{name} is {what}"
            met = other.join.standing in (Standing.SUCCEEDED, Standing.SKIPPED)
            commit = self.commits.get(name)
            why = f"at {commit[:10]}" if commit and met else "" if met else "not yet"
            if other.join.standing is Standing.SKIPPED:
                why = "skipped by a person"
            kept = {"group": STANDS_ON}
            found.append(condition("task", text, why, commit, met=met) | kept)
            if met and (moved := self._moved(name)):
                text = f"{name}: head is the commit that was judged"
                found.append(condition("head", text, moved, commit, met=False) | kept)
        return found

    def _moved(self, name: str) -> str:
        """Returns where a judged branch is now, nothing while it is where it was judged, nor once
        that has landed.
        """
        phase = phases_of(self.state).get(str(self.task.facts.get("phase") or ""))
        if phase is not None and phase.landed is not None:
            return ""
        verdict = verdict_in(self.task.checks[-1]) if self.task.checks else None
        judged = (verdict or {}).get("commits", {}).get(name)
        head = self.observed.tasks.get(name, Seen()).head
        if judged is None or head in (None, judged):
            return ""
        return f"judged at {str(judged)[:10]}, its branch is at {str(head)[:10]} now"

    def items(self) -> list[dict[str, Any]]:
        """Returns what the checkpoint asks, as the last look at it has found it."""
        check = next((one for one in reversed(self.task.checks) if one.attempt), None)
        wanted: Any = (check or self.task.checks[0]).step.params.get("checks") or ()
        told: Any = None
        if check is not None:
            told = check.output if check.standing is Standing.SUCCEEDED else check.evidence
        rows = list((told or {}).get("checks") or ())
        by = found_by(self.state, check, self.clock) if check is not None else {}
        found = []
        for number, item in enumerate(wanted):
            group = {"group": str(item.get("group") or ITEMS)}
            text = str(item["text"])
            if number >= len(rows):
                found.append(condition("check", text, "not judged yet", met=False) | group)
                continue
            row = rows[number]
            met, kept = bool(row["passed"]), {**by, "digest": row.get("digest") or None}
            why = last_line(row) or ("passed" if met else "failed")
            found.append(
                condition("check", text, why, row.get("at_commit"), met=met, **kept) | group
            )
        return found

    def signs(self) -> list[dict[str, Any]]:
        """Returns who has to sign, and who has for these very commits."""
        gates = PhaseSteps(self.task.join.step.id, self.task.gates)
        found = approvals(self.state, gates, self.commits, self.clock)
        return [one | {"group": SIGNED} for one in found]
