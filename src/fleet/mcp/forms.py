"""The arguments of each tool, as Pydantic models: their JSON Schema is what clients are told.

The docstring of a form is the description of its tool. Unknown arguments and other types are
errors: what a model makes up is told to it, not passed over.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet.errors import FleetError, did_you_mean

Name = Annotated[str, Field(min_length=1, max_length=200)]
Value = Annotated[
    Any,
    Field(json_schema_extra={"type": ["string", "number", "boolean", "object", "array", "null"]}),
]
"""Any JSON value, said so: a schema without a word is taken for a slip."""

Words = Annotated[str, Field(max_length=262_144)]
TASK: Final = "The task, or a workflow's step; inside an agent's session it is known."
RUN: Final = "The run, where `task` is a workflow's step; the fleet's own plan if left out."
LEASE_CHARS: Final = 600


class Form(BaseModel):
    """What all forms share."""

    model_config = ConfigDict(extra="forbid", strict=True)


class OfTask(Form):
    """What is said from inside an agent's session."""

    task: Annotated[str, Field(max_length=200, description=TASK)] = ""
    run: Annotated[str, Field(max_length=200, description=RUN)] = ""


class ListWorkflows(Form):
    """List the fleet's workflows with the inputs that each takes."""


class StartWorkflow(Form):
    """Start a run of a workflow and return its id at once; `run_status` tells how it goes, and
    `get_next_step` has the steps that you do yourself.
    """

    workflow: Annotated[Name, Field(description="A name of `list_workflows`.")]
    inputs: Annotated[dict[str, Value], Field(description="The workflow's inputs by name.")] = {}
    thread: Annotated[str, Field(max_length=200, description="The thread it belongs to.")] = ""
    client_roles: Annotated[
        list[Name],
        Field(description="Roles of this run that clients like you play, by `get_next_step`."),
    ] = []


class GetNextStep(Form):
    """Take the next step that is meant for you, with a lease: kind `delegate`, `prompt` or
    `mcp_call`, and what is to be done; or kind `none` and when to ask again. Hand in what it came
    to with `submit_result` before the lease ends, or renew it; then it goes to another client.
    """

    roles: Annotated[
        list[Name],
        Field(
            description="Agents and roles that you play; none for steps of every agent that is a "
            "client. Questions come only to roles that are named here."
        ),
    ] = []
    lease_s: Annotated[
        float, Field(gt=0, le=86_400, description="How many seconds you want it for.")
    ] = 300.0
    lease: Annotated[
        str, Field(max_length=LEASE_CHARS, description="A lease that you have, to be renewed.")
    ] = ""


class SubmitResult(Form):
    """Hand in what a step came to. Refused, saying why, when the lease has gone or the output is
    not what the step asks for.
    """

    lease: Annotated[str, Field(max_length=LEASE_CHARS, description="As get_next_step gave it.")]
    ended: Annotated[
        Literal["done", "failed", "returned"],
        Field(description="`returned` gives the step back, for another client to do."),
    ] = "done"
    output: Annotated[
        Value, Field(description="A text, or the value that `output_schema` asks for.")
    ] = None
    note: Annotated[Words, Field(description="Why it failed, or a word beside an answer.")] = ""


class RunStatus(Form):
    """Tell how a run stands: its state, each step with its output or error, open questions and the
    result.
    """

    run: Annotated[Name, Field(description="The id of a run, or its unique beginning.")]


class Inbox(Form):
    """List the open questions of all runs, what costs most slack first."""


class Answer(Form):
    """Answer an open question; an approval takes `approve` or `reject`."""

    question: Annotated[Name, Field(description="Its id, as `inbox` and `run_status` tell it.")]
    value: Annotated[Words, Field(description="The answer; one of `choices` if there are any.")]
    note: Annotated[Words, Field(description="A word beside it; why it is rejected.")] = ""


class Decisions(Form):
    """List what was decided in all runs: answers by roles and people, and what tasks say."""


class CheckIn(OfTask):
    """Report the day's work of a task: what is done, what comes next, what is in the way."""

    done: Annotated[Words, Field(description="What is done.")] = ""
    next: Annotated[Words, Field(description="What comes next.")] = ""
    blockers: Annotated[list[Words], Field(description="What is in the way.")] = []


class Ask(OfTask):
    """Ask a role or a person and return the question's id at once; the answer comes into the
    session or the next brief, and for a client that works itself into the `notes` of its step.
    """

    question: Annotated[Words, Field(min_length=1, description="The question.")]
    topic: Annotated[str, Field(max_length=200, description="What it is about.")] = ""
    severity: Literal["", "low", "medium", "high", "critical"] = ""
    choices: Annotated[list[Name], Field(description="Possible answers.")] = []
    expires_s: Annotated[
        float | None, Field(ge=0, description="Close it after so many seconds.")
    ] = None
    default: Annotated[str | None, Field(description="The answer when it expires.")] = None
    waits_for: Annotated[
        str, Field(max_length=200, description="The task whose work this waits for.")
    ] = ""


