"""What shows that something holds, as Pydantic models: evidence, success, proofs of concept."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from fleet.files.fields import (
    AnyJson,
    CommandForm,
    Count,
    Duration,
    Id,
    Ids,
    InnerPath,
    Target,
    Text,
    Texts,
    as_text,
    one_or_many,
)
from fleet.files.form import Days, Form, as_command, exactly_one
from fleet.files.names import looks_like_path


class EvidenceForm(Form):
    """What a task shows. A bare text is a path where it looks like one, else what is stated."""

    text: Text | None = None
    path: InnerPath | None = None
    command: CommandForm | None = None
    count: Count | None = None
    contains: Texts | None = None
    min_bytes: Count | None = None
    schema_: AnyJson = Field(None, validation_alias="schema", serialization_alias="schema")

    @model_validator(mode="after")
    def _whole(self) -> EvidenceForm:
        used = {"path", "command"} & self.model_fields_set
        if len(used) == 2 or not (used or self.text):
            raise ValueError("needs a path or a command, or only a text that states it")
        about_path = {"count", "contains", "min_bytes", "schema_"} & self.model_fields_set
        if about_path and "path" not in used:
            raise ValueError(f"{min(about_path).rstrip('_')!r} belongs to evidence with a path")
        return self


def _as_evidence(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = as_text(value)
    return {"path" if looks_like_path(found) else "text": value}


class JudgedForm(Form):
    """A command that must pass, or one that measures: the last number that it prints is held
    against the target.
    """

    command: CommandForm | None = None
    measure: CommandForm | None = None
    target: Target | None = None
    unit: Text | None = None
    name: Text | None = None
    timeout_ms: Duration | None = Field(
        None, validation_alias="timeout", serialization_alias="timeout_ms"
    )
    ways: ClassVar[tuple[str, ...]] = ("command", "measure")
    what: ClassVar[str] = "a condition"

    @model_validator(mode="after")
    def _whole(self) -> JudgedForm:
        exactly_one(self, self.ways, self.what)
        if ("measure" in self.model_fields_set) != ("target" in self.model_fields_set):
            raise ValueError("'measure' and 'target' belong together")
        if "unit" in self.model_fields_set and "measure" not in self.model_fields_set:
            raise ValueError("'unit' belongs to what is measured")
        return self


class SuccessForm(JudgedForm):
    """What decides whether an assumption holds; a bare text or argv is the command."""

    agent: Id | None = None
    instructions: Text | None = None
    ways: ClassVar = ("command", "measure", "agent")
    what: ClassVar = "what decides"

    @model_validator(mode="after")
    def _judged(self) -> SuccessForm:
        if self.agent is None and "instructions" in self.model_fields_set:
            raise ValueError("'instructions' belongs to what an agent decides")
        return self


Evidence = Annotated[
    EvidenceForm, BeforeValidator(_as_evidence, json_schema_input_type=str | EvidenceForm)
]
Evidences = Annotated[
    list[Evidence], BeforeValidator(one_or_many, json_schema_input_type=Evidence | list[Evidence])
]


class ProofForm(Form):
    """What shows that an assumption holds."""

    agent: Id | None = None
    command: CommandForm | None = None
    evidence: Evidences | None = None
    success: (
        Annotated[
            SuccessForm,
            BeforeValidator(as_command, json_schema_input_type=str | list[str] | SuccessForm),
        ]
        | None
    ) = None
    attempts: Annotated[Count, Field(le=100)] | None = None
    needs: Ids | None = None
    phase: Id | None = None
    days: Days | None = None
    name: Text | None = None
    body: Text | None = None

    @model_validator(mode="after")
    def _whole(self) -> ProofForm:
        used = {"agent", "command"} & self.model_fields_set
        if len(used) == 2 or not (used or self.success):
            raise ValueError("a proof has an agent or a command, or only what decides (success)")
        if not (self.command or self.success):
            raise ValueError("nothing says whether it holds: add 'success'")
        return self
