"""What the front matter of coordination.md may hold, as Pydantic models."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from fleet.files.agent_forms import AccountForm, DefaultsForm
from fleet.files.fields import (
    AnyJson,
    Branch,
    CommandForm,
    Commands,
    Count,
    Duration,
    EnvName,
    Flag,
    Id,
    Ids,
    InnerPaths,
    Number,
    Ports,
    Text,
    Texts,
    as_flag,
    as_folder,
    as_text,
    one_or_many,
    shown,
)
from fleet.files.form import Form, as_command, exactly_one
from fleet.files.forms import (
    Checks,
    MetricForm,
    Risk,
    Rungs,
    TaskForm,
)
from fleet.files.names import is_reference, limit_problem
from fleet.files.proof_forms import JudgedForm
from fleet.files.server_forms import McpServerForm

_COUNTRY = re.compile(r"[A-Z]{2}(?:-[A-Z0-9]{1,3})?\Z")
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _as_date(value: Any) -> str:
    text = as_text(value)
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError(f"expected a date such as 2026-11-23, got {shown(text)}") from None


def _as_calendar(value: Any) -> Any:
    if value == "everyday":
        return {"weekend": []}
    if not isinstance(value, dict):
        raise ValueError(f"expected everyday or {{weekend, holidays}}, got {shown(value)}")
    return value


def _as_holidays(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_date(inner) for inner in value]
    text = as_text(value)
    if not _COUNTRY.match(text):
        raise ValueError(f"expected dates or a country code such as DE or US-CA, got {shown(text)}")
    return text


def _as_approve(value: Any) -> Any:
    if isinstance(value, list):
        if not value:
            raise ValueError("names nobody; leave it out, or name who approves")
        return [as_text(inner) for inner in value]
    return as_flag(value)


def _as_limit(value: Any) -> str:
    text = as_text(value)
    wrong = limit_problem(text)
    if wrong:
        raise ValueError(f"{shown(text)} {wrong}")
    return text


def _as_secret(value: Any) -> str:
    text = as_text(value)
    if not is_reference(text):  # the value itself is not shown: it may be the secret
        raise ValueError(
            "expected a reference: env:NAME, file:PATH, cmd:... or keyring:service/name"
        )
    return text


def _as_function(value: Any) -> str:
    text = as_text(value)
    if not re.match(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\Z", text):
        raise ValueError(f"expected module:function, got {shown(text)}")
    return text


Date = Annotated[str, PlainValidator(_as_date, json_schema_input_type=str)]
OneOrMore = Annotated[list[Id], BeforeValidator(one_or_many, json_schema_input_type=Id | list[Id])]
LimitName = Annotated[str, BeforeValidator(_as_limit, json_schema_input_type=str)]


class CalendarForm(Form):
    """Days without work: days of the week, and dates or a country's public holidays."""

    weekend: list[Weekday] | None = None
    holidays: (
        Annotated[
            list[str] | str, PlainValidator(_as_holidays, json_schema_input_type=list[str] | str)
        ]
        | None
    ) = None


class PhaseForm(Form):
    """Tasks that pass one gate together, and how they land."""

    id: Id
    name: Text | None = None
    tasks: Ids | None = None
    checks: Checks | None = None
    approve: Annotated[
        bool | list[str], PlainValidator(_as_approve, json_schema_input_type=bool | list[str])
    ] = False
    merge: Literal["ask", "auto"] | None = None
    strategy: Literal["merge", "squash", "rebase"] | None = None
    land: Literal["local", "pr"] | None = None
    tag: Branch | None = None
    rollback: Commands | None = None


class EscalationForm(Form):
    """Whom questions of a topic, a kind or a severity go to, and for how long."""

    topic: Text | None = None
    kind: Text | None = None
    severity: Literal["low", "medium", "high", "critical"] | None = None
    to: Text
    within_ms: Duration | None = Field(
        None, validation_alias="within", serialization_alias="within_ms"
    )

    @model_validator(mode="after")
    def _whole(self) -> EscalationForm:
        if not {"topic", "kind", "severity"} & self.model_fields_set:
            raise ValueError("an escalation names a topic, a kind or a severity")
        return self


class LoopsForm(Form):
    """After how many rounds a loop is seen, and what follows."""

    after: Annotated[Count, Field(ge=2, le=100)] | None = None
    then: Rungs | None = None


