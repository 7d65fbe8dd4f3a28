"""MCP servers of coordination.md: what must hold of them, and how one is handed to a run.

A reference to a secret goes along as it is written; its value is in no document, plan or bundle.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from fleet.errors import Problem, did_you_mean
from fleet.files.documents import Settings
from fleet.files.fleet import Fleet
from fleet.files.flows.lowering import CLIENT
from fleet.files.names import is_reference

BUILT_IN: Final = "memory"
"""Whose tools are no server's."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9-]* )?(.*)", re.DOTALL)


def parts_of_header(text: str) -> tuple[str, str]:
    """Returns a header's value in two: `Bearer ` or such, and what may be a reference."""
    found = _SCHEME.fullmatch(text)
    assert found is not None, "it matches everything"
    return found[1] or "", found[2]


def server_params(settings: Settings, name: str) -> dict[str, Any]:
    """Returns a server as the adapter reads it, in plain JSON."""
    told = settings.mcp_servers[name]
    command: Any = told.get("command")
    argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command or ())
    env = _texts(told, "env")
    secrets = {one: settings.secrets.get(one, f"env:{one}") for one in _list(told, "secrets")}
    split = {one: parts_of_header(value) for one, value in _texts(told, "headers").items()}
    kept = {one for one, (_, rest) in split.items() if is_reference(rest)}
    found = {
        "name": name,
        "command": argv,
        "env": {one: value for one, value in env.items() if not is_reference(value)},
        "secrets": {**secrets, **{one: value for one, value in env.items() if is_reference(value)}},
        "cwd": told.get("cwd"),
        "url": told.get("url"),
        "headers": {one: "".join(both) for one, both in split.items() if one not in kept},
        "secret_headers": {one: list(split[one]) for one in kept},
        "tools": _list(told, "tools"),
        "max_output_bytes": told.get("max_output"),
        **{f"{key}_s": _seconds(told.get(f"{key}_ms")) for key in ("timeout", "startup", "idle")},
    }
    return {key: value for key, value in found.items() if value}


def servers_hold(fleet: Fleet) -> Iterator[Problem]:
    """A server has a name of its own, and only secrets that the settings say where to find."""
    known = fleet.settings.secrets
    for name, told in fleet.settings.mcp_servers.items():
        if name in (BUILT_IN, CLIENT):
            place = fleet.place("fleet", "", "mcp_servers", name)
            yield Problem(f"{name!r} is built in", place, "give the server another name")
        for number, secret in enumerate(_list(told, "secrets")):
            if secret not in known:
                place = fleet.place("fleet", "", "mcp_servers", name, "secrets", number)
                hint = did_you_mean(secret, known) or f"for example {{{secret}: env:{secret}}}"
                yield Problem(f"no secret {secret!r} under `secrets`", place, hint)


def tool_problem(settings: Settings, name: str, built_in: Collection[str]) -> tuple[str, str]:
    """Returns why no such tool can be called, as far as documents tell, and what to do; two empty
    texts for one that may be there.
    """
    if name in built_in or name in settings.functions:
        return "", ""
    server, _, tool = name.partition(".")
    told = settings.mcp_servers.get(server)
    if told is not None and tool:
        allowed = _list(told, "tools")
        if not allowed or any(fnmatchcase(tool, pattern) for pattern in allowed):
            return "", ""
        return f"the server {server!r} is not allowed its tool {tool!r}", (
            did_you_mean(tool, allowed) or f"add it to `tools` of {server!r} in coordination.md"
        )
    if told is not None:
        return f"no tool {name!r}", f"write it as {server}.TOOL"
    near = did_you_mean(name, {*built_in, *settings.functions})
    if near or server == BUILT_IN:
        return f"no tool {name!r}", near or f"{BUILT_IN} has {', '.join(sorted(built_in))}"
    text = f"no MCP server {server!r}" if tool else f"no tool {name!r}"
    more = "declare it under `mcp_servers`, or a function of this name under `functions`"
    return text, did_you_mean(server, settings.mcp_servers) or f"{more}, in coordination.md"


def _texts(told: Mapping[str, Any], key: str) -> dict[str, str]:
    return dict(told.get(key) or {})


def _list(told: Mapping[str, Any], key: str) -> list[str]:
    return list(told.get(key) or ())


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
