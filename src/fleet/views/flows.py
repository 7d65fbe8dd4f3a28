"""What the steps of a workflow's run put out, and what stands before a step: pure look-ups.

`look` gives a kernel step's state by its id. Values are never carried along: the live plan is
walked backwards along the needs, the latest position in document order first, so that the nearest
writer of a variable is found, and of two that stand in no order the later one in the document.
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


def flow_of(one: StepState) -> Mapping[str, Any]:
    """Returns what a kernel step's params say of the workflow, {} for one of none."""
    found = one.step.params.get("flow")
    return found if isinstance(found, Mapping) else {}


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


def before(look: Look, step: StepState) -> Iterator[StepState]:
    """Yields what stands before a step, nearest first; what is inside a closed scope is passed
    over.
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
        yield one
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
    for one in before(look, step):
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


def state_of(look: Look, step: StepState, name: str) -> Any:
    """Returns a variable of the state as a step sees it; raises KeyError when nothing set it."""
    for one, is_start in seen_from(look, step):
        output: Any = one.output
        if is_start:
            if name in (output or {}).get("state", {}):
                return output["state"][name]
        elif flow_of(one).get("out") == name:
            return value_of(look, one.step.id)
        elif flow_of(one)["type"] == "set_state" and name in (output or {}):
            return output[name]
    raise KeyError(name)


def step_before(look: Look, step: StepState, name: str) -> StepState:
    """Returns the nearest step of a document id that a step sees; raises KeyError for none."""
    for one, is_start in seen_from(look, step):
        if not is_start and flow_of(one)["id"] == name:
            return one
    raise KeyError(name)


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
