"""Who is asked: routes from questions to agents and people, and the steps that ask or answer.

    escalations: [{topic | kind | severity, to: ROLE | AGENT | @NAME | person, within: 30m}]

`person`, and a name that begins with `@`, is a person's; anything else is an agent's id or a role
that an agent has, else an error. Each agent that is named answers by steps of its own,

    Q/brief -> Q/work -> Q/answer

which the kernel puts into the plan for each question Q that goes its way. Pure: nothing is asked or
answered here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from fleet.core.plan import PERSON, Need, Retry, Route, Step
from fleet.errors import Problem, did_you_mean
from fleet.files.tasks import Texts, agent_params
from fleet.files.trouble import TROUBLE
from fleet.files.uses import agent_starts, agent_uses

if TYPE_CHECKING:
    from fleet.files.documents import AgentDocument, Rung
    from fleet.files.fleet import Fleet

KINDS: Final = (
    "text", "choice", "confirm", "number", "escalate", "escalation", "loop", "approval", "approve",
    "budget", "quarantine",
)  # fmt: skip
"""What questions there are, as `kind` of an escalation names them."""

TRIES: Final = 2
"""How often an agent may say something that is no answer before somebody else is asked."""


def is_person(name: str) -> bool:
    """Returns whether a name is a person's, for whom no agent answers."""
    return name == PERSON or name.startswith("@")


def player_of(fleet: Fleet, name: str) -> AgentDocument | None:
    """Returns the agent of that id, else the first agent, by id, that has the role."""
    playing = [one for one in fleet.agents.values() if name in one.roles]
    return fleet.agents.get(name) or next(iter(playing), None)


def routes_of(fleet: Fleet, texts: Texts) -> tuple[Route, ...]:
    """Returns where the questions of a fleet's runs go: those that name an agent or a role, then
    the escalations in their order.
    """
    told = fleet.settings.escalations
    names = [str(one["to"]) for one in told]
    names += [rung.escalate for rung, *_ in _rungs(fleet) if rung.escalate]
    names += [str(one.get("escalate") or "") for one in fleet.settings.loops.get("then") or ()]
    steps: dict[str, tuple[Step, ...]] = {}
    for name in names:
        agent = None if is_person(name) else player_of(fleet, name)
        if agent is not None and name not in steps:
            uses = {**agent_uses(agent), **agent_starts(fleet, agent), "agents": 1}
            steps[name] = answering_steps(
                agent_params(fleet, agent, texts),
                uses,
                rules=texts.keep(fleet.settings.rules),
                timeout_s=_seconds(agent.limits.timeout_ms),
                idle_s=_seconds(agent.limits.idle_ms),
            )
    limits = {str(one["to"]): one["within_ms"] for one in reversed(told) if "within_ms" in one}
    return (
        *by_name(steps, limits),
        *(
            Route(
                whom=str(one["to"]),
                topic=one.get("topic", ""),
                kind=one.get("kind", ""),
                severity=one.get("severity", ""),
                steps=steps.get(str(one["to"]), ()),
                limit_ms=one.get("within_ms"),
            )
            for one in told
        ),
    )


def routes_of_run(fleet: Fleet, bundle: Mapping[str, Any], texts: Texts) -> tuple[Route, ...]:
    """Returns where the questions of a workflow's run go: those for its roles, as this run says who
    plays them, then as all others of the fleet.
    """
    from fleet.files.flows.documents import walk

    found: dict[str, tuple[Step, ...]] = {}
    for form in bundle["workflows"].values():
        for _, step in walk(form["steps"]):
            name = str(step.get("to") or "").removeprefix("@") if step["type"] == "escalate" else ""
            told = bundle["agents"].get(name)
            if told is not None:
                found[name] = answering_steps(
                    told["agent"],
                    told["uses"],
                    rules=bundle.get("rules", ""),
                    timeout_s=told["timeout_s"],
                    idle_s=told["idle_s"],
                )
    return (*by_name(found, {}), *routes_of(fleet, texts))


def by_name(steps: Mapping[str, tuple[Step, ...]], limits: Mapping[str, int]) -> tuple[Route, ...]:
    """Returns the routes of questions that ask for somebody by name, from who answers how, and in
    which time.
    """
    return tuple(
        Route(whom=name, steps=found, limit_ms=limits.get(name)) for name, found in steps.items()
    )


def answering_steps(
    agent: dict[str, Any],
    uses: dict[str, int],
    *,
    rules: str,
    timeout_s: float | None = None,
    idle_s: float | None = None,
) -> tuple[Step, ...]:
    """Returns the steps by which an agent answers a question, as a route holds them."""
    trouble = Retry(times=2, backoff_ms=2_000, on=TROUBLE)
    return (
        Step(id="brief", kind="inquiry", params={"agent": agent["id"]}, ladder=(trouble,)),
        Step(
            id="work",
            kind="agent",
            params={
                "name": "A question for you",
                "agent": agent,
                "rules": rules,
                "answers": True,
                "timeout_s": timeout_s,
                "idle_s": idle_s,
            },
            needs=(Need(step="brief"),),
            uses=uses,
            ladder=(Retry(times=TRIES - 1), trouble),
        ),
        Step(id="answer", kind="answer", needs=(Need(step="work"),), ladder=(trouble,)),
    )


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


# --- what is wrong --------------------------------------------------------------------------------


def escalations_hold(fleet: Fleet) -> Iterator[Problem]:
    """Yields each name that is neither a person's nor any agent's or role's, and each kind of
    question that there is not.
    """
    if ("fleet", "") in fleet.broken:
        return
    for number, one in enumerate(fleet.settings.escalations):
        at = ("escalations", number)
        if one.get("kind", KINDS[0]) not in KINDS:
            place = fleet.place("fleet", "", *at, "kind")
            hint = did_you_mean(one["kind"], KINDS) or f"one of: {', '.join(KINDS)}"
            yield Problem(f"no question is of the kind {one['kind']!r}", place, hint)
        yield from _known(fleet, str(one["to"]), "fleet", "", *at, "to")
    for number, one in enumerate(fleet.settings.loops.get("then") or ()):
        if one.get("escalate"):
            yield from _known(fleet, one["escalate"], "fleet", "", "loops", "then", number)
    for rung, kind, name, path in _rungs(fleet):
        if rung.escalate:
            yield from _known(fleet, rung.escalate, kind, name, *path)


def _rungs(fleet: Fleet) -> Iterator[tuple[Rung, str, str, tuple[str | int, ...]]]:
    """Yields each rung of a task or an assumption with where it stands: document and path."""
    for task in fleet.tasks.values():
        found: list[tuple[Iterable[Rung], tuple[str | int, ...]]] = [
            (task.on_failure, ("on_failure",))
        ]
        found += [
            (assumption.on_failure, ("assumptions", number, "on_failure"))
            for number, assumption in enumerate(task.assumptions)
        ]
        for rungs, path in found:
            for number, rung in enumerate(rungs):
                yield rung, "task", task.id, (*path, number)


def _known(
    fleet: Fleet, name: str, kind: str, document: str, *path: str | int
) -> Iterator[Problem]:
    if is_person(name) or player_of(fleet, name) is not None or fleet.is_known("agent", name):
        return
    roles = [role for agent in fleet.agents.values() for role in agent.roles]
    hint = did_you_mean(name, [*fleet.agents, *roles])
    yield Problem(
        f"no agent has the role {name!r}, or is called so",
        fleet.place(kind, document, *path),
        hint or f"write role: {name} in agents/, or @{name} for a person",
    )
