"""The plan: a graph of steps with limits, and the patch that changes one.

Everything that a document can say is lowered into these values, and nothing else may run work. They
are frozen, hold plain JSON values only, and know nothing of git, tmux, agents, phases or campaigns:
`kind` is a name, `params` and `about` are opaque here. `check` proves a whole plan; a patch is
proved against a live run in `decide`, because what it may touch depends on what has started.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import StrEnum

from fleet.errors import InvalidPlan, Problem, did_you_mean
from fleet.records import record

JOIN = "join"
"""The kind of a step without an attempt: it settles when its needs do."""

SUCCEEDED, FAILED, SETTLED = "succeeded", "failed", "settled"
"""The conditions of a need that are not a branch label."""

PER_MINUTE, MINUTE_MS = "/min", 60_000
"""A limit whose name ends so bounds the starts of its users in any minute, not their number."""

NEVER = 1 << 62
"""When a rest without an end is over, in milliseconds of the epoch."""

PERSON, QUESTION = "person", "question"
"""Whoever looks at the inbox; the param in which a step that answers finds a question's id."""


class Failure(StrEnum):
    """Whose fault a failed attempt is; only `TASK` failures spend a task's attempts."""

    TASK = "task"
    AGENT = "agent"
    ACCOUNT = "account"
    INFRA = "infra"


ANY_FAILURE = frozenset(Failure)


@record()
class Need:
    """An edge: `step` must have ended as `on` says (succeeded, failed, settled, or a branch
    label).
    """

    step: str
    on: str = SUCCEEDED


@record()
class Retry:
    """A rung: try again, `times` at most, after `backoff_ms` that doubles up to `cap_ms`."""

    times: int
    backoff_ms: int = 0
    cap_ms: int = 300_000
    on: frozenset[Failure] = frozenset({Failure.TASK})


@record()
class Swap:
    """A rung: try once more with other params (another agent or model), and what these use."""

    params: Mapping[str, object]
    uses: Mapping[str, int] | None = None
    on: frozenset[Failure] = frozenset({Failure.TASK})


@record()
class Revise:
    """A rung: apply a named change of the plan; the step itself then counts as failed."""

    patch: Patch
    on: frozenset[Failure] = frozenset({Failure.TASK})


@record()
class Ask:
    """A rung: ask a person or an agent's role how to go on."""

    message: str
    whom: str = "person"
    topic: str = ""
    choices: tuple[str, ...] = ("retry", "skip", "fail")
    on: frozenset[Failure] = ANY_FAILURE


Rung = Retry | Swap | Revise | Ask


@record()
class Loops:
    """How often the same is asked until it is a loop; the first Revise that may be, or Ask."""

    after: int = 3
    then: tuple[Revise | Ask, ...] = ()


@record()
class Step:
    """The smallest thing that is started, ends and is tried again.

    `whole` names the composite that it is part of (a task, a phase); `span_ms` is how long it is
    expected to run and only orders what starts first; `released=False` waits for a ReleaseStep.
    """

    id: str
    kind: str
    params: Mapping[str, object] = field(default_factory=dict)
    needs: tuple[Need, ...] = ()
    uses: Mapping[str, int] = field(default_factory=dict)
    ladder: tuple[Rung, ...] = ()
    span_ms: int = 0
    whole: str = ""
    released: bool = True


@record()
class Route:
    """Whose a question is that is for anybody and of this topic, kind and severity (empty: of any);
    where a route says none of them, one for `whom` by name. `steps` are put into the plan to answer
    each question; after `limit_ms` it climbs to the next route.
    """

    whom: str
    topic: str = ""
    kind: str = ""
    severity: str = ""
    steps: tuple[Step, ...] = ()
    limit_ms: int | None = None


@record()
class Plan:
    """A graph of steps, in the order in which they were written, with its limits.

    `budgets` are what the users of a limit may spend in the whole run: limit -> name -> amount.
    """

    name: str
    steps: Mapping[str, Step]
    limits: Mapping[str, int] = field(default_factory=dict)
    budgets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    about: Mapping[str, object] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    loops: Loops = field(default_factory=Loops)


