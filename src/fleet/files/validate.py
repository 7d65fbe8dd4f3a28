"""One file's values against its form: normal form, or every problem in the words of a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fleet.errors import Problem, did_you_mean
from fleet.files.agent_forms import AgentForm, DefaultsForm
from fleet.files.fields import shown
from fleet.files.fleet_forms import FleetForm, PatchForm
from fleet.files.form import Form
from fleet.files.forms import TaskForm
from fleet.files.harness_forms import HarnessForm
from fleet.files.source import Path, Source

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

FORMS: Mapping[str, type[Form]] = {
    "fleet": FleetForm,
    "agent": AgentForm,
    "task": TaskForm,
    "harness": HarnessForm,
    "patch": PatchForm,
}

SPELLINGS = {**TaskForm.spellings, **AgentForm.spellings}


def normal_form(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keys that `values` sets, in normal form, as JSON; raises ValidationError."""
    form = FORMS[kind].model_validate(values)
    return form.model_dump(by_alias=True, exclude_unset=True)


def problems_of(kind: str, error: ValidationError, source: Source, file: str) -> list[Problem]:
    """Returns what pydantic found, each problem at its place; `source` was read with positions."""
    return problems_within(FORMS[kind], error, source, file)


def problems_within(
    form: type[Form], error: ValidationError, source: Source, file: str, around: Path = ()
) -> list[Problem]:
    """Returns the same of a part of a document, which stands at the path `around`."""
    return [_problem(form, details, source, file, around) for details in error.errors()]


def _problem(
    form: type[Form], details: ErrorDetails, source: Source, file: str, around: Path
) -> Problem:
    kind, context = details["type"], details.get("ctx", {})
    path = _path((*around, *details["loc"]), source)
    if "key" in context:
        path = (*path, str(context["key"]))
        return Problem(details["msg"], source.place(file, path, key=True))
    name = str(path[-1]) if path else ""
    if kind == "extra_forbidden":
        hint = _hint(_form_at(form, details["loc"][:-1]), name, file)
        return Problem(f"unknown key {shown(name)}", source.place(file, path, key=True), hint)
    is_key = details["loc"][-1:] == ("[key]",)
    words = [str(part) for part in path if isinstance(part, str)]
    where = (["", *words])[-2 if is_key and len(words) > 1 else -1]
    text = _sentence(details)
    return Problem(f"{where}: {text}" if where else text, source.place(file, path, key=is_key))


def _sentence(details: ErrorDetails) -> str:
    kind, context, got = details["type"], details.get("ctx", {}), shown(details["input"])
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return f"key {details['loc'][-1]!r} is missing"
    if kind == "literal_error":
        return f"expected {context['expected']}, got {got}"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return f"expected keys and values, got {got}"
    if kind == "too_short":
        return f"must hold {context['min_length']} at least, got {context['actual_length']}"
    if kind == "list_type":
        return f"expected a list, got {got}"
    if kind == "string_type":
        return f"expected text, got {got}"
    bounds = {
        "greater_than": "above",
        "greater_than_equal": "at least",
        "less_than_equal": "at most",
    }
    if kind in bounds:
        bound = context.get("gt", context.get("ge", context.get("le")))
        return f"must be {bounds[kind]} {bound:g}, got {got}"
    return details["msg"]


def _hint(around: type[Form] | None, name: str, file: str) -> str:
    """Returns what an unknown key may have been meant for, else where the known ones are listed."""
    if around is DefaultsForm and any(name in _keys(form) for form in (AgentForm, TaskForm)):
        return "each file has its own"
    if around is not None and name in around.strangers:
        return around.strangers[name]
    near = did_you_mean(name.strip(), _keys(around)) if around else ""
    kinds = {"agents": "agent", "tasks": "task", "harnesses": "harness"}
    flows = around is not None and around.__module__.endswith("flows.forms")
    kind = "workflow" if flows else kinds.get(file.partition("/")[0], "fleet")
    return near or f"'fleet schema {kind}' shows the known ones"


def _path(loc: tuple[int | str, ...], source: Source) -> Path:
    """Leaves out what stands in no file: the names of union branches and validators."""
    path: Path = ()
    for part in loc:
        step = (*path, part)
        if step in source.marks or step in source.keys:
            path = step
            continue
        for other in SPELLINGS.get(str(part), ()):
            if (*path, other) in source.marks:
                path = (*path, other)
    return path


def _form_at(form: type[Form], loc: tuple[int | str, ...]) -> type[Form] | None:
    """The form whose keys were expected at `loc`, found by following field types."""
    found: type[Form] = form
    for part in loc:
        for name, field in found.model_fields.items():
            if part in (name, field.validation_alias):
                inner = _form_in(field.annotation)
                if inner:
                    found = inner
    return found


def _form_in(annotation: Any) -> type[Form] | None:
    if isinstance(annotation, type) and issubclass(annotation, Form):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _form_in(inner)
        if found:
            return found
    return None


def _keys(form: type[Form]) -> list[str]:
    names = [str(field.validation_alias or name) for name, field in form.model_fields.items()]
    return names + [other for others in form.spellings.values() for other in others]
