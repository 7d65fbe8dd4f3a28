"""What an entry of `mcp_servers` in coordination.md may hold, as Pydantic models."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from fleet.files.fields import (
    CommandForm,
    Duration,
    EnvName,
    Size,
    Texts,
    as_folder,
    as_text,
    shown,
)
from fleet.files.form import Form, exactly_one
from fleet.files.names import is_reference, looks_like_reference
from fleet.files.servers import parts_of_header

MOST_OUTPUT_BYTES: Final = 64 << 20
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")


def _as_url(value: Any) -> str:
    text = as_text(value)
    asked = "expected an address such as https://tools.example.org/mcp"
    try:
        found = urlsplit(text)
        host = found.hostname
        _ = found.port
    except ValueError:
        host, found = None, urlsplit("")
    if found.scheme not in {"http", "https"} or not host or not text.isprintable() or " " in text:
        raise ValueError(f"{asked}, got {shown(text)}")
    if "@" in found.netloc:  # it is not shown: it may hold a password
        raise ValueError(f"{asked}, without a name or password; those belong into `headers`")
    return text


def _as_header(value: Any) -> str:
    text = as_text(value)
    if not _HEADER.match(text):
        raise ValueError(f"{shown(text)} is no name of a header")
    return text.lower()


def _as_value(value: Any) -> str:
    """Returns a text, or a reference that holds; what may be a secret is not shown."""
    text = as_text(value)
    if looks_like_reference(text) and not is_reference(text):
        raise ValueError(
            "expected a reference: env:NAME, file:PATH, cmd:... or keyring:service/name"
        )
    return text


def _as_header_value(value: Any) -> str:
    text = as_text(value)
    _as_value(parts_of_header(text)[1])
    if not text.isprintable() or not text.isascii() or text != text.strip():
        raise ValueError("expected one line of ASCII without space around it")
    return text


def _as_output(value: int) -> int:
    if value > MOST_OUTPUT_BYTES:
        raise ValueError("expected at most 64M: it is kept in the journal")
    return value


class McpServerForm(Form):
    """A server of tools: a command to start, or an address."""

    strangers: ClassVar = {
        "args": "they stand behind the program: command: [npx, server]",
        "type": "`command` starts one, `url` is where another one is",
    }

    command: CommandForm | None = None
    env: (
        dict[EnvName, Annotated[str, PlainValidator(_as_value, json_schema_input_type=str)]] | None
    ) = None
    secrets: list[EnvName] | None = None
    cwd: Annotated[str, PlainValidator(as_folder, json_schema_input_type=str)] | None = None
    url: Annotated[str, PlainValidator(_as_url, json_schema_input_type=str)] | None = None
    headers: (
        dict[
            Annotated[str, PlainValidator(_as_header, json_schema_input_type=str)],
            Annotated[str, PlainValidator(_as_header_value, json_schema_input_type=str)],
        ]
        | None
    ) = None
    tools: Texts | None = None
    timeout: Duration | None = Field(default=None, serialization_alias="timeout_ms")
    startup: Duration | None = Field(default=None, serialization_alias="startup_ms")
    idle: Duration | None = Field(default=None, serialization_alias="idle_ms")
    max_output: Annotated[Size, AfterValidator(_as_output)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> McpServerForm:
        exactly_one(self, ("command", "url"), "an MCP server")
        is_process = "command" in self.model_fields_set
        strangers = ("headers",) if is_process else ("env", "secrets", "cwd")
        for key in strangers:
            if key in self.model_fields_set:
                kind = "a command" if is_process else "an address"
                raise ValueError(f"{key!r} does not belong to a server that is {kind}")
        return self
