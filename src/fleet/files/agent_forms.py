"""What agent files may hold, and what `defaults` may fill, as Pydantic models; in the way of
`forms`, which has those of tasks.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from fleet.files.destinations import Network
from fleet.files.fields import (
    Arguments,
    CommandForm,
    Count,
    Duration,
    EnvName,
    Expiry,
    HomePaths,
    Id,
    InnerPaths,
    Number,
    Patterns,
    Size,
    Text,
    Texts,
    stands_for,
)
from fleet.files.form import Form
from fleet.files.forms import TaskKeys


class AgentLimitsForm(Form):
    """What one attempt of an agent may take."""

    timeout_ms: Duration | None = Field(
        None, validation_alias="timeout", serialization_alias="timeout_ms"
    )
    idle_ms: Duration | None = Field(None, validation_alias="idle", serialization_alias="idle_ms")
    attempts: Annotated[Count, Field(le=100)] | None = None
    tokens: Count | None = None
    usd: Annotated[Number, Field(gt=0)] | None = None
    sessions: Count | None = None
    launches_per_minute: Count | None = None


class AccountForm(Form):
    """What all agents of an account may take together."""

    tokens: Count | None = None
    usd: Annotated[Number, Field(gt=0)] | None = None
    sessions: Count | None = None
    launches_per_minute: Count | None = None


class SandboxForm(Form):
    """What an agent's session is shut into; a bare text is its kind."""

    kind: Literal["none", "bwrap"] = "bwrap"
    read: Texts | None = None
    write: Texts | None = None
    copy_: HomePaths | None = Field(None, validation_alias="copy", serialization_alias="copy")
    network: Network | None = None
    memory_bytes: Size | None = Field(
        None, validation_alias="memory", serialization_alias="memory_bytes"
    )
    processes: Count | None = None


Mode = Literal["ask", "edits", "auto", "plan", "deny", "yolo"]


class PermissionsForm(Form):
    """What an agent may do by itself; a bare text is its mode."""

    mode: Mode | None = None
    allow: Patterns | None = None
    deny: Patterns | None = None
    expires_ms: Expiry | None = Field(
        None, validation_alias="expires", serialization_alias="expires_ms"
    )


Permissions = Annotated[
    PermissionsForm,
    BeforeValidator(stands_for("mode"), json_schema_input_type=Mode | PermissionsForm),
]


class AgentKeys(Form):
    """Keys that `defaults` may fill as well."""

    spellings: ClassVar = {"roles": ("role",)}
    roles: Texts | None = None
    harness: CommandForm | None = None
    account: Id | None = None
    model: Text | None = None
    mode: Literal["headless", "interactive"] | None = None
    args: Arguments | None = None
    env: dict[EnvName, Text] | None = None
    secrets: list[EnvName] | None = None
    permissions: Permissions | None = None
    limits: AgentLimitsForm | None = None
    sandbox: (
        Annotated[
            SandboxForm,
            BeforeValidator(
                stands_for("kind"), json_schema_input_type=Literal["none", "bwrap"] | SandboxForm
            ),
        ]
        | None
    ) = None
    owns: InnerPaths | None = None
    prompt: Text | None = None


class AgentForm(AgentKeys):
    """One file of agents/."""

    id: Id | None = None
    name: Text | None = None


class DefaultsForm(AgentKeys, TaskKeys):
    """What `defaults` in coordination.md may fill: keys of agents and tasks that may be shared."""

    spellings: ClassVar = {**AgentKeys.spellings, **TaskKeys.spellings}
