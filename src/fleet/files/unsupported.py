"""What documents may say by their form but this version does not carry out: refused, never ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.errors import Problem

if TYPE_CHECKING:
    from fleet.files.fleet import Fleet


def not_carried_out(fleet: Fleet) -> list[Problem]:
    """Returns a problem, with its place, for every such key that a document holds."""
    found: list[Problem] = []

    def refuse(kind: str, name: str, key: str, what: str) -> None:
        found.append(
            Problem(f"{what} is not carried out by this version", fleet.place(kind, name, key))
        )

    for task in fleet.tasks.values():
        if task.verifies:
            refuse("task", task.id, "verifies", "`verifies`")
        if any(one.proof for one in task.assumptions):
            refuse("task", task.id, "assumptions", "an assumption's `proof`")
        if any(one.agent for one in task.checks):
            refuse("task", task.id, "checks", "a check by an agent")
        if any(rung.agent or rung.model or rung.adapt or rung.escalate for rung in task.on_failure):
            refuse("task", task.id, "on_failure", "another rung than `ask` or `fail`")
    for agent in fleet.agents.values():
        if agent.sandbox.kind != "none":
            refuse("agent", agent.id, "sandbox", "`sandbox`")
    for phase in fleet.phases:
        if phase.land == "pr":
            refuse("fleet", "phases", phase.id, "`land: pr`")
    return found
