"""What the work of an agent takes: units of its own, of its account's, launches, what it may spend.

Pure: documents in, limits and uses by name out. What a step does with them is the kernel's affair.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fleet.core.plan import PER_MINUTE

if TYPE_CHECKING:
    from fleet.files.documents import AccountLimits, AgentDocument, AgentLimits, TaskDocument
    from fleet.files.fleet import Fleet


def agent_uses(agent: AgentDocument) -> dict[str, int]:
    """Returns what an agent's work takes besides a place among all agents: one of its own sessions
    and one of its account's.
    """
    return {f"agent:{agent.id}": 1, f"account:{account_of(agent)}": 1}


def task_uses(fleet: Fleet, task: TaskDocument) -> dict[str, int]:
    """Returns what a task takes besides a place among all agents, as the schedule counts it."""
    agent = fleet.agents.get(task.agent)
    return {**(agent_uses(agent) if agent else {}), **task.uses}


def account_of(agent: AgentDocument) -> str:
    """Returns the account that an agent works on: as it says, else its harness's or program's."""
    if agent.profile is not None:
        return agent.account or agent.profile.account
    program = agent.harness if isinstance(agent.harness, str) else agent.harness[0]
    return agent.account or Path(program).name


def agent_starts(fleet: Fleet, agent: AgentDocument) -> dict[str, int]:
    """Returns the limits on launches, its own and its account's, that an agent's work counts to."""
    bounded = {*fleet.settings.limits, *own_limits(fleet)}
    names = [f"{name}{PER_MINUTE}" for name in agent_uses(agent)]
    return {name: 1 for name in names if name in bounded}


def own_limits(fleet: Fleet) -> dict[str, int]:
    """Returns what agents and accounts say of their sessions at once and of their launches in a
    minute, as limits.
    """
    found = {}
    for name, told in bounds(fleet).items():
        if told.sessions is not None:
            found[name] = told.sessions
        if told.launches_per_minute is not None:
            found[f"{name}{PER_MINUTE}"] = told.launches_per_minute
    return found


def bounds(fleet: Fleet) -> dict[str, AgentLimits | AccountLimits]:
    """Returns what agents and accounts are bounded by, by the limit that their work uses."""
    agents = {f"agent:{name}": agent.limits for name, agent in fleet.agents.items()}
    return {**agents, **{f"account:{n}": told for n, told in fleet.settings.accounts.items()}}


def budget(limits: AgentLimits | AccountLimits) -> dict[str, float]:
    """Returns what all attempts together may use in a run, nothing where that is not bounded."""
    told = {"tokens": limits.tokens, "usd": limits.usd}
    return {name: amount for name, amount in told.items() if amount is not None}
