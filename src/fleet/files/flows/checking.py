"""One workflow document against its form and against itself: normal form, or all its problems.

What is looked at here needs no other file: keys, ids, needs, circles, references, and the names
that expressions use. Agents and other workflows are looked for by `loading`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fleet.core.plan import circle
from fleet.errors import Problem, did_you_mean
from fleet.files.changes.proposals import is_empty
from fleet.files.flows.documents import ALONE, REFERENCE, Where, Workflow, walk, writes
from fleet.files.flows.expressions import NAMES, is_template, uses
from fleet.files.flows.forms import LISTS, STEP_FORMS, GraphForm, NodeForm, StepForm, WorkflowForm
from fleet.files.flows.inputs import fits
from fleet.files.flows.reading import Page, read_pages
from fleet.files.flows.sandbox import Refused
from fleet.files.form import Form
from fleet.files.source import Unreadable
from fleet.files.validate import problems_within

UNRENDERED = frozenset(
    {"id", "type", "name", "output_to", "needs", "needs_state", "workspace", "checks", "output"}
)
"""Keys of a step in which nothing is evaluated."""


class Check:
    """The check of one document; `problems` grows while it goes on."""

    def __init__(self, page: Page, stem: str, functions: frozenset[str]) -> None:
        self.page, self.stem, self.functions = page, stem, functions
        self.problems: list[Problem] = []
        self.graph = "workflow" in page.values

    def say(self, text: str, at: Where, hint: str = "", *, key: bool = False) -> None:
        """Notes a problem at a path of the normal form."""
        self.problems.append(Problem(text, self.page.place(self.in_file(at), key=key), hint))

    def in_file(self, at: Where) -> Where:
        """Returns where a path of the normal form stands in the file."""
        if not self.graph or at[:1] != ("steps",):
            return at
        names = {"needs": "deps", "agent": "role"}
        inner = at[1:] if isinstance(self.page.values["workflow"], list) else at[2:]
        return ("workflow", *(names.get(str(part), part) for part in inner))

    def workflow(self) -> Workflow | None:
        """Returns the document in normal form; None when `problems` tells why not."""
        top = self._form(GraphForm if self.graph else WorkflowForm, self.page.values, ())
        if top is None:
            return None
        steps = (
            self._nodes(top["workflow"]) if self.graph else self._steps(top["steps"], ("steps",))
        )
        form = {
            "name": top.get("name") or self.stem,
            "dialect": "graph" if self.graph else "steps",
            "file": self.page.file,
            "thread": top.get("threadId") or top.get("thread") or "",
            "workspace": top.get("workspace") or "none",
            "inputs": top.get("inputs") or {},
            "initial_state": top.get("initial_state") or {},
            "steps": steps,
        }
        if self.problems:
            return None
        self._ids(steps)
        if not self.problems:
            _Graph(self, form).look() if self.graph else _Steps(self, form).look()
        return None if self.problems else Workflow(form=form, warnings=self.page.warnings)

    def _form(self, form: type[Form], values: Any, at: Where) -> dict[str, Any] | None:
        try:
            found = form.model_validate(values)
        except ValidationError as error:
            source, file = self.page.source, self.page.file
            self.problems += problems_within(form, error, source, file, self.in_file(at))
            return None
        return found.model_dump(by_alias=True, exclude_unset=True)

    def _nodes(self, nodes: Sequence[Any]) -> list[dict[str, Any]]:
        found = []
        for number, node in enumerate(nodes):
            values = self._form(NodeForm, node, ("steps", number))
            if values is None:
                continue
            if "id" not in values and len(nodes) > 1:
                self.say("key 'id' is missing", ("steps", number), "a step among several needs one")
            rest = {k: v for k, v in values.items() if k not in ("id", "role", "deps")}
            found.append(
                {
                    "id": values.get("id", ALONE),
                    "type": "delegate",
                    "agent": values["role"],
                    "needs": list(dict.fromkeys(values.get("deps") or ())),
                    **rest,
                }
            )
        return found

    def _steps(self, steps: Sequence[Any], at: Where) -> list[dict[str, Any]]:
        return [
            found
            for number, step in enumerate(steps)
            if (found := self._step(step, (*at, number))) is not None
        ]

    def _step(self, values: Any, at: Where) -> dict[str, Any] | None:
        named = values.get("type") if isinstance(values, dict) else None
        form: type[StepForm] = STEP_FORMS.get(str(named), StepForm)
        if isinstance(named, str) and named not in STEP_FORMS:
            hint = did_you_mean(named, STEP_FORMS) or f"one of: {', '.join(STEP_FORMS)}"
            self.say(f"no type of step {str(named)!r}", (*at, "type"), hint)
            return None
        found = self._form(form, values, at)
        if found is None:
            return None
        for key in LISTS:
            if isinstance(found.get(key), list):
                found[key] = self._steps(found[key], (*at, key))
        self._own(found, at)
        return found

    def _own(self, step: Mapping[str, Any], at: Where) -> None:
        """Notes what a step's form cannot say of it."""
        kind = step["type"]
        if kind == "foreach" and ("task" in step) == ("steps" in step):
            self.say("a foreach has either `task` or `steps`", at)
        if kind == "workflow" and ("workflow" in step) == ("file" in step):
            self.say("a step of type workflow has either `workflow` or `file`", at)
        if kind == "condition" and not (step.get("then") or step.get("else")):
            self.say("a condition has `then`, `else` or both", at)
        if kind == "prompt" and (step.get("input") == "choice") != bool(step.get("choices")):
            self.say("`choices` belong to `input: choice`, and that to them", at)
        if kind == "verify" and not (step.get("checks") or step.get("agent")):
            self.say("a verify has `checks`, `agent` or both", at)
        if kind == "verify" and step.get("instructions") and not step.get("agent"):
            self.say("`instructions` are for an agent that verifies", (*at, "instructions"))
        if kind == "shell" and "{%" in str(step["command"]):
            hint = "set the state before"
            self.say("a command takes expressions, no statements", (*at, "command"), hint)
        if kind == "adapt" and not isinstance(step["patch"], str) and is_empty(step["patch"]):
            self.say("a patch has `add`, `insert`, `needs` or `drop`", (*at, "patch"))

    def _ids(self, steps: Sequence[Mapping[str, Any]]) -> None:
        first: dict[str, Where] = {}
        for at, step in walk(steps):
            name = step["id"]
            if name in first:
                line = self.page.place(self.in_file((*first[name], "id"))).line
                self.say(f"step {name!r} is there twice", (*at, "id"), f"first on line {line}")
            first.setdefault(name, at)