@record()
class NeedsChange:
    """What a patch does to the needs of a step that stays."""

    add: tuple[Need, ...] = ()
    remove: tuple[str, ...] = ()


@record()
class Patch:
    """A change to a plan: steps put (new, or in place of unstarted ones), dropped, needs moved.

    `stop` lists running steps that are to be ended and to count as unstarted again, and steps whose
    ladder asks, which then have failed; a budget without amounts is one that is lifted. `basis` is
    what the plan was made of that the patch was worked out against, empty where that is all one.
    """

    put: tuple[Step, ...] = ()
    drop: tuple[str, ...] = ()
    needs: Mapping[str, NeedsChange] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    budgets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    about: Mapping[str, object] = field(default_factory=dict)
    routes: tuple[Route, ...] | None = None
    loops: Loops | None = None
    reason: str = ""
    basis: str = ""


def basis_of(about: Mapping[str, object]) -> str:
    """Returns what a plan was made of, by the digest that its `about` gives; empty for none."""
    return str(about.get("basis") or about.get("digest") or "")


def plan_of(name: str, steps: Iterable[Step], **rest: object) -> Plan:
    """Returns the plan of `steps` in their order; raises InvalidPlan when an id stands twice."""
    found: dict[str, Step] = {}
    problems = []
    for step in steps:
        if step.id in found:
            problems.append(Problem(f"step {step.id!r} is there twice"))
        found[step.id] = step
    if problems:
        raise InvalidPlan(problems)
    return Plan(name=name, steps=found, **rest)  # type: ignore[arg-type]


def check(plan: Plan) -> None:
    """Proves that needs exist, that there is no circle and that limits can be met; else
    InvalidPlan.
    """
    problems: list[Problem] = []
    for step in plan.steps.values():
        problems += step_problems(step, plan.steps, plan.limits)
    if not problems:
        ring = circle({s.id: tuple(n.step for n in s.needs) for s in plan.steps.values()})
        if ring:
            problems.append(Problem(f"steps need each other in a circle: {' -> '.join(ring)}"))
    if problems:
        raise InvalidPlan(problems)


def step_problems(
    step: Step, known: Mapping[str, object], limits: Mapping[str, int]
) -> list[Problem]:
    """Returns what is wrong with one step among the `known` ids: unknown needs, uses over a
    limit.
    """
    problems = []
    if not step.id or not step.kind:
        problems.append(Problem(f"step {step.id!r} must have an id and a kind"))
    if step.id.startswith("?"):
        problems.append(Problem(f"step {step.id!r} may not begin with '?', as questions do"))
    for need in step.needs:
        if need.step not in known:
            hint = did_you_mean(need.step, known)
            problems.append(
                Problem(f"step {step.id!r} needs {need.step!r}, which is not there", hint=hint)
            )
    for name, units in step.uses.items():
        if units < 1:
            problems.append(Problem(f"step {step.id!r} uses {units} of {name!r}; at least 1"))
        elif name in limits and units > limits[name]:
            problems.append(
                Problem(f"step {step.id!r} uses {units} of {name!r}, which has only {limits[name]}")
            )
    return problems


def circle(needs: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Returns one circle in a graph of node -> nodes that it needs, first node repeated, or ().

    Depth-first search with an explicit stack (chains may be 100,000 long); a need outside the graph
    is a leaf.
    """
    done: set[str] = set()
    for start in needs:
        if start in done:
            continue
        path: list[str] = [start]
        on_path = {start}
        branches = [iter(needs[start])]
        while branches:
            for node in branches[-1]:
                if node in on_path:
                    return (*path[path.index(node) :], node)
                if node not in done and node in needs:
                    path.append(node)
                    on_path.add(node)
                    branches.append(iter(needs[node]))
                    break
            else:
                branches.pop()
                left = path.pop()
                on_path.discard(left)
                done.add(left)
    return ()
