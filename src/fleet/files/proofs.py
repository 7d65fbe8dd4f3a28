"""Proofs of concept: an assumption that is to be proved comes to a task of its own, before the task
that takes it for granted.

    T-proof -> T                       it holds
    T-proof -> T-proof/adapt -> T      it does not, and the plan is changed first
    T-proof -> T-proof/consult -> T    it does not, and a role has said how to go on

The proof is a task as any other, so it is scheduled, launched, verified and shown as one. What
follows when the assumption is disproved comes as the patch of the check that found it. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fleet.core.plan import Need, NeedsChange, Patch, Step
from fleet.errors import Problem, did_you_mean
from fleet.files.adapting import adapt_step
from fleet.files.consulting import consult_step
from fleet.files.documents import Assumption, Check, Estimate, Proof, Proves, TaskDocument
from fleet.files.names import id_problem, proof_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleet.files.fleet import Fleet

DISPROVED = "disproved"
"""The label of a check that has found that an assumption does not hold, where something follows."""


def with_proofs(fleet: Fleet, problems: list[Problem]) -> Fleet:
    """Returns the fleet with a task for each assumption that has a proof, which the assuming task
    depends on; adds what does not hold.
    """
    tasks, origins = dict(fleet.tasks), dict(fleet.origins)
    members = {phase.id: list(phase.tasks) for phase in fleet.phases}
    for task in fleet.tasks.values():
        made: list[str] = []
        which = 0
        for number, assumption in enumerate(task.assumptions):
            if assumption.proof is None:
                continue
            name = proof_id(task.id, which)
            which += 1
            path = ("assumptions", number, "proof")
            wrong = _wrong(fleet, name, assumption.proof)
            if wrong is not None:
                text, key, hint = wrong
                problems.append(Problem(text, fleet.place("task", task.id, *path, *key), hint))
                continue
            made.append(name)
            origins[name] = ("task", task.id, path)
            proof = _task(name, task, assumption, assumption.proof)
            tasks[name] = proof
            listed = members[proof.phase]
            listed.insert(listed.index(task.id) if task.id in listed else len(listed), name)
        if made:
            needs = (*task.dependencies, *made)
            tasks[task.id] = replace(task, dependencies=tuple(dict.fromkeys(needs)))
    if origins == fleet.origins:
        return fleet
    return replace(
        fleet,
        tasks=dict(sorted(tasks.items())),
        phases=tuple(replace(one, tasks=tuple(members[one.id])) for one in fleet.phases),
        origins=origins,
    )


def proof_facts(task: TaskDocument) -> dict[str, Any]:
    """Returns what a check, and whoever shows it, knows of the assumption; nothing of a task."""
    if task.proves is None:
        return {}
    assumption = task.proves.assumption
    assert assumption.proof is not None, "what proves has a proof"
    then = [{"adapt": one.adapt} if one.adapt else {"escalate": one.escalate}
            for one in assumption.on_failure if one.adapt or one.escalate]  # fmt: skip
    told = {"of": task.proves.task, "text": assumption.text, "then": then}
    return {"proof": {**told, "attempts": assumption.proof.attempts}}


def following(check: Step, why: str, waiting: Sequence[str]) -> Patch:
    """Returns what follows when an assumption is disproved: each step after the one before, and
    what waits for the proof after the last.
    """
    told: Any = check.params["proof"]
    name, need = str(check.params["task"]), Need(step=check.id, on=DISPROVED)
    text = f"{told['of']} takes for granted: {told['text']}\nThat does not hold: {why}"
    put: list[Step] = []
    for rung in told["then"]:
        step = f"{name}/{'adapt' if 'adapt' in rung else 'consult'}"
        if any(one.id == step for one in put):
            step = f"{step}.{len(put) + 1}"
        if "adapt" in rung:
            put.append(adapt_step(step, rung["adapt"], needs=[need], whole=name, why=text))
        else:
            question = f"{text}\nHow is {told['of']} to go on?"
            put.append(
                consult_step(
                    step, question, to=rung["escalate"], topic="proof", needs=[need], whole=name
                )
            )
        need = Need(step=step)
    moved = NeedsChange(add=(need,))
    return Patch(put=tuple(put), needs=dict.fromkeys(waiting, moved), reason=f"{name}: {why}"[:500])


def _wrong(fleet: Fleet, name: str, proof: Proof) -> tuple[str, tuple[str, ...], str] | None:
    """Returns what keeps a proof from being a task: the sentence, the key, the cure."""
    if any(other.lower() == name.lower() for other in fleet.tasks):
        return f"its task is to be {name!r}, which is there already", (), "rename that one"
    if id_problem(name):
        return f"its task is to be {name!r}, which {id_problem(name)}", (), "rename the task"
    phases = [phase.id for phase in fleet.phases]
    if proof.phase and proof.phase not in phases:
        hint = did_you_mean(proof.phase, phases) or "add it under phases: in coordination.md"
        return f"no phase {proof.phase!r}", ("phase",), hint
    return None


def _task(name: str, task: TaskDocument, assumption: Assumption, proof: Proof) -> TaskDocument:
    checks = [Check(command=proof.command)] if proof.command else []
    if proof.success is not None:
        checks.append(proof.success)
    ends = tuple(one for one in assumption.on_failure if one.ask or one.fail)
    return TaskDocument(
        id=name,
        name=proof.name or assumption.text,
        agent=proof.agent or "",
        phase=proof.phase or task.phase,
        priority=task.priority,
        branch=f"fleet/{name}",
        days=proof.days or Estimate(likely=1.0 if proof.agent else 0.0),
        estimated=proof.days is not None,
        dependencies=tuple(dict.fromkeys(proof.needs)),
        checks=tuple(checks),
        evidence=proof.evidence,
        setup=task.setup,
        teardown=task.teardown,
        copy=task.copy,
        on_failure=ends[:1],
        body=proof.body or _brief(task, assumption, checks),
        proves=Proves(task=task.id, assumption=assumption),
    )


def _brief(task: TaskDocument, assumption: Assumption, checks: Sequence[Check]) -> str:
    """Returns what an agent is told whose proof has no words of its own."""
    decides = "\n".join(f"- {one.text}" for one in checks)
    return (
        f"`{task.id}` takes this for granted, and nobody has shown it yet:\n\n"
        f"> {' '.join(assumption.text.split())}\n\n"
        "Find out whether it holds, with as little as that takes, and leave what shows it. "
        f"An honest no is a good result. This decides:\n\n{decides}"
    )