class Done(OfTask):
    """Say that the work of a task is done, and give its output."""

    output: Annotated[Words | None, Field(description="The task's output.")] = None
    evidence: Annotated[
        dict[str, str],
        Field(description="What is shown -> a committed file that shows it.", max_length=100),
    ] = {}


class Output(OfTask):
    """Give the output of a task, before the work is done or with it; the last one counts."""

    output: Annotated[Words, Field(description="The output.")]


class Finding(OfTask):
    """Keep something found beside the task, for people to read."""

    text: Annotated[str, Field(min_length=1, max_length=16_384, description="What was found.")]
    severity: Literal["low", "medium", "high", "critical"] = "medium"
    where: Annotated[str, Field(max_length=1_000, description="Where: a file, a line.")] = ""


class Moved(Form):
    """Needs that a task gets, and such as it loses."""

    add: list[Name] = []
    remove: list[Name] = []


class Inserted(Form):
    """A task and where it goes."""

    task: Annotated[
        Name | dict[str, Value],
        Field(description="A task with `id` and the keys of its document, or the id of one."),
    ]
    before: list[Name] = []
    after: list[Name] = []


class ProposePlanChange(Form):
    """Change the fleet's plan: at once inside of the fleet's envelope, else a person approves or
    rejects it. What would change is checked and told at once. Of a task that has begun, `running`
    says whether it is stopped and goes on behind what is put before it, or left.
    """

    reason: Annotated[str, Field(min_length=1, max_length=4_000, description="Why.")]
    add: Annotated[
        list[dict[str, Value]],
        Field(description="Tasks, each with `id` and the keys of a task's document."),
    ] = []
    insert: Annotated[list[Inserted], Field(description="Tasks between others.")] = []
    needs: Annotated[dict[Name, Moved], Field(description="Needs to be changed, by task.")] = {}
    drop: Annotated[list[Name], Field(description="Tasks to be dropped.")] = []
    running: Annotated[
        dict[Name, Literal["stop", "leave"]], Field(description="For tasks that have begun.")
    ] = {}


class MemorySave(Form):
    """Keep a value under a key, in the place of the one before; it lasts across runs."""

    key: Name
    value: Value
    namespace: Annotated[str, Field(max_length=200)] = ""


class MemoryGet(Form):
    """Return what is kept under a key: {found, value}."""

    key: Name
    namespace: Annotated[str, Field(max_length=200)] = ""


class MemoryAdd(Form):
    """Add a note to a category; `memory_search` finds it."""

    category: Name
    content: Value
    namespace: Annotated[str, Field(max_length=200)] = ""


class MemorySearch(Form):
    """Find what holds all words of a query, the best first."""

    query: Annotated[str, Field(min_length=1, max_length=1_000)]
    category: Annotated[str, Field(max_length=200)] = ""
    limit: Annotated[int, Field(ge=1, le=1_000)] = 20
    namespace: Annotated[str, Field(max_length=200)] = ""


def read(form: type[Form], tool: str, arguments: dict[str, Any]) -> Form:
    """Returns the arguments of a call; raises FleetError with all that is wrong with them."""
    try:
        return form.model_validate(arguments)
    except ValidationError as wrong:
        told = "; ".join(_problem(form, one) for one in wrong.errors(include_url=False))
    known = ", ".join(form.model_fields) or "nothing"
    raise FleetError(f"{tool}: {told}", hint=f"it takes: {known}")


def _problem(form: type[Form], wrong: Any) -> str:
    where = ".".join(str(part)[:60] for part in wrong["loc"])
    if wrong["type"] == "extra_forbidden":
        near = did_you_mean(where, form.model_fields)
        return f"there is no argument {where!r}{', ' + near if near else ''}"
    if wrong["type"] == "missing":
        return f"the argument {where!r} is missing"
    said = str(wrong["msg"])
    return f"{where}: {said[:1].lower()}{said[1:]}"


def schema_of(form: type[Form]) -> dict[str, Any]:
    """Returns the JSON Schema of a form, without what repeats its names."""
    found: dict[str, Any] = _bare(form.model_json_schema())
    found.pop("description", None)
    return found


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        named = "properties" in value
        return {
            key: (
                {n: _bare(one) for n, one in inner.items()} if key == "properties" else _bare(inner)
            )
            for key, inner in value.items()
            if key != "title" or (named and isinstance(inner, dict))
        }
    return [_bare(one) for one in value] if isinstance(value, list) else value


def description_of(form: type[Form]) -> str:
    """Returns what a form's tool does, in one line."""
    return " ".join((form.__doc__ or "").split())
