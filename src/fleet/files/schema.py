"""JSON Schema (draft 2020-12) of each kind of document, for editors and for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleet.errors import NotFound

if TYPE_CHECKING:
    from fleet.files.form import Form

KINDS = {
    "fleet": "coordination.md",
    "agent": "agents/<id>",
    "task": "tasks/<id>",
    "harness": "harnesses/<id>",
}


WORKFLOW = "workflow"
ALL = (*KINDS, WORKFLOW)
"""Every kind that has a schema; a workflow has no form of its own, but one for each dialect."""


def schema(kind: str) -> dict[str, Any]:
    """Returns the schema of what may be written in a document of `kind`; raises NotFound."""
    if kind == WORKFLOW:
        return _of_workflows()
    if kind not in KINDS:
        raise NotFound("kind of document", kind, ALL)
    from fleet.files.validate import FORMS  # only this command pays for pydantic

    form = FORMS[kind]
    made = form.model_json_schema(by_alias=True, mode="validation")
    for name, others in form.spellings.items():
        for other in others:
            made["properties"][other] = made["properties"][name]
    return _told(kind, KINDS[kind], made)


def _told(kind: str, where: str, made: dict[str, Any]) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:fleet:schema:{kind}",
        **made,
        "title": f"fleet {kind} ({where})",
    }


def _of_workflows() -> dict[str, Any]:
    """Returns the schema of both dialects; each step is held to the keys of its own type."""
    from fleet.files.flows.forms import LISTS, STEP_FORMS, GraphForm, NodeForm, WorkflowForm

    parts: dict[str, Any] = {}

    def part(form: type[Form]) -> dict[str, Any]:
        made = form.model_json_schema(by_alias=True, mode="validation")
        parts.update(made.pop("$defs", {}))
        return made

    for name, form in STEP_FORMS.items():
        step = part(form)
        step["properties"]["type"] = {"const": name}
        for key in LISTS:
            if key in step["properties"]:
                step["properties"][key] = {"type": "array", "items": {"$ref": "#/$defs/step"}}
        parts[name] = step
    parts["step"] = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in STEP_FORMS]}
    parts["node"] = part(NodeForm)
    steps, graph = part(WorkflowForm), part(GraphForm)
    steps["properties"]["steps"]["items"] = {"$ref": "#/$defs/step"}
    node: dict[str, Any] = {"$ref": "#/$defs/node"}
    listed = {"type": "array", "items": node, "minItems": 1}
    graph["properties"]["workflow"] = {"anyOf": [node, listed]}
    made = {"anyOf": [steps, graph], "$defs": parts}
    return _told(WORKFLOW, "workflows/*.yaml", made)
