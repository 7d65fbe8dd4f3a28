"""A list of a workflow's steps -> kernel steps, at a run's start and whenever a step expands.

A document step X lowers to kernel steps with `whole` X: an agent's `X.brief` -> X (in a worktree
of its own `X.tree` before them), `X.open` -> join X where it expands, X alone otherwise. A list
runs in order: each step needs the one before it, `needs` lifts one out. What an agent verifies
has `X.brief` -> `X.judge` before `X.open`. A scope begins with
`.start` and ends in the join `.end`; conditions and loops share the scope that they stand in.

`params.flow` of a kernel step: {bundle, of, at: where its document step stands, id, type, scope,
prefix, pos, agent, tools: whether an expression calls the fleet's own functions, uses}. `pos` is
its position in document order, loops unrolled: what expressions see is found by it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fleet.core.plan import JOIN, Failure, Need, Retry, Rung, Step
from fleet.files.flows.bundle import Bundle
from fleet.files.flows.documents import LISTS, step_at, writes

LAST: Final = 1 << 40
"""The position of a composite's join: behind whatever it expands to."""

EXPANDS: Final = {
    "condition": "choose", "while": "choose", "repeat": "choose", "foreach": "map",
    "workflow": "map", "verify": "verify",
}  # fmt: skip
"""Type -> the kind of the step that expands it before its join."""

KINDS: Final = {
    "set_state": "set", "return": "set", "shell": "shell", "mcp_call": "tool", "prompt": "ask",
    "approve": "ask", "escalate": "ask", "adapt": "ask", "delegate": "agent",
}  # fmt: skip


VERDICT: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["passed", "findings"],
    "properties": {
        "passed": {"type": "boolean"},
        "findings": {"type": "array", "items": {"type": "string"}},
    },
}
"""The form of what an agent says last that judges."""
CLIENT: Final = "client"
"""Before the dot of a tool: one that a client of `fleet mcp` has; also the agent that it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where a list of steps is lowered to: workflow, path of the list, scope, prefix of ids,
    position before it, the agent for steps that name none, and what each attempt uses besides.
    """

    bundle: str
    of: str
    at: tuple[str | int, ...] = ("steps",)
    scope: str = ""
    prefix: str = ""
    pos: tuple[int, ...] = ()
    agent: str = ""
    uses: Mapping[str, int] = field(default_factory=dict)
    run: str = ""
    round: int = 0


def lower_list(bundle: Bundle, spot: Spot, first: Sequence[str]) -> tuple[list[Step], list[str]]:
    """Returns the kernel steps of a list that begins behind the steps `first`, and those of its
    steps behind which nothing of the list stands: the last one in the document last.
    """
    form = bundle["workflows"][spot.of]
    steps: Sequence[Mapping[str, Any]] = step_at(form, spot.at)  # type: ignore[assignment]
    found: list[Step] = []
    ends: list[str] = []
    before = list(first)
    for number, step in enumerate(steps):
        main = spot.prefix + step["id"]
        needs = before
        if "needs" in step:
            needs = [spot.prefix + name for name in step["needs"]] or list(first)
        needs = list(dict.fromkeys([*needs, *_writers(steps, step, spot.prefix, needs)]))
        found += _lowered(bundle, spot, number, step, [Need(step=name) for name in needs])
        ends = [one for one in ends if one not in needs] + [main]
        before = [main]
    return found, ends or list(first)


def _writers(
    steps: Sequence[Mapping[str, Any]], step: Mapping[str, Any], prefix: str, needs: Sequence[str]
) -> list[str]:
    """Returns the steps earlier in the list that set what a step says that it waits for."""
    wanted = set(step.get("needs_state") or ())
    found = []
    for one in steps:
        if one is step:
            break
        if wanted.intersection(writes(one)) and prefix + one["id"] not in needs:
            found.append(prefix + one["id"])
    return found


