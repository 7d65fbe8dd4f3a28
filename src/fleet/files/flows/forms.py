"""What workflow files may hold, as Pydantic models: both dialects and each type of step.

Lists of steps stay plain here: `checking` validates each step against the form of its own type, so
that what is said about an unknown key names the keys of that type.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from fleet.files.fields import (
    AnyJson,
    CommandForm,
    Commands,
    Count,
    Duration,
    EnvName,
    Flag,
    Id,
    Ids,
    Text,
    Texts,
    one_or_many,
)
from fleet.files.form import Form

Steps = list[Any]
Names = Annotated[list[Text], BeforeValidator(one_or_many)]
INPUT_TYPES: Final = ("string", "number", "integer", "boolean", "array", "object", "any")


class InputForm(Form):
    """An input that a workflow takes."""

    type: Literal["string", "number", "integer", "boolean", "array", "object", "any"] = "any"
    required: Flag = False
    default: AnyJson = None
    description: Text = ""


class WorkflowForm(Form):
    """The step dialect."""

    name: Text | None = None
    version: Text | None = None
    description: Text | None = None
    thread: Text | None = None
    workspace: Literal["none", "worktree"] | None = None
    inputs: dict[Text, InputForm] | None = None
    initial_state: dict[Text, AnyJson] | None = None
    steps: Annotated[Steps, Field(min_length=1)]


class GraphForm(Form):
    """The graph dialect."""

    name: Text | None = None
    threadId: Text | None = None  # noqa: N815 - the dialect's own spelling
    workspace: Literal["none", "worktree"] | None = None
    workflow: Annotated[Steps, BeforeValidator(one_or_many), Field(min_length=1)]


class NodeForm(Form):
    """A step of the graph dialect."""

    id: Id | None = None
    role: Text
    task: Text
    deps: Ids | None = None
    workspace: Literal["none", "worktree"] | None = None
    timeout: Duration | None = Field(default=None, serialization_alias="timeout_ms")
    attempts: Count | None = None


class StepForm(Form):
    """What steps of all types share."""

    id: Id
    type: Text
    name: Text | None = None
    output_to: Text | None = None
    needs: Ids | None = None
    needs_state: Names | None = None
    workspace: Literal["none", "worktree"] | None = None
    timeout: Duration | None = Field(default=None, serialization_alias="timeout_ms")
    attempts: Count | None = None


class PromptForm(StepForm):
    """Asks a person, or whichever client of `fleet mcp` plays the role `to`."""

    message: Text
    input: Literal["text", "confirm", "choice", "number"] = "text"
    choices: Texts | None = None
    default: AnyJson = None
    to: Text | None = None


class SetStateForm(StepForm):
    """Sets variables of the run's state."""

    updates: dict[Text, AnyJson]


class ForeachForm(StepForm):
    """Does the same for each of a list."""

    items: AnyJson
    task: Text | None = None
    steps: Steps | None = None
    inputs: dict[Text, AnyJson] | None = None
    agent: Text | None = None
    max_parallel: Count | None = None


class DelegateForm(StepForm):
    """Has an agent do something."""

    instructions: Text
    agent: Text | None = None
    output: dict[Text, AnyJson] | None = None


class ShellForm(StepForm):
    """Runs a command."""

    command: CommandForm
    env: dict[EnvName, AnyJson] | None = None


class ConditionForm(StepForm):
    """Takes one of two branches."""

    test: AnyJson = Field(alias="if")
    then: Steps | None = None
    otherwise: Steps | None = Field(default=None, alias="else")


class WhileForm(StepForm):
    """Goes on as long as a condition holds."""

    condition: AnyJson
    max: Count
    steps: Annotated[Steps, Field(min_length=1)]


class RepeatForm(StepForm):
    """Does something until a condition holds, once at least."""

    until: AnyJson
    max: Count
    steps: Annotated[Steps, Field(min_length=1)]


class ToolForm(StepForm):
    """Calls a tool."""

    tool: Text
    parameters: dict[Text, AnyJson] | None = None
    output: dict[Text, AnyJson] | None = None


class VerifyForm(StepForm):
    """Judges what another step made; what it finds is that step's rework."""

    of: Id
    checks: Commands | None = None
    agent: Text | None = None
    instructions: Text | None = None
    otherwise: Steps | None = Field(default=None, alias="else")


class ApproveForm(StepForm):
    """Asks a person's approval."""

    message: Text
    by: Text | None = None
    otherwise: Steps | None = Field(default=None, alias="else")


class EscalateForm(StepForm):
    """Asks whoever decides; the answer is the output."""

    question: Text
    topic: Text | None = None
    to: Text | None = None


class MovedForm(Form):
    """Needs that a task gets, and such as it loses."""

    add: list[Id] | None = None
    remove: list[Id] | None = None


class InsertedForm(Form):
    """A task, or the id of one, and where it goes."""

    task: Id | dict[Text, AnyJson]
    before: Names | None = None
    after: Names | None = None


class PatchForm(Form):
    """A change of the fleet's plan."""

    reason: Text | None = None
    add: list[dict[Text, AnyJson]] | None = None
    insert: (
        Annotated[
            list[InsertedForm],
            BeforeValidator(one_or_many, json_schema_input_type=InsertedForm | list[InsertedForm]),
        ]
        | None
    ) = None
    needs: dict[Id, MovedForm] | None = None
    drop: list[Id] | None = None
    running: dict[Id, Literal["stop", "leave"]] | None = None


class AdaptForm(StepForm):
    """Proposes a change of the fleet's plan to a person: a patch of coordination.md by its name, or
    one that is written out.
    """

    patch: Annotated[Id | PatchForm, Field(union_mode="left_to_right")]
    by: Text | None = None
    otherwise: Steps | None = Field(default=None, alias="else")


class SubworkflowForm(StepForm):
    """Runs another workflow."""

    workflow: Text | None = None
    file: Text | None = None
    inputs: dict[Text, AnyJson] | None = None


class ReturnForm(StepForm):
    """Ends the workflow with a result."""

    value: AnyJson = None


STEP_FORMS: Final[dict[str, type[StepForm]]] = {
    "prompt": PromptForm,
    "set_state": SetStateForm,
    "foreach": ForeachForm,
    "delegate": DelegateForm,
    "shell": ShellForm,
    "condition": ConditionForm,
    "while": WhileForm,
    "repeat": RepeatForm,
    "mcp_call": ToolForm,
    "verify": VerifyForm,
    "approve": ApproveForm,
    "escalate": EscalateForm,
    "adapt": AdaptForm,
    "workflow": SubworkflowForm,
    "return": ReturnForm,
}

LISTS: Final = ("steps", "then", "else")
"""Keys of a step that hold further steps."""