class InsertForm(Form):
    """A task, or the id of one, and the tasks that it goes before and after."""

    task: Annotated[Id | TaskForm, Field(union_mode="left_to_right")]
    before: OneOrMore | None = None
    after: OneOrMore | None = None

    @model_validator(mode="after")
    def _whole(self) -> InsertForm:
        if not self.before and not self.after:
            raise ValueError("say where the task goes: before, after, or both")
        return self


class NeedsForm(Form):
    """Needs that a patch adds to a task, and such as it removes."""

    add: Ids | None = None
    remove: Ids | None = None


class PatchForm(Form):
    """A change to the plan that the fleet keeps ready under a name."""

    add: list[TaskForm] | None = None
    insert: (
        Annotated[
            list[InsertForm],
            BeforeValidator(one_or_many, json_schema_input_type=InsertForm | list[InsertForm]),
        ]
        | None
    ) = None
    needs: dict[Id, NeedsForm] | None = None
    drop: Ids | None = None
    running: dict[Id, Literal["stop", "leave"]] | None = None
    reason: Text | None = None


def _as_may_drop(value: Any) -> Any:
    return [as_text(inner) for inner in value] if isinstance(value, list) else as_flag(value)


class EnvelopeForm(Form):
    """What patches may do without being approved."""

    max_tasks: Count | None = None
    max_days: Annotated[Number, Field(gt=0)] | None = None
    agents: Ids | None = None
    may_drop: Annotated[
        bool | list[str], PlainValidator(_as_may_drop, json_schema_input_type=bool | list[str])
    ] = False


class ItemForm(JudgedForm):
    """One condition of a checkpoint: a command; a bare text or argv is that."""

    strangers: ClassVar = {"agent": "what an agent judges is a task with `verifies`; need that"}


Item = Annotated[
    ItemForm,
    BeforeValidator(as_command, json_schema_input_type=str | list[str] | ItemForm),
]
Items = Annotated[list[Item], BeforeValidator(one_or_many, json_schema_input_type=str | list[Item])]


class CheckpointForm(Form):
    """A gate anywhere in the plan: what it stands on, what it asks, what it stands before."""

    id: Id
    name: Text | None = None
    needs: Ids | None = None
    before: Ids | None = None
    checks: Items | None = None
    checklist: dict[Text, Items] | None = None
    setup: Commands | None = None
    copy_: InnerPaths | None = Field(None, validation_alias="copy", serialization_alias="copy")
    approve: Annotated[
        bool | list[str], PlainValidator(_as_approve, json_schema_input_type=bool | list[str])
    ] = False

    @model_validator(mode="after")
    def _whole(self) -> CheckpointForm:
        if not (self.needs or self.before):
            raise ValueError("say what it stands on (needs), what waits for it (before), or both")
        return self


class NotifyForm(Form):
    """Who is told of what: a command, an address or the desktop."""

    on: Texts | None = None
    command: CommandForm | None = None
    url: Text | None = None
    desktop: Flag | None = None

    @model_validator(mode="after")
    def _whole(self) -> NotifyForm:
        exactly_one(self, ("command", "url", "desktop"), "a notification")
        return self


class FleetForm(Form):
    """The front matter of coordination.md."""

    fleet: Text | None = None
    base: Branch | None = None
    start: Date | None = None
    calendar: (
        Annotated[
            CalendarForm,
            BeforeValidator(
                _as_calendar, json_schema_input_type=Literal["everyday"] | CalendarForm
            ),
        ]
        | None
    ) = None
    worktrees: Annotated[str, BeforeValidator(as_folder, json_schema_input_type=str)] | None = None
    phases: list[PhaseForm] | None = None
    limits: dict[LimitName, Count] | None = None
    accounts: dict[Id, AccountForm] | None = None
    defaults: DefaultsForm | None = None
    ports: Ports | None = None
    metrics: list[MetricForm] | None = None
    risks: list[Risk] | None = None
    escalations: list[EscalationForm] | None = None
    loops: LoopsForm | None = None
    patches: dict[Id, PatchForm] | None = None
    envelope: EnvelopeForm | None = None
    checkpoints: list[CheckpointForm] | None = None
    mcp_servers: dict[Id, McpServerForm] | None = None
    functions: dict[Text, Annotated[str, PlainValidator(_as_function)]] | None = None
    notify: list[NotifyForm] | None = None
    secrets: dict[EnvName, Annotated[str, PlainValidator(_as_secret)]] | None = None


__all__ = ["AnyJson", "FleetForm"]
