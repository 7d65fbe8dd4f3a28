"""What a model says and calls, in no protocol's words.

Tools are called by logical name (`write_file`, `run_command`); the list that a request offers says
what the program calls them and which arguments they take, so that one answer serves every program.
A program without a tool for files is told to write by its shell. Pure: no sockets, no clock.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WRITERS = ("write_file", "write", "create_file", "create", "str_replace_editor")
RUNNERS = (
    "run_command",
    "bash",
    "exec_command",
    "run_shell_command",
    "shell",
    "shell_command",
    "terminal",
    "execute_bash",
    "run_commands",
)
PLACES = {
    "path": ("file_path", "filePath", "path", "absolute_path", "filename"),
    "text": ("content", "file_text", "text", "contents"),
    "command": ("command", "cmd", "script", "commands"),
}
EMPTY: dict[str, Any] = {
    "string": "scripted",
    "boolean": False,
    "integer": 1,
    "number": 1,
    "array": [],
    "object": {},
}


@dataclass(frozen=True, slots=True)
class Call:
    """A tool by its logical name, with its arguments; not yet in a program's words."""

    tool: str
    arguments: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a turn is said to have cost; `cached` ones are not in `read`."""

    read: int = 10
    cached: int = 4
    written: int = 2


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as a request offers it; a free one takes text instead of arguments."""

    name: str
    schema: Mapping[str, Any] = field(default_factory=dict)
    free: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A turn with its calls in the program's own words: (tool, arguments)."""

    id: str
    model: str
    text: str
    calls: Sequence[tuple[str, Mapping[str, Any]]]
    usage: Usage


class NoTool(LookupError):
    """The request offers nothing that could carry out a call."""


def translate(call: Call, tools: Sequence[Tool]) -> tuple[str, dict[str, Any]]:
    """Returns the program's own tool and arguments; raises NoTool when nothing fits."""
    by_name = {tool.name.lower(): tool for tool in tools if not tool.free}
    if call.tool == "write_file":
        for name in WRITERS:
            if name in by_name:
                return _fill(by_name[name], call.arguments)
        path, text = (shlex.quote(call.arguments[name]) for name in ("path", "text"))
        return translate(Call("run_command", {"command": f"printf %s {text} > {path}"}), tools)
    if call.tool == "run_command":
        for name in RUNNERS:
            if name in by_name:
                return _fill(by_name[name], call.arguments)
        raise NoTool(f"none of {sorted(by_name)} runs a command")
    return call.tool, dict(call.arguments)  # a program's own tool, named as it is


def _fill(tool: Tool, arguments: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    known: Mapping[str, Any] = tool.schema.get("properties") or {}
    filled: dict[str, Any] = {}
    for role, value in arguments.items():
        name = next((one for one in PLACES[role] if one in known), PLACES[role][0])
        listed = known.get(name, {}).get("type") == "array"
        filled[name] = ["sh", "-c", value] if listed else value
    for name in tool.schema.get("required") or ():
        told = known.get(name) or {}
        kind = told.get("type")
        first = kind[0] if isinstance(kind, list) else str(kind)
        filled.setdefault(name, (told.get("enum") or [EMPTY.get(first, "scripted")])[0])
    return tool.name, filled
