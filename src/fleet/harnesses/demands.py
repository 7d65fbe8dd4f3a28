"""What the documents ask of agent programs: that somebody drives them, and that they have it.

Asked before a plan is taken up, for the first time or after an edit, so that a run never comes to
hold what could not start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from fleet.errors import InvalidPlan, NotFound, Problem, did_you_mean
from fleet.files.harnesses import names_placeholder
from fleet.harnesses import HARNESSES, find_harness, policies

if TYPE_CHECKING:
    from fleet.files.documents import AgentDocument
    from fleet.files.load import Fleet
    from fleet.harnesses.profile import Profile


CLIENT: Final = "mcp"
PROGRAMS: Final = ("model", "args", "env", "secrets", "permissions")
"""What an agent says of its program; a client of `fleet mcp` is nobody's program."""


def require(fleet: Fleet) -> None:
    """Raises InvalidPlan with all that is asked for and not there."""
    problems = unmet(fleet)
    if problems:
        raise InvalidPlan(problems)


def unmet(fleet: Fleet) -> list[Problem]:
    """Returns a problem, with its place, for every agent whose program nobody can drive, or that
    asks of it what it does not have; and for every harness that takes the name of a known one.
    """
    found = [
        Problem(
            f"harness {name!r} is there already",
            fleet.place("harness", name),
            f"call it otherwise, such as {name}-mine",
        )
        for name in fleet.harnesses
        if name in HARNESSES
    ]
    for agent in fleet.agents.values():
        found += _of_client(fleet, agent) if agent.harness == CLIENT else _unheld(fleet, agent)
        try:
            harness = find_harness(agent.harness, agent.profile.profile if agent.profile else None)
        except NotFound as missing:
            place = fleet.place("agent", agent.id, "harness")
            near = did_you_mean(missing.name, [*missing.choices, *fleet.harnesses])
            hint = near or f"{missing.hint}; or write harnesses/{missing.name}.yaml"
            found.append(Problem(missing.text, place, hint))
            continue
        profile = getattr(harness, "profile", None)
        if profile is not None:
            found += _of_agent(fleet, agent, profile)
    return found


def _of_client(fleet: Fleet, agent: AgentDocument) -> Iterator[Problem]:
    """Yields what is said of an agent that is a client of `fleet mcp`, and held by nobody: fleet
    neither starts it nor shuts it in.
    """
    written = fleet.raws["agent", agent.id].values
    for key in [name for name in PROGRAMS if name in written]:
        text = f"{key!r} of an agent that is a client of fleet mcp: fleet does not start it"
        yield Problem(text, fleet.place("agent", agent.id, key), "take it out")
    if agent.mode == "interactive":
        text = "a client of fleet mcp has no terminal"
        yield Problem(text, fleet.place("agent", agent.id, "mode"), "take `mode` out")
    if agent.sandbox.kind != "none":
        text = f"agent {agent.id!r} is a client of fleet mcp, which no sandbox shuts in"
        yield Problem(text, fleet.place("agent", agent.id, "sandbox"), "sandbox: none")
    if agent.policy.deny:
        text = f"agent {agent.id!r} is a client of fleet mcp, which is held to no pattern"
        yield Problem(text, fleet.place("agent", agent.id, "permissions"), "take `deny` out")


def _of_agent(fleet: Fleet, agent: AgentDocument, profile: Profile) -> Iterator[Problem]:
    """Yields what an agent asks of its program that the program does not have."""
    name, mode, asked = agent.harness, agent.mode or "headless", agent.permissions or "edits"
    kept = profile.permitted(mode)
    if profile.mode(mode) is None:
        other = "interactive" if mode == "headless" else "headless"
        place = fleet.place("agent", agent.id, "mode")
        yield Problem(f"{name} has no mode {mode!r}", place, f"mode: {other}")
    elif asked not in kept:
        text = f"{name} cannot keep to permissions {asked!r} {mode}"
        hint = f"{mode} it keeps to {', '.join(sorted(kept)) or 'none'}"
        yield Problem(text, fleet.place("agent", agent.id, "permissions"), hint)
    for key in ("model", "args"):
        if agent.profile and getattr(agent, key) and not names_placeholder(agent.profile, key):
            text = f"{name} hands no {key} to its program"
            hint = f"name {{{key}}} in harnesses/{name}.yaml"
            yield Problem(text, fleet.place("agent", agent.id, key), hint)


def _unheld(fleet: Fleet, agent: AgentDocument) -> Iterator[Problem]:
    """Yields the problem of patterns that an agent's program cannot be held to."""
    written = fleet.raws["agent", agent.id].values.get("permissions") or {}
    told = {"deny": agent.policy.deny, "allow": written.get("allow")}
    mode, asked = agent.mode or "headless", agent.permissions or "edits"
    refused = policies.refusal(agent.harness, mode, asked, told)
    if refused is None:
        return
    key, text, hint = refused
    if key in written:
        yield Problem(text, fleet.place("agent", agent.id, "permissions", key), hint)
    else:
        place = fleet.place("fleet", "", "defaults", "permissions", key)
        yield Problem(f"agent {agent.id!r}: {text}", place, hint)
