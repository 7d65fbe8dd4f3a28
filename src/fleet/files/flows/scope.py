"""What an expression sees at one step of a live run: inputs, state, steps, item, thread, now.

Everything is looked up when it is asked for, in outputs that stand before the step and so do not
change any more; nothing is carried from step to step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleet.core.state import StepState
from fleet.files.flows import expressions
from fleet.files.flows.bundle import Bundle, kept_bundle
from fleet.files.flows.documents import REFERENCE, step_at, walk, writes
from fleet.files.flows.sandbox import Refused
from fleet.views import flows
from fleet.views.flows import Look, as_text

Functions = Mapping[str, Callable[..., Any]]


class _Looked(Mapping[str, Any]):
    """A mapping whose values are looked up one by one; `names` gives all that there can be."""

    def __init__(self, find: Callable[[str], Any], names: Callable[[], Iterable[str]]) -> None:
        self.find, self.names = find, names

    def __getitem__(self, name: str) -> Any:
        return self.find(name)

    def __contains__(self, name: object) -> bool:
        try:
            self.find(str(name))
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return (name for name in dict.fromkeys(self.names()) if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(slots=True)
class Scope:
    """What one step sees; `functions` are the fleet's own."""

    look: Look
    one: StepState
    folder: Path
    now_ms: int
    thread: Callable[[], Mapping[str, Any]] = dict
    functions: Functions = field(default_factory=dict)
    known: flows.Found | None = None
    flow: Mapping[str, Any] = field(init=False)
    """What the step's params say of the workflow."""

    def __post_init__(self) -> None:
        self.flow = flows.flow_of(self.one)

    @property
    def bundle(self) -> Bundle:
        """The documents that the step follows."""
        return kept_bundle(self.folder, self.flow["bundle"])

    @property
    def form(self) -> Mapping[str, Any]:
        """The workflow that the step is of."""
        found: Mapping[str, Any] = self.bundle["workflows"][self.flow["of"]]
        return found

    @property
    def step(self) -> Mapping[str, Any]:
        """The document step."""
        return step_at(self.form, self.flow["at"])

    def names(self) -> dict[str, Any]:
        """Returns all names that an expression may use."""
        told = {**flows.start_of(self.look, self.flow["scope"])}
        if self.flow["type"] == "start":
            told |= {key: self.flow[key] for key in ("inputs", "item", "index") if key in self.flow}

        def variables() -> Iterator[str]:
            yield from self.form["initial_state"]
            for _, step in walk(self.form["steps"]):
                yield from writes(step)

        def ids() -> Iterator[str]:
            return (step["id"] for _, step in walk(self.form["steps"]))

        def state(name: str) -> Any:
            return flows.state_of(self.look, self.one, name, self.known)

        def output(name: str) -> Any:
            found = flows.step_before(self.look, self.one, name, self.known)
            return {"output": flows.value_of(self.look, found.step.id)}

        return {
            "now": self.now,
            "inputs": told.get("inputs", {}),
            "state": _Looked(state, variables),
            "steps": _Looked(output, ids),
            "thread": _Looked(self._thread, self.thread),
            **{key: told[key] for key in ("item", "index") if key in told},
            **({"round": self.flow["round"]} if "round" in self.flow else {}),
        }

    def _thread(self, name: str) -> Any:
        return {"output": self.thread()[name]}

    def now(self) -> str:
        """Returns the time of the attempt as RFC 3339."""
        at = datetime.fromtimestamp(self.now_ms / 1000, UTC)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def evaluate(self, value: Any) -> Any:
        """Returns a document's value with its expressions evaluated; raises Refused."""
        return expressions.evaluate(value, self.names(), self.functions)

    def evaluate_with(self, value: Any, more: Mapping[str, Any]) -> Any:
        """Returns the same, with further names."""
        return expressions.evaluate(value, {**self.names(), **more}, self.functions)

    def render(self, text: str) -> str:
        """Returns a document's text with its expressions filled in; raises Refused."""
        return expressions.render(text, self.names(), self.functions)

    def holds(self, value: Any, **more: Any) -> bool:
        """Returns whether a document's condition holds, with further names; raises Refused."""
        return expressions.holds(value, {**self.names(), **more}, self.functions)

    def lacking(self) -> list[str]:
        """Returns which of the variables that the step waits for nothing has set."""
        found = []
        for name in self.step.get("needs_state") or ():
            try:
                value = flows.state_of(self.look, self.one, name, self.known)
            except KeyError:
                value = None
            if value is None:
                found.append(name)
        return found

    def referred(self) -> dict[str, Any]:
        """Returns the outputs that the step's agent gets as files: of what its text names, and of
        what it directly needs.
        """
        found: dict[str, Any] = {}
        text = str(self.step)
        for one, is_start in flows.seen_from(self.look, self.one):
            if is_start:
                continue
            name = flows.flow_of(one)["id"]
            direct = any(need.step == one.step.id for need in self.one.step.needs)
            named = f"{name}.output" in text or name == self.step.get("of")
            if name not in found and (direct or named):
                found[name] = flows.value_of(self.look, one.step.id)
        return found

    def filled_in(self, text: str) -> str:
        """Returns a text of the graph dialect with its references replaced, in one pass: what is
        put in is not searched again. Raises Refused for a thread that has no such output.
        """
        earlier = self.thread() if "{thread." in text else {}

        def put(found: Any) -> str:
            name = found[2]
            if found[1]:
                if name not in earlier:
                    raise Refused(f"{found[0]}: no earlier run of the thread has it")
                return as_text(earlier[name])
            one = flows.step_before(self.look, self.one, name, self.known)
            return as_text(flows.value_of(self.look, one.step.id))

        return REFERENCE.sub(put, text)
