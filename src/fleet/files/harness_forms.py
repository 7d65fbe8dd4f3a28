"""What a file of harnesses/ may hold, as Pydantic models: an agent program as data.

The form knows one file. What its placeholders name, and where, is checked with the other documents
(`harnesses`), for that needs places. The normal form is what `fleet.harnesses.profile` reads.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from fleet.files.agent_forms import Mode
from fleet.files.fields import (
    AnyJson,
    EnvName,
    Flag,
    Id,
    InnerPath,
    Scalar,
    Text,
    Texts,
    as_list,
    as_text,
    one_or_many,
    shown,
    stands_for,
)
from fleet.files.form import Form

PERMISSION = "permission"
OWN_FILES = frozenset(
    (
        *("answers", "brief.md", "claim", "done.json", "env", "exit", "hooks.json", "notes"),
        *("output.log", "passed", "prompt.md", "session", "silent", "spec", "stdout.fifo"),
        "stdout.log",
    )
)
"""What fleet itself keeps in an attempt's folder."""

RESET_GROUPS = ("wait", "epoch", "at")
_TESTED = re.compile(r"\d+(\.\d+)+( - \d+(\.\d+)+)?\Z")
_FILL = re.compile(r"[a-z]\w*\Z")


def _as_program(value: Any) -> str:
    text = as_text(value)
    if text.startswith("-"):
        raise ValueError("begins with '-', which is no program")
    if "/" in text and not text.startswith("/"):
        raise ValueError(
            "is relative, and agents start elsewhere; name it, or write its whole path"
        )
    return text


def _as_whole_path(value: Any) -> str:
    text = as_text(value)
    if not text.startswith("/"):
        raise ValueError("is relative; write its whole path")
    return text


def _as_tested(value: Any) -> str:
    text = as_text(value)
    if not _TESTED.match(text):
        raise ValueError(f"expected a version such as 2.1.0, or 2.0.0 - 2.9.9, got {shown(text)}")
    return text


def _as_expression(value: Any) -> str:
    text = as_text(value)
    try:
        re.compile(text)
    except re.error as wrong:
        raise ValueError(f"{shown(text)} is no regular expression: {wrong}") from None
    return text


def _as_reset(value: Any) -> str:
    text = _as_expression(value)
    if not set(re.compile(text).groupindex) & set(RESET_GROUPS):
        raise ValueError(
            "names no time: a group (?P<wait>...), (?P<epoch>...) or (?P<at>...) holds it"
        )
    return text


def _as_permissions(value: Any) -> Any:
    """Reads `[edits, yolo]` as permissions of which nothing need be said, a text or list as what
    `{permission}` stands for.
    """
    if isinstance(value, list):
        return {str(name) if isinstance(name, str) else name: {} for name in value}
    if not isinstance(value, dict):
        return value
    return {
        name: fills if isinstance(fills, dict) else {PERMISSION: fills}
        for name, fills in value.items()
    }


def _as_fill(value: Any) -> str | list[str]:
    return [as_text(word) for word in value] if isinstance(value, list) else as_text(value)


def _own_name(name: str) -> str:
    if name.partition("/")[0] in OWN_FILES:
        raise ValueError(f"{shown(name)} is what fleet itself keeps in an attempt's folder")
    return name


def _fill_name(name: str) -> str:
    if not _FILL.match(name):
        raise ValueError(f"{shown(name)} is no name of a placeholder: small letters, digits, '_'")
    return name


Words = Annotated[list[Text], BeforeValidator(as_list, json_schema_input_type=list[Text])]
Expression = Annotated[str, PlainValidator(_as_expression, json_schema_input_type=str)]
Reset = Annotated[str, PlainValidator(_as_reset, json_schema_input_type=str)]
FileName = Annotated[InnerPath, AfterValidator(_own_name)]
FillName = Annotated[Text, AfterValidator(_fill_name)]
Fill = Annotated[
    str | list[str], PlainValidator(_as_fill, json_schema_input_type=Scalar | list[Scalar])
]
Fills = Annotated[
    dict[Mode, dict[FillName, Fill]],
    BeforeValidator(
        _as_permissions,
        json_schema_input_type=list[Mode]
        | dict[Mode, Scalar | list[Scalar] | dict[FillName, Fill]],
    ),
]
Coded = Literal["aider", "claude", "codex", "copilot", "gemini", "mini", "opencode"]
"""Harnesses whose code understands what the program puts out."""

