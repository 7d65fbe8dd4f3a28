"""JSON Schema (draft 2020-12) of each kind of document, for editors and for other programs."""

from __future__ import annotations

from typing import Any

from fleet.errors import NotFound

KINDS = {
    "fleet": "coordination.md",
    "agent": "agents/<id>",
    "task": "tasks/<id>",
    "harness": "harnesses/<id>",
}


def schema(kind: str) -> dict[str, Any]:
    """Returns the schema of what may be written in a document of `kind`; raises NotFound."""
    if kind not in KINDS:
        raise NotFound("kind of document", kind, tuple(KINDS))
    from fleet.files.validate import FORMS  # only this command pays for pydantic

    form = FORMS[kind]
    made = form.model_json_schema(by_alias=True, mode="validation")
    for name, others in form.spellings.items():
        for other in others:
            made["properties"][other] = made["properties"][name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:fleet:schema:{kind}",
        **made,
        "title": f"fleet {kind} ({KINDS[kind]})",
    }