class _Graph:
    """The graph dialect: `deps` and references."""

    def __init__(self, check: Check, form: Mapping[str, Any]) -> None:
        self.check, self.steps = check, form["steps"]
        self.needs = {step["id"]: step["needs"] for step in self.steps}

    def look(self) -> None:
        for number, step in enumerate(self.steps):
            for place, need in enumerate(step["needs"]):
                if need not in self.needs:
                    text = f"step {step['id']!r} depends on {need!r}, which is not there"
                    at = ("steps", number, "needs", place)
                    self.check.say(text, at, did_you_mean(need, self.needs))
        if self.check.problems:
            return
        ring = circle(self.needs)
        if ring:
            number = next(n for n, step in enumerate(self.steps) if step["id"] == ring[0])
            text = f"steps depend on each other in a circle: {' -> '.join(ring)}"
            self.check.say(text, ("steps", number, "needs"))
            return
        for number, step in enumerate(self.steps):
            self._references(step, number)

    def _references(self, step: Mapping[str, Any], number: int) -> None:
        behind = self._behind(step["id"])
        for found in REFERENCE.finditer(step["task"]):
            name = found[2]
            if found[1] or name in behind:
                continue
            if name in self.needs:
                text = f"{found[0]} is not among what {step['id']!r} depends on"
                self.check.say(text, ("steps", number, "task"), f"add {name!r} to its deps")
            else:
                text = f"{found[0]} names no step"
                self.check.say(text, ("steps", number, "task"), did_you_mean(name, self.needs))

    def _behind(self, name: str) -> set[str]:
        found: set[str] = set()
        todo = list(self.needs[name])
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo += self.needs[one]
        return found


