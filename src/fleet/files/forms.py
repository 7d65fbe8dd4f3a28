"""What task files may hold, as Pydantic models; keys and meaning are the contract's."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from fleet.files.fields import (
    AnyJson,
    Baseline,
    Branch,
    CommandForm,
    Commands,
    Count,
    Duration,
    Flag,
    Id,
    Ids,
    InnerPath,
    InnerPaths,
    Port,
    Target,
    Text,
    Texts,
    as_flag,
    as_list,
    one_or_many,
    shown,
    stands_for,
)
from fleet.files.form import Days, Form, as_command, exactly_one
from fleet.files.proof_forms import Evidences, ProofForm


class DeliverableForm(Form):
    """What a task must leave committed; a bare text is its path."""

    path: InnerPath | None = None
    count: Count | None = None
    contains: Texts | None = None
    min_bytes: Count | None = None
    schema_: AnyJson = Field(None, validation_alias="schema", serialization_alias="schema")
    fresh: Flag = True
    tag: Branch | None = None
    branch_merged: Annotated[list[Branch], BeforeValidator(one_or_many)] | None = None
    command: CommandForm | None = None

    @model_validator(mode="after")
    def _whole(self) -> DeliverableForm:
        exactly_one(self, ("path", "tag", "branch_merged", "command"), "a deliverable")
        about_path = {"count", "contains", "min_bytes", "schema_", "fresh"} & self.model_fields_set
        if about_path and "path" not in self.model_fields_set:
            raise ValueError(
                f"{min(about_path).rstrip('_')!r} belongs to a deliverable with a path"
            )
        return self


class CheckForm(Form):
    """A command or an agent that judges; a bare text or argv is the command."""

    command: CommandForm | None = None
    agent: Id | None = None
    verdict: AnyJson = None
    instructions: Text | None = None
    name: Text | None = None
    timeout_ms: Duration | None = Field(
        None, validation_alias="timeout", serialization_alias="timeout_ms"
    )

    @model_validator(mode="after")
    def _whole(self) -> CheckForm:
        exactly_one(self, ("command", "agent"), "a check")
        if self.agent is None and {"verdict", "instructions"} & self.model_fields_set:
            raise ValueError("'verdict' and 'instructions' belong to a check with an agent")
        return self


class MetricForm(Form):
    """A figure with its baseline, its target and the command that measures it."""

    name: Text
    baseline: Baseline = None
    target: Target | None = None
    unit: Text | None = None
    measure: CommandForm | None = None


class RiskForm(Form):
    """What may go wrong; a bare text is just that."""

    text: Text
    mitigation: Text | None = None
    likelihood: Text | None = None
    impact: Text | None = None


class DecisionForm(Form):
    """What was decided; a bare text is just that."""

    text: Text
    reason: Text | None = None


def _as_rung(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    word, _, rest = value.strip().partition(" ")
    rest = rest.strip()
    if word == "fail" and not rest:
        return {"fail": True}
    if word == "ask":
        return {"ask": rest or "person"}
    if word in ("agent", "model", "adapt", "escalate") and rest:
        return {word: rest}
    raise ValueError(
        f"expected 'adapt PATCH', 'escalate ROLE', 'agent ID', 'model NAME', 'ask' or 'fail', "
        f"got {shown(value)}"
    )


class RungForm(Form):
    """One rung of a ladder; a bare text such as `ask` or `fail` names it."""

    agent: Id | None = None
    model: Text | None = None
    adapt: Id | None = None
    escalate: Text | None = None
    ask: Text | None = None
    fail: Annotated[bool, BeforeValidator(as_flag, json_schema_input_type=bool)] = False
    question: Text | None = None

    @model_validator(mode="after")
    def _whole(self) -> RungForm:
        exactly_one(self, ("agent", "model", "adapt", "escalate", "ask", "fail"), "a rung")
        return self


Deliverable = Annotated[
    DeliverableForm,
    BeforeValidator(stands_for("path"), json_schema_input_type=str | DeliverableForm),
]
Check = Annotated[
    CheckForm, BeforeValidator(as_command, json_schema_input_type=str | list[str] | CheckForm)
]
Checks = Annotated[
    list[Check], BeforeValidator(one_or_many, json_schema_input_type=str | list[Check])
]
Risk = Annotated[
    RiskForm, BeforeValidator(stands_for("text"), json_schema_input_type=str | RiskForm)
]
Decision = Annotated[
    DecisionForm, BeforeValidator(stands_for("text"), json_schema_input_type=str | DecisionForm)
]
Rung = Annotated[RungForm, BeforeValidator(_as_rung, json_schema_input_type=str | RungForm)]
Rungs = Annotated[
    list[Rung], BeforeValidator(one_or_many, json_schema_input_type=Rung | list[Rung])
]


class AssumptionForm(Form):
    """What is taken for granted; a bare text is just that."""

    text: Text
    proof: ProofForm | None = None
    on_failure: Rungs | None = None


Assumption = Annotated[
    AssumptionForm, BeforeValidator(stands_for("text"), json_schema_input_type=str | AssumptionForm)
]


Priority = Literal["critical", "high", "medium", "low"]


class TaskKeys(Form):
    """Keys that `defaults` may fill as well."""

    spellings: ClassVar = {"dependencies": ("depends_on", "deps", "needs")}
    agent: Id | None = None
    phase: Id | None = None
    priority: Priority | None = None
    port: Port | None = None
    days: Days | None = None
    dependencies: Ids | None = None
    uses: dict[Text, Count] | None = None
    deliverables: Annotated[list[Deliverable], BeforeValidator(as_list)] | None = None
    checks: Checks | None = None
    attempts: Annotated[Count, Field(le=100)] | None = None
    timeout_ms: Duration | None = Field(
        None, validation_alias="timeout", serialization_alias="timeout_ms"
    )
    idle_ms: Duration | None = Field(None, validation_alias="idle", serialization_alias="idle_ms")
    backoff_ms: Duration | None = Field(
        None, validation_alias="backoff", serialization_alias="backoff_ms"
    )
    on_failure: Rungs | None = None
    verifies: Ids | None = None
    metrics: list[MetricForm] | None = None
    evidence: Evidences | None = None
    approved_by: Texts | None = None
    risks: list[Risk] | None = None
    decisions: list[Decision] | None = None
    assumptions: list[Assumption] | None = None
    setup: Commands | None = None
    teardown: Commands | None = None
    copy_: InnerPaths | None = Field(None, validation_alias="copy", serialization_alias="copy")


class TaskForm(TaskKeys):
    """One file of tasks/."""

    id: Id | None = None
    name: Text | None = None
    worktree: Text | None = None
    branch: Branch | None = None
    body: Text | None = None