def _lowered(
    bundle: Bundle, spot: Spot, number: int, step: Mapping[str, Any], needs: list[Need]
) -> list[Step]:
    main = spot.prefix + step["id"]
    form = bundle["workflows"][spot.of]
    flow = _flow(bundle, spot, number, step)
    kind = KINDS.get(step["type"])
    if step["type"] in EXPANDS or step.get("else"):
        if flow["type"] in ("while", "repeat"):
            flow.pop("round", None)
        judges = []
        if step["type"] == "verify" and role_of(bundle, step, ""):
            judges = judging_steps(bundle, flow, step, needs)
            needs = [Need(step=judges[-1].id)]
        decides = step["type"] == "verify" or step["type"] not in EXPANDS
        opener = Step(
            id=f"{main}.open",
            kind=EXPANDS.get(step["type"], "ask"),
            params={"flow": {**flow, "main": True} if decides else flow},
            needs=tuple(needs),
            ladder=MACHINE if step["type"] == "verify" else ladder_of(step),
            whole=main,
        )
        joined = {**flow, "pos": [*flow["pos"], LAST], "main": True}
        if step["type"] not in EXPANDS:
            joined["last"] = opener.id
        join = Step(
            id=main, kind=JOIN, params={"flow": joined}, needs=(Need(step=opener.id),), whole=main
        )
        return [*judges, opener, join]
    flow["main"] = True
    if kind == "agent" or is_client_call(step):
        return agent_steps(bundle, spot, flow, step, needs)
    assert kind is not None, step["type"]
    kind = "evaluate" if kind == "set" and flow.get("tools") else kind
    trees = []
    if kind == "shell" and (step.get("workspace") or form["workspace"]) == "worktree":
        trees = [_tree(bundle, spot, main, needs)]
        needs = [Need(step=trees[0].id), *needs]
    timeout_s = seconds(step.get("timeout_ms"))
    return [
        *trees,
        Step(
            id=main,
            kind=kind,
            params={"flow": flow, **({} if timeout_s is None else {"timeout_s": timeout_s})},
            needs=tuple(needs),
            uses=dict(spot.uses) if kind in ("shell", "tool") else {},
            ladder=ladder_of(step),
            whole=main,
        ),
    ]