class _Steps:
    """The step dialect: `needs`, and the names in expressions."""

    def __init__(self, check: Check, form: Mapping[str, Any]) -> None:
        self.check, self.form = check, form
        self.known = {step["id"]: number for number, (_, step) in enumerate(walk(form["steps"]))}
        self.scopes = {step["id"]: _scope(form["steps"], at) for at, step in walk(form["steps"])}
        names = [name for _, step in walk(form["steps"]) for name in writes(step)]
        self.state = {*form["initial_state"], *names}

    def look(self) -> None:
        self._list(self.form["steps"], ("steps",))
        self._value(self.form["initial_state"], ("initial_state",), 0)
        for name, told in self.form["inputs"].items():
            if "default" in told and not fits(told["default"], told.get("type", "any")):
                text = f"the default of {name!r} is no {told['type']}"
                self.check.say(text, ("inputs", name, "default"))
        for number, (at, step) in enumerate(walk(self.form["steps"])):
            for key, value in step.items():
                if key not in UNRENDERED and key not in LISTS:
                    bare = key in ("if", "condition", "until")
                    self._value(value, (*at, key), number, bare=bare)
            self._others(at, step, number)

    def _others(self, at: Where, step: Mapping[str, Any], number: int) -> None:
        for place, name in enumerate(step.get("needs_state") or ()):
            if name not in self.state:
                text = f"nothing sets the state {name!r}"
                hint = did_you_mean(name, self.state)
                self.check.say(text, (*at, "needs_state", place), hint)
        of = step.get("of")
        if of is not None and self.known.get(of, number) >= number:
            self.check.say(f"no step {of!r} stands before this one", (*at, "of"))

    def _list(self, steps: Sequence[Mapping[str, Any]], at: Where) -> None:
        """Looks at what lifts steps out of a list's order: it must stand before them in it."""
        before: list[str] = []
        for number, step in enumerate(steps):
            for place, need in enumerate(step.get("needs") or ()):
                if need not in before:
                    told = "later in this list" if need in self.known else "nowhere"
                    text = f"step {step['id']!r} needs {need!r}, which stands {told}"
                    hint = did_you_mean(need, before)
                    self.check.say(text, (*at, number, "needs", place), hint)
            before.append(step["id"])
            for key in LISTS:
                if isinstance(step.get(key), list):
                    self._list(step[key], (*at, number, key))

    def _value(self, value: Any, at: Where, number: int, *, bare: bool = False) -> None:
        for where, text in templates_in(value, at, bare=bare):
            try:
                found = uses(text)
            except Refused as refused:
                self.check.say(f"cannot be evaluated: {refused.text}", where)
                continue
            for name in sorted(found.names - NAMES - self.check.functions - {"range", "dict"}):
                hint = did_you_mean(name, NAMES | self.check.functions)
                more = "functions of the fleet's own stand under `functions` in coordination.md"
                self.check.say(f"no name {name!r} in an expression", where, hint or more)
            self._attributes(found.attributes, where, number)

    def _attributes(self, found: Mapping[str, frozenset[str]], at: Where, number: int) -> None:
        known = {"inputs": set(self.form["inputs"]), "state": self.state, "steps": set(self.known)}
        for top, names in found.items():
            for name in sorted(names - known.get(top, names)):
                text = {"inputs": "no input", "state": "nothing sets the state"}.get(top, "no step")
                self.check.say(f"{text} {name!r}", at, did_you_mean(name, known[top]))
        for name in sorted(found.get("steps", frozenset()) & set(self.known)):
            if at[0] != "steps":
                continue
            if self.known[name] >= number:
                self.check.say(f"step {name!r} does not stand before this one", at)
            elif at[: len(self.scopes[name])] != self.scopes[name]:
                text = f"step {name!r} is within a foreach, and is seen only there"
                self.check.say(text, at, "the foreach puts out what its items return")


def _scope(steps: Sequence[Mapping[str, Any]], at: Where) -> Where:
    """Returns the path of the innermost foreach around a step, () for none."""
    found: Where = ()
    here: Any = {"steps": steps}
    for number, part in enumerate(at[:-1]):
        here = here[part]
        if isinstance(here, dict) and here.get("type") == "foreach":
            found = at[: number + 1]
    return found


def read_workflows(path: Path) -> list[Workflow]:
    """Returns the documents of a file that hold by themselves; what does not is left out."""
    try:
        pages = read_pages(path.read_bytes(), path.name)
    except (OSError, Unreadable):
        return []
    found = [Check(page, path.stem, frozenset()).workflow() for page in pages]
    return [one for one in found if one is not None]


def templates_in(value: Any, at: Where, *, bare: bool = False) -> Iterator[tuple[Where, str]]:
    """Yields each text with an expression in a value, with its path; `bare` is a condition, which
    needs no braces.
    """
    if isinstance(value, str):
        if is_template(value):
            yield at, value
        elif bare:
            yield at, f"{{{{ {value} }}}}"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from templates_in(inner, (*at, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from templates_in(inner, (*at, number))
