"""What keeps a phase from landing, as outcomes: held for a person, or the gate closed again with
the rework that opens it.

Law: says what follows from what a trial found; tries nothing, and moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fleet.adapters import git
from fleet.core.messages import Ending, Outcome
from fleet.core.plan import SETTLED, Need, NeedsChange, Patch, Step
from fleet.files.changes.rework import next_round
from fleet.harnesses import brief as briefs
from fleet.kinds import Work


@dataclass(frozen=True, slots=True)
class Pinned:
    """What the gate let through: commit and branch by task, in the order in which they land."""

    parts: tuple[git.Part, ...]
    gate: str

    @property
    def commits(self) -> dict[str, str]:
        """The pinned commit of each task."""
        return {part.task: part.sha for part in self.parts}


def held(text: str, evidence: Mapping[str, object] | None = None) -> Outcome:
    """Returns the merge put back, to be released by a person."""
    return Outcome(ending=Ending.DEFERRED, hold=True, text=text, evidence=evidence or {})


def conflict(work: Work, pinned: Pinned, found: git.Conflict) -> Outcome:
    """Returns the merge put back behind a closed gate, for a conflict."""
    others = [work.params["base"] if name == "base" else name for name in found.with_tasks]
    text = (
        f"{found.task} conflicts with {' and '.join(map(str, others))} "
        f"in {', '.join(found.paths)}; the base is as it was"
    )
    told = {
        "task": found.task,
        "with": list(found.with_tasks),
        "paths": list(found.paths),
        "text": found.text,
    }
    return gate_again(work, pinned, text, {"conflict": told})


def nobody_to_blame(
    work: Work, pinned: Pinned, checks: Sequence[Mapping[str, Any]], tasks: Sequence[str]
) -> Outcome:
    """Returns the merge put back behind a closed gate: red, and no task was found to be why."""
    text = f"red on the combined tree of {', '.join(tasks) or 'the base'}: {failures(checks)}"
    evidence = {"checks": list(checks), "tasks": list(pinned.commits)}
    return gate_again(work, pinned, f"{text}; the base is as it was", evidence)


def failures(checks: Sequence[Mapping[str, Any]]) -> str:
    """Returns which checks were red and why, in words."""
    return ", ".join(f"{one['text']!r} ({one['why']})" for one in checks if not one["passed"])


def gate_again(
    work: Work,
    pinned: Pinned,
    text: str,
    evidence: Mapping[str, object],
    *,
    hold: bool = True,
    sent_back: Sequence[str] = (),
    note: str = "",
) -> Outcome:
    """Returns the deferred merge with the patch that closes the gate again: a further one, before
    this step, and before it the rework of the tasks that are `sent_back`, which are told a `note`.
    """
    gate = work.plan_step(pinned.gate) or work.siblings[pinned.gate]
    number = 1 + sum(step.kind == "gate" for step in work.siblings.values())
    name = f"{work.params['phase']}/gate.{number}"
    put: list[Step] = []
    for task in sent_back:
        put += _rework(work, task, name, note)
    checks = tuple(Need(step=step.id) for step in put if step.kind == "check")
    closed = replace(
        gate,
        id=name,
        params={**gate.params, "closed": text},
        needs=(*gate.needs, Need(step=gate.id), *checks),
        released=True,
    )
    change = NeedsChange(add=(Need(step=name),), remove=(gate.id,))
    patch = Patch(put=(*put, closed), needs={work.step.id: change}, reason=text[:500])
    return Outcome(ending=Ending.DEFERRED, hold=hold, text=text, patch=patch, evidence=evidence)


def is_spent(work: Work, task: str) -> bool:
    """Returns whether a task was tried as often as its document lets it be."""
    last = _last_check(work, task)
    return _tries(last) >= int(str(last.params.get("attempts") or 1))


def _rework(work: Work, task: str, gate: str, note: str) -> list[Step]:
    """Returns one more round of a task, before a gate that is not there yet."""
    last = _last_check(work, task)
    last = replace(last, params={**last.params, "before": [gate]})
    rounds = work.rounds(task)
    patch = next_round(last, rounds, reason="", spent=_tries(last), on=SETTLED)
    told = {"note": note, "note_from": f"The merge of {work.params['phase']}"}
    return [
        replace(step, params={**step.params, **told}) if step.kind == "agent" else step
        for step in patch.put
    ]


def _last_check(work: Work, task: str) -> Step:
    checks = [step for step in work.rounds(task).values() if step.kind == "check"]
    return max(checks, key=lambda step: int(str(step.params.get("round", 1))))


def _tries(check: Step) -> int:
    """Returns how many tries of a task its latest check knew of, and that one's own."""
    return int(str(check.params.get("spent") or 0)) + 1


def evidence_of(checks: Sequence[Mapping[str, Any]]) -> str:
    """Returns what the red checks printed, for the brief of whoever is sent back."""
    return briefs.findings({"checks": checks})