def _flow(bundle: Bundle, spot: Spot, number: int, step: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a kernel step's params say of the workflow."""
    flow: dict[str, Any] = {
        "bundle": spot.bundle,
        "of": spot.of,
        "at": [*spot.at, number],
        "id": step["id"],
        "type": step["type"],
        "scope": spot.scope,
        "prefix": spot.prefix,
        "pos": [*spot.pos, number],
        "agent": spot.agent,
    }
    if spot.round:
        flow["round"] = spot.round
    if spot.uses:
        flow["uses"] = dict(spot.uses)
    if step.get("output_to"):
        flow["out"] = step["output_to"]
    if _calls(bundle, step):
        flow["tools"] = True
    return flow


def role_of(bundle: Bundle, step: Mapping[str, Any], fallback: str) -> str:
    """Returns the role that does a step, when the bundle knows an agent for it, else nothing."""
    said = step.get("to") if step["type"] == "escalate" else step.get("agent") or fallback
    said = CLIENT if is_client_call(step) else said
    role = str(said or "").removeprefix("@")
    return role if role in bundle["agents"] else ""


def is_client_call(step: Mapping[str, Any]) -> bool:
    """Returns whether a step calls a tool that a client of `fleet mcp` has."""
    return step["type"] == "mcp_call" and str(step["tool"]).startswith(f"{CLIENT}.")


def agent_steps(
    bundle: Bundle, spot: Spot, flow: dict[str, Any], step: Mapping[str, Any], needs: list[Need]
) -> list[Step]:
    """Returns the steps of one that an agent does: where it works, what it is told, its work."""
    main = spot.prefix + step["id"]
    told = bundle["agents"][role_of(bundle, step, spot.agent)]
    part = {name: value for name, value in flow.items() if name not in ("main", "out")}
    form = bundle["workflows"][spot.of]
    found = []
    if (step.get("workspace") or form["workspace"]) == "worktree":
        tree = _tree(bundle, spot, main, needs)
        found.append(tree)
        needs = [Need(step=tree.id), *needs]
    brief = _brief(f"{main}.brief", part, main, needs)
    work = Step(
        id=main,
        kind="agent",
        params={
            **_work_params(bundle, told, step, main),
            "flow": flow,
            "schema": step.get("output") or is_client_call(step) or None,
            "timeout_s": seconds(step.get("timeout_ms")) or told.get("timeout_s"),
        },
        needs=(Need(step=brief.id),),
        uses={**told["uses"], **spot.uses},
        ladder=ladder_of(step),
        whole=main,
    )
    return [*found, brief, work]


def judging_steps(
    bundle: Bundle,
    flow: Mapping[str, Any],
    step: Mapping[str, Any],
    needs: Sequence[Need],
    suffix: str = "",
) -> list[Step]:
    """Returns the steps of an agent that judges: what it is told, and its verdict, which is asked
    for once more where it has not the form of one. `suffix` tells those of a round apart.
    """
    told = bundle["agents"][role_of(bundle, step, "")]
    main = flow["prefix"] + step["id"]
    part = {name: value for name, value in flow.items() if name not in ("main", "out")}
    brief = _brief(f"{main}.brief{suffix}", part, main, needs)
    judge = Step(
        id=f"{main}.judge{suffix}",
        kind="agent",
        params={
            **_work_params(bundle, told, step, main),
            "flow": part,
            "schema": VERDICT,
            "timeout_s": seconds(step.get("timeout_ms")) or told.get("timeout_s"),
        },
        needs=(Need(step=brief.id),),
        uses={**told["uses"], **(flow.get("uses") or {})},
        ladder=(Retry(times=1, backoff_ms=500), *MACHINE),
        whole=main,
    )
    return [brief, judge]


def _brief(name: str, flow: Mapping[str, Any], main: str, needs: Sequence[Need]) -> Step:
    return Step(
        id=name,
        kind="brief",
        params={"flow": dict(flow)},
        needs=tuple(needs),
        ladder=MACHINE,
        whole=main,
    )


def _work_params(
    bundle: Bundle, told: Mapping[str, Any], step: Mapping[str, Any], main: str
) -> dict[str, Any]:
    """Returns what every attempt of a workflow's agent is told by its params."""
    return {
        "task": main,
        "name": step.get("name") or step["id"],
        "agent": told["agent"],
        "rules": bundle.get("rules", ""),
        "idle_s": told.get("idle_s"),
    }


def _tree(bundle: Bundle, spot: Spot, main: str, needs: Sequence[Need]) -> Step:
    """Returns the step that makes a worktree of its own, on a branch of the run's."""
    name = "".join(char if char.isalnum() or char in "-_" else "-" for char in main)
    return Step(
        id=f"{main}.tree",
        kind="worktree",
        params={
            "task": main,
            "path": f"{bundle['trees']}/{spot.run}/{name}",
            "branch": f"fleet/{spot.run}/{name}",
            "base": bundle["base"],
            "port": None,
            "ports": [],
            "copy": [],
            "setup": [],
            "teardown": [],
            "after": [],
        },
        needs=tuple(needs),
        uses={"agents": 1},
        ladder=MACHINE,
        whole=main,
    )


def _calls(bundle: Bundle, step: Mapping[str, Any]) -> bool:
    """Returns whether a step's own texts name one of the fleet's functions."""
    told = str({name: value for name, value in step.items() if name not in LISTS})
    return any(name in told for name in bundle["functions"])


MACHINE: Final[tuple[Rung, ...]] = (
    Retry(times=2, backoff_ms=1_000, on=frozenset({Failure.AGENT})),
    Retry(times=4, backoff_ms=1_000, on=frozenset({Failure.INFRA})),
)
"""What follows failures that are not the step's own; then it has failed, and nobody is asked: what
does not depend on it goes on, and the run can be resumed.
"""


def ladder_of(step: Mapping[str, Any]) -> tuple[Rung, ...]:
    """Returns the ladder of a step: as many tries as it says, one when it says nothing."""
    again = Retry(times=int(step.get("attempts") or 1) - 1, backoff_ms=500)
    return (again, *MACHINE) if again.times else MACHINE


def seconds(ms: int | None) -> float | None:
    """Returns milliseconds as seconds."""
    return None if ms is None else ms / 1000


def scope_steps(
    bundle: Bundle, spot: Spot, first: Sequence[str], names: Mapping[str, Any]
) -> list[Step]:
    """Returns a whole scope: `.start` with what it is told (`names`: inputs, item, outer), the
    list, and the join `.end`, both under the spot's prefix.
    """
    start = f"{spot.prefix}.start"
    shared = {"bundle": spot.bundle, "of": spot.of, "scope": spot.scope, "prefix": spot.prefix}
    told = {**shared, "type": "start", "pos": [*spot.pos, -1], **names}
    form = bundle["workflows"][spot.of]
    if _calls(bundle, {"state": form["initial_state"]}):
        told["tools"] = True
    begun = Step(
        id=start,
        kind="evaluate" if told.get("tools") else "set",
        params={"flow": told},
        needs=tuple(Need(step=name) for name in first),
        whole=start,
    )
    steps, ends = lower_list(bundle, spot, [start])
    return [begun, *steps, end_of_scope(spot, ends)]


def end_of_scope(spot: Spot, ends: Sequence[str]) -> Step:
    """Returns the join of a scope, whose value is that of the last of its `ends`."""
    name = f"{spot.prefix}.end"
    flow = {
        "bundle": spot.bundle,
        "of": spot.of,
        "type": "end",
        "scope": spot.scope,
        "prefix": spot.prefix,
        "pos": [*spot.pos, LAST],
        "last": ends[-1],
    }
    needs = tuple(Need(step=one) for one in ends)
    return Step(id=name, kind=JOIN, params={"flow": flow}, needs=needs, whole=name)


def joined(join: Step, ends: Sequence[str], **flow: Any) -> Step:
    """Returns a composite's join as an expansion leaves it: behind `ends`, the last its value."""
    told = {**join.params["flow"], **flow}  # type: ignore[dict-item]
    needs = tuple(Need(step=one) for one in dict.fromkeys(ends))
    return replace(join, params={"flow": told}, needs=needs)


def spot_of(flow: Mapping[str, Any], run: str) -> Spot:
    """Returns where the lists within a step are lowered to, before the step says more."""
    return Spot(
        bundle=flow["bundle"],
        of=flow["of"],
        at=tuple(flow["at"]),
        scope=flow["scope"],
        prefix=flow["prefix"],
        pos=tuple(flow["pos"]),
        agent=flow.get("agent", ""),
        uses=flow.get("uses") or {},
        run=run,
        round=flow.get("round", 0) if flow["type"] not in ("while", "repeat") else 0,
    )