Hooked = Literal["aider", "claude", "codex", "copilot", "gemini", "opencode"]
"""Harnesses whose code hands hooks over."""


class VersionForm(Form):
    """What the program is asked for its version, and which one was tried."""

    asked: Texts | None = None
    tested: Annotated[str, PlainValidator(_as_tested, json_schema_input_type=str)] | None = None


class ModeForm(Form):
    """How the program is started in one mode."""

    start: Words
    resume: Words | None = None
    stdin: Text | None = None
    permissions: Fills | None = None
    sandboxed: Fills | None = None
    env: dict[EnvName, Text] | None = None
    files: dict[FileName, Text] | None = None
    events: Words | None = None


class AbsentForm(Form):
    """A placeholder that is filled only where a file is not there."""

    path: Annotated[str, PlainValidator(_as_whole_path, json_schema_input_type=str)]
    fill: Text


class UnaskedForm(Form):
    """What the program tells its hook of, but allows by its own rules."""

    tools: Words | None = None
    commands: Words | None = None


class FindForm(Form):
    """Where a value stands in an event; a bare text is its key."""

    key: Text
    where: dict[Text, AnyJson] | None = None


class UsageForm(Form):
    """Where usage stands in an event, name by name."""

    keys: dict[Literal["input_tokens", "cached_tokens", "output_tokens", "usd", "turns"], Text]
    where: dict[Text, AnyJson] | None = None
    add: Flag = False


Find = Annotated[
    FindForm, BeforeValidator(stands_for("key"), json_schema_input_type=str | FindForm)
]
Expressions = Annotated[
    list[Expression],
    BeforeValidator(one_or_many, json_schema_input_type=str | list[str]),
]


class ReadingForm(Form):
    """What the program's output means; a bare text is `like`."""

    like: Coded | None = None
    done: dict[Text, AnyJson] | None = None
    session: Find | None = None
    output: Find | None = None
    error: Find | None = None
    status: Find | None = None
    usage: UsageForm | None = None
    limited: Expressions | None = None
    resets: (
        Annotated[list[Reset], BeforeValidator(one_or_many, json_schema_input_type=str | list[str])]
        | None
    ) = None

    @model_validator(mode="after")
    def _whole(self) -> ReadingForm:
        if self.like is not None and len(self.model_fields_set) > 1:
            raise ValueError("'like' reads all of it; keep it, or the other keys")
        return self


class HarnessForm(Form):
    """One file of harnesses/."""

    id: Id | None = None
    name: Text | None = None
    program: Annotated[str, PlainValidator(_as_program, json_schema_input_type=str)]
    install: Text | None = None
    version: VersionForm | None = None
    account: Id | None = None
    words: Words | None = None
    headless: ModeForm | None = None
    interactive: ModeForm | None = None
    permissions: Fills | None = None
    sandboxed: Fills | None = None
    absent: dict[FillName, AbsentForm] | None = None
    env: dict[EnvName, Text] | None = None
    files: dict[FileName, Text] | None = None
    hooks: Hooked | None = None
    unasked: UnaskedForm | None = None
    reads: (
        Annotated[
            ReadingForm,
            BeforeValidator(stands_for("like"), json_schema_input_type=Coded | ReadingForm),
        ]
        | None
    ) = None
    measures: list[Literal["tokens", "usd"]] | None = Field(None, max_length=2)

    @model_validator(mode="after")
    def _whole(self) -> HarnessForm:
        if self.headless is None and self.interactive is None:
            raise ValueError("a harness has a mode: 'headless', 'interactive' or both")
        return self
