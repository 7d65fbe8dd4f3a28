"""What the steps of a workflow's run put out, and what stands before a step: pure look-ups.

`look` gives a kernel step's state by its id. Values are never carried along: the live plan is
walked backwards along the needs, the latest position in document order first, so that the nearest
writer of a variable is found, and of two that stand in no order the later one in the document.

A walk goes back as far as what it looks for; `Found` remembers what was found behind steps that
have run, which does not change, so that in a long run nobody walks the same way twice.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from fleet.core.plan import JOIN
from fleet.core.state import Standing, StepState

Look = Callable[[str], StepState | None]
DONE = (Standing.SUCCEEDED, Standing.SKIPPED)
RAN = (Standing.SUCCEEDED, Standing.FAILED)
"""Standings of a step before which nothing happens any more: it could not have started else."""

Found = dict[tuple[str, str, str], str | None]
"""(step behind which nothing else is open, scope, what was looked for) -> the step that was found
from there on. It holds for one run, and may be forgotten at any time."""


def flow_of(one: StepState) -> Mapping[str, Any]:
    """Returns what a kernel step's params say of the workflow, {} for one of none."""
    found = one.step.params.get("flow")
    return found if type(found) is dict or isinstance(found, Mapping) else {}


def value_of(look: Look, name: str) -> Any:
    """Returns what a step has put out: an agent's words, a branch's or a scope's last value, the
    values of all items in their order.
    """
    one = look(name)
    if one is None:
        return None
    flow = flow_of(one)
    if one.step.kind == JOIN:
        if "each" in flow:
            return [value_of(look, need.step) for need in one.step.needs[: flow["each"]]]
        return value_of(look, flow["last"]) if flow.get("last") else None
    output: Any = one.output
    if one.step.kind == "agent" and isinstance(output, Mapping):
        return output["value"] if "value" in output else output.get("said")
    if flow.get("type") in ("condition", "while", "repeat", "foreach", "workflow"):
        return None  # what opens it says what it expands to, which is nobody else's affair
    return output


def before(look: Look, step: StepState) -> Iterator[tuple[StepState, bool]]:
    """Yields what stands before a step, nearest first, and whether all the rest stands before that
    one; what is inside a closed scope is passed over.
    """
    seen: set[str] = set()
    heap: list[tuple[list[int], str]] = []

    def push(names: Sequence[str]) -> None:
        for name in names:
            one = look(name)
            if name not in seen and one is not None:
                seen.add(name)
                place = flow_of(one).get("pos") or [-1]
                heapq.heappush(heap, ([-part for part in place] + [1], name))

    push([need.step for need in step.step.needs])
    while heap:
        one = look(heapq.heappop(heap)[1])
        assert one is not None, "what was pushed is there"
        yield one, not heap
        flow = flow_of(one)
        if one.step.kind == JOIN and flow.get("closed"):
            push([flow["closed"]])
        else:
            push([need.step for need in one.step.needs])


def seen_from(look: Look, step: StepState) -> Iterator[tuple[StepState, bool]]:
    """Yields the document steps (and the starts of scopes) that a step sees, nearest first, and
    whether each is the start of a scope; ends where its scope is closed to what is around it.
    """
    scope = flow_of(step).get("scope", "")
    for one, _ in before(look, step):
        flow = flow_of(one)
        if flow.get("scope") != scope:
            continue
        if flow.get("type") == "start":
            yield one, True
            if flow.get("outer") is None:
                return
            scope = flow["outer"]
        elif flow.get("main") and one.standing in DONE:
            yield one, False


def _nearest(
    look: Look, step: StepState, what: str, fits: Callable[[StepState], bool], known: Found | None
) -> StepState | None:
    """Returns the nearest document step or start of a scope that a step sees and that `fits`; None
    for none. `what` names what is looked for.
    """
    scope, found, passed, ran = flow_of(step).get("scope", ""), None, [], True
    for one, alone in before(look, step):
        if alone and known is not None:
            key = (one.step.id, scope, what)
            if key in known:
                found = known[key]
                break
            passed.append(key)
        ran = ran and one.standing in RAN
        flow = flow_of(one)
        if flow.get("scope") != scope:
            continue
        is_start = flow.get("type") == "start"
        seen = is_start or (flow.get("main") and one.standing in DONE)
        if seen and fits(one):
            found = one.step.id
            break
        if is_start:
            if flow.get("outer") is None:
                break
            scope = flow["outer"]
    if known is not None and ran:
        known.update(dict.fromkeys(passed, found))
    return look(found) if found is not None else None


def state_of(look: Look, step: StepState, name: str, known: Found | None = None) -> Any:
    """Returns a variable of the state as a step sees it; raises KeyError when nothing set it."""

    def sets(one: StepState) -> bool:
        output: Any = one.output
        flow = flow_of(one)
        if flow["type"] == "start":
            return name in (output or {}).get("state", {})
        return flow.get("out") == name or (flow["type"] == "set_state" and name in (output or {}))

    one = _nearest(look, step, f"state {name}", sets, known)
    if one is None:
        raise KeyError(name)
    output: Any = one.output
    if flow_of(one).get("type") == "start":
        return output["state"][name]
    return value_of(look, one.step.id) if flow_of(one).get("out") == name else output[name]


def step_before(look: Look, step: StepState, name: str, known: Found | None = None) -> StepState:
    """Returns the nearest step of a document id that a step sees; raises KeyError for none."""

    def is_it(one: StepState) -> bool:
        return flow_of(one).get("id") == name

    one = _nearest(look, step, f"step {name}", is_it, known)
    if one is None:
        raise KeyError(name)
    return one


def start_of(look: Look, scope: str) -> Mapping[str, Any]:
    """Returns what a scope was told: its inputs, and its item where it is one's."""
    found: dict[str, Any] = {}
    at: str | None = scope
    while at is not None:
        one = look(f"{at}.start")
        output: Any = one.output if one else None
        found = {**(output or {}), **found}
        at = flow_of(one).get("outer") if one else None
    return found


def as_text(value: Any) -> str:
    """Returns an output as the text that a brief or a file holds."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def number_of(text: str) -> int | float | None:
    """Returns the number that an answer writes, a whole one as such; None for anything else."""
    try:
        found = float(text)
    except ValueError:
        return None
    if not isfinite(found):
        return None
    whole = found.is_integer() and "." not in text and "e" not in text.lower()
    return int(found) if whole else found
