"""What documents may say by form but this version does not carry out: refused, never ignored.

Risks, decisions, evidence, `owns` and a metric without `measure` are there to be read, by people
and in briefs, so they are not among these; a phase's `rollback` is run when a person asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fleet.errors import Problem
from fleet.files.tasks import budget

if TYPE_CHECKING:
    from fleet.files.documents import AgentDocument, Assumption, Rung, TaskDocument
    from fleet.files.fleet import Fleet

Found = Iterator[tuple[tuple[str | int, ...], str]]
"""Where a key stands in its document, and what it is called before people."""

SETTINGS = (
    "escalations", "loops", "patches", "envelope", "checkpoints", "mcp_servers", "functions",
    "notify",
)  # fmt: skip
"""Keys of coordination.md that nothing obeys yet."""

MEASURED = {
    "claude": ("tokens", "usd"),
    "codex": ("tokens",),
    "opencode": ("tokens", "usd"),
    "gemini": ("tokens",),
    "copilot": ("tokens",),
    "aider": ("tokens",),
    "mini": ("tokens",),
}
"""Harness -> what it tells of a headless attempt's usage; only that can be held to a budget."""


def not_carried_out(fleet: Fleet) -> list[Problem]:
    """Returns a problem, with its place, for every such key that a document holds."""
    found = [
        ("task", one.id, *told)
        for one in fleet.tasks.values()
        for told in _of_task(one, fleet.agents.get(one.agent))
    ]
    found += [("agent", one.id, *told) for one in fleet.agents.values() for told in _of_agent(one)]
    found += [("fleet", "", *told) for told in _of_settings(fleet)]
    return [
        Problem(
            f"{what} is not carried out by this version",
            fleet.place(kind, name, *path),
            "take it out",
        )
        for kind, name, path, what in found
    ]


def _of_task(task: TaskDocument, agent: AgentDocument | None) -> Found:
    if task.branch and "/" not in task.branch and agent is not None and _is_shut_in(agent):
        # What a commit writes is the branch's folder, which it would share with the base.
        yield ("branch",), "a sandboxed agent's branch outside a folder, such as `fleet/`,"
    if task.verifies:
        yield ("verifies",), "`verifies`"
    for number, assumption in enumerate(task.assumptions):
        yield from _of_assumption(assumption, number)
    for number, check in enumerate(task.checks):
        if check.agent:
            yield ("checks", number), "a check by an agent"
    for number, rung in enumerate(task.on_failure):
        if _is_later(rung):
            yield ("on_failure", number), "another rung than `ask` or `fail`"
        elif number:
            yield ("on_failure", number), "a rung after `ask` or `fail`"


def _is_shut_in(agent: AgentDocument) -> bool:
    return agent.sandbox.kind != "none"


def _is_later(rung: Rung) -> bool:
    return bool(rung.agent or rung.model or rung.adapt or rung.escalate)


def _of_assumption(assumption: Assumption, number: int) -> Found:
    if assumption.proof:
        yield ("assumptions", number, "proof"), "an assumption's `proof`"
    elif assumption.on_failure:
        yield ("assumptions", number, "on_failure"), "an assumption's `on_failure`"


def _of_agent(agent: AgentDocument) -> Found:
    # bwrap gives a sandbox all of the machine's network or none of it: nothing between is held.
    if _is_shut_in(agent) and agent.sandbox.network not in {"none", "full"}:
        named = "loopback" if agent.sandbox.network == "loopback" else "hosts"
        yield ("sandbox", "network"), f"`network: {named}`, between `none` and `full`,"
    program = agent.harness if isinstance(agent.harness, str) else ""
    for name in budget(agent):
        if name not in MEASURED.get(program, ()):
            yield ("limits", name), f"the limit `{name}` for a harness that does not tell it"
        elif agent.mode == "interactive":
            yield ("limits", name), f"the limit `{name}` for an interactive agent"


def _of_settings(fleet: Fleet) -> Found:
    named = [phase for phase in fleet.phases if not phase.implicit]
    for number, phase in enumerate(named):
        if phase.land == "pr":
            yield ("phases", number, "land"), "`land: pr`"
        for index, check in enumerate(phase.checks):
            if check.agent:
                yield ("phases", number, "checks", index), "a check by an agent"
    for number, metric in enumerate(fleet.settings.metrics):
        if metric.measure:
            yield ("metrics", number, "measure"), "`measure` of a metric of the whole fleet"
    for name in SETTINGS:
        if getattr(fleet.settings, name):
            yield (name,), f"`{name}`"
