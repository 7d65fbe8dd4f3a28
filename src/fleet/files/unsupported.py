"""What documents may say by form but this version does not carry out: refused, never ignored.

Risks, decisions, `owns` and a metric without `measure` are there to be read, by people and in
briefs, so they are not among these; a phase's `rollback` is run when a person asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fleet.errors import Problem
from fleet.files.escalations import is_person, player_of
from fleet.files.uses import account_of, budget

if TYPE_CHECKING:
    from fleet.files.documents import AgentDocument, Assumption, TaskDocument
    from fleet.files.fleet import Fleet

Found = Iterator[tuple[tuple[str | int, ...], str]]
"""Where a key stands in its document, and what it is called before people."""

SETTINGS = ("notify",)
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

SEEN = {**MEASURED, "claude": ("tokens",)}
"""The same of sessions in a terminal, whose usage is read from what the program keeps."""


def not_carried_out(fleet: Fleet) -> list[Problem]:
    """Returns a problem, with its place, for every such key that a document holds."""
    found = [
        ("task", one.id, *told)
        for one in fleet.tasks.values()
        for told in (*_of_task(one, fleet.agents.get(one.agent)), *_of_verifier(fleet, one))
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
    for number, assumption in enumerate(task.assumptions):
        yield from _of_assumption(assumption, number)
    for number, check in enumerate(task.checks):
        if isinstance(check.verdict, str):
            yield ("checks", number, "verdict"), "the form of a verdict in a file of its own"
        elif check.agent and task.verifies:
            yield ("checks", number), "a check by an agent of a task that verifies others"
    for number, rung in enumerate(task.on_failure):
        before = task.on_failure[:number]
        if any(one.ask or one.fail or one.escalate for one in before):
            yield ("on_failure", number), "a rung after one with which a ladder ends"
        elif (rung.agent or rung.model) and any(one.adapt for one in before):
            yield ("on_failure", number), "another agent or model after `adapt`"


def _of_verifier(fleet: Fleet, task: TaskDocument) -> Found:
    for number, name in enumerate(task.verifies):
        if fleet.tasks[name].verifies:
            yield ("verifies", number), "to verify a verifier"
    if task.verifies and not task.agent:
        for number, deliverable in enumerate(task.deliverables):
            if deliverable.command is None:
                yield ("deliverables", number), "a deliverable of a verifier without an agent"


def _is_shut_in(agent: AgentDocument) -> bool:
    return agent.sandbox.kind != "none"


def _of_assumption(assumption: Assumption, number: int) -> Found:
    path, rungs = ("assumptions", number, "on_failure"), assumption.on_failure
    if rungs and assumption.proof is None:
        yield path, "an assumption's `on_failure` without a `proof`"
        return
    for index, rung in enumerate(rungs):
        if rung.agent or rung.model:
            yield (*path, index), "another rung of an assumption than adapt, escalate, ask or fail"
    if len(rungs) > 1 and any(rung.ask or rung.fail for rung in rungs):
        yield (*path, 1), "`ask` or `fail` beside another rung of an assumption"


def _of_agent(agent: AgentDocument) -> Found:
    if _is_shut_in(agent) and agent.sandbox.network == "loopback":
        # Which ports there are is not known before, and each is carried apart.
        yield ("sandbox", "network"), "`network: loopback` without its ports (`127.0.0.1:8080`)"
    for name in budget(agent.limits):
        if name not in _told_by(agent):
            yield ("limits", name), f"the limit `{name}` for {_untold_by(agent)}"


def _told_by(agent: AgentDocument) -> tuple[str, ...]:
    program = _reader_of(agent)
    if agent.profile is not None and agent.mode != "interactive":
        return agent.profile.measures
    return (SEEN if agent.mode == "interactive" else MEASURED).get(program, ())


def _reader_of(agent: AgentDocument) -> str:
    """Returns the program whose output an agent's is read as; empty for none that is known."""
    named = agent.profile.profile.get("reads") if agent.profile is not None else agent.harness
    return named if isinstance(named, str) else ""


def _untold_by(agent: AgentDocument) -> str:
    program = _reader_of(agent)
    known = agent.mode == "interactive" and program in MEASURED
    return "an interactive agent" if known else "a harness that does not tell it"


def _of_accounts(fleet: Fleet) -> Found:
    for account, told in fleet.settings.accounts.items():
        users = [one for one in fleet.agents.values() if account_of(one) == account]
        if not users:
            yield ("accounts", account), f"the account `{account}`, on which no agent works,"
        for name in budget(told):
            for agent in users:
                if name not in _told_by(agent):
                    what = f"the limit `{name}` of an account with {agent.id}, {_untold_by(agent)},"
                    yield ("accounts", account, name), what
                    break


def _of_settings(fleet: Fleet) -> Found:
    yield from _of_accounts(fleet)
    for number, one in enumerate(fleet.settings.escalations):
        answers = None if is_person(str(one["to"])) else player_of(fleet, str(one["to"]))
        if answers is not None and _is_shut_in(answers):
            yield ("escalations", number, "to"), "the sandboxed agent of a role that answers"
    named = [phase for phase in fleet.phases if not phase.implicit]
    for number, phase in enumerate(named):
        if phase.land == "pr" and phase.merge == "auto":
            # A pull request needs the log-in of a person, who is not there when a gate opens.
            yield ("phases", number, "merge"), "`merge: auto` with `land: pr`"
        for index, check in enumerate(phase.checks):
            if check.agent:
                yield ("phases", number, "checks", index), "a check by an agent"
    for number, metric in enumerate(fleet.settings.metrics):
        if metric.measure:
            yield ("metrics", number, "measure"), "`measure` of a metric of the whole fleet"
    for name in SETTINGS:
        if getattr(fleet.settings, name):
            yield (name,), f"`{name}`"
