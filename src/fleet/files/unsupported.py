"""What documents may say by form but this version does not carry out: refused, never ignored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fleet.errors import Problem

if TYPE_CHECKING:
    from fleet.files.documents import AgentDocument, TaskDocument
    from fleet.files.fleet import Fleet

SETTINGS = (
    "escalations", "loops", "patches", "envelope", "checkpoints", "mcp_servers", "functions",
    "notify",
)  # fmt: skip
"""Keys of coordination.md that nothing obeys yet."""


def not_carried_out(fleet: Fleet) -> list[Problem]:
    """Returns a problem, with its place, for every such key that a document holds."""
    found = [("task", one.id, *told) for one in fleet.tasks.values() for told in _of_task(one)]
    found += [("agent", one.id, *told) for one in fleet.agents.values() for told in _of_agent(one)]
    found += [("fleet", "", *told) for told in _of_settings(fleet)]
    return [
        Problem(f"{what} is not carried out by this version", fleet.place(kind, name, key))
        for kind, name, key, what in found
    ]


def _of_task(task: TaskDocument) -> Iterator[tuple[str, str]]:
    if task.verifies:
        yield "verifies", "`verifies`"
    if any(one.proof for one in task.assumptions):
        yield "assumptions", "an assumption's `proof`"
    if any(one.agent for one in task.checks):
        yield "checks", "a check by an agent"
    if task.teardown:
        yield "teardown", "`teardown`"
    if any(rung.agent or rung.model or rung.adapt or rung.escalate for rung in task.on_failure):
        yield "on_failure", "another rung than `ask` or `fail`"


def _of_agent(agent: AgentDocument) -> Iterator[tuple[str, str]]:
    if agent.sandbox.kind != "none":
        yield "sandbox", "`sandbox`"
    for name in ("tokens", "launches_per_minute"):
        if getattr(agent.limits, name) is not None:
            yield "limits", f"the limit `{name}`"


def _of_settings(fleet: Fleet) -> Iterator[tuple[str, str]]:
    if any(phase.land == "pr" for phase in fleet.phases):
        yield "phases", "`land: pr`"
    for name in SETTINGS:
        if getattr(fleet.settings, name):
            yield name, f"`{name}`"
