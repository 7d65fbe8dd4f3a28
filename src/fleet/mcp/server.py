"""The server: lists of tools and resources, and a call's way to `app` and back.

Each call runs in a thread, on a fleet that is read anew. What goes wrong is told as one sentence
with its cure, in the result of the call; text of others is written so that a terminal shows it and
does not obey it.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError

from fleet.app.place import FleetPlace
from fleet.errors import FleetError, NotFound, did_you_mean
from fleet.mcp import forms, resources
from fleet.mcp.tools import TOOLS, Caller
from fleet.render.text import plain

Asked = ServerRequestContext[Any, Any]

CALLS_AT_ONCE: Final = 8
CLIENT_CHARS: Final = 80
INSTRUCTIONS: Final = (
    "Fleet runs agents, tasks and workflows on this repository. Start a workflow with "
    "start_workflow and ask run_status how it goes. To work yourself, call get_next_step, do what "
    "its brief says, and hand the outcome in with submit_result; ask again when it says `none`. "
    "Nothing waits: whatever takes long is asked for again."
)
_UNSAFE: Final = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)


@dataclass(frozen=True, slots=True)
class Door:
    """What the protocol asks of one fleet; `inside` an agent's session it speaks for that."""

    root: Path
    inside: bool
    limiter: anyio.CapacityLimiter

    async def list_tools(self, _asked: Asked, _page: Any) -> types.ListToolsResult:
        """Returns the table of tools."""
        return types.ListToolsResult(tools=[_told(name) for name in TOOLS])

    async def call_tool(
        self, asked: Asked, call: types.CallToolRequestParams
    ) -> types.CallToolResult:
        """Returns what a tool came to; raises MCPError for one that is not there."""
        if call.name not in TOOLS:
            near = did_you_mean(call.name, TOOLS)
            text = plain(f"no tool {call.name[:80]!r}{': ' + near if near else ''}")
            raise MCPError(types.INVALID_PARAMS, text)
        caller = Caller(place=FleetPlace(self.root), client=_client(asked), inside=self.inside)
        result: types.CallToolResult = await self._in_thread(
            lambda: _called(caller, call.name, call.arguments or {})
        )
        return result

    async def list_resources(self, _asked: Asked, _page: Any) -> types.ListResourcesResult:
        """Returns what is there to be read now."""
        found = await self._in_thread(lambda: resources.listed(FleetPlace(self.root)))
        return types.ListResourcesResult(
            resources=[
                types.Resource(uri=uri, name=plain(name), description=plain(text), mime_type=kind)
                for uri, name, text, kind in found
            ]
        )

    async def list_templates(self, _asked: Asked, _page: Any) -> types.ListResourceTemplatesResult:
        """Returns the shapes of addresses."""
        return types.ListResourceTemplatesResult(
            resource_templates=[
                types.ResourceTemplate(
                    uri_template=f"{resources.SCHEME}{name}",
                    name=name.partition("/")[0],
                    description=text,
                    mime_type=kind,
                )
                for name, (text, kind) in resources.TEMPLATES.items()
            ]
        )

    async def read_resource(
        self, _asked: Asked, wanted: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """Returns what lies at an address; raises MCPError with the refusal."""
        uri = str(wanted.uri)
        try:
            found, kind = await self._in_thread(lambda: resources.read(FleetPlace(self.root), uri))
        except FleetError as refused:
            unknown = isinstance(refused, NotFound)
            code = types.INVALID_PARAMS if unknown else types.INTERNAL_ERROR
            raise MCPError(code, _sentence(refused)) from refused
        text = found if isinstance(found, str) else safe_json(found)
        contents = types.TextResourceContents(uri=uri, mime_type=kind, text=text)
        return types.ReadResourceResult(contents=[contents])

    async def _in_thread(self, what: Callable[[], Any]) -> Any:
        return await anyio.to_thread.run_sync(what, limiter=self.limiter)


def build(root: Path, *, inside: bool) -> Server[Any]:
    """Returns the server of the fleet at `root`; call it where an event loop runs."""
    door = Door(root, inside, anyio.CapacityLimiter(CALLS_AT_ONCE))
    return Server(
        "fleet",
        version=version("worktree-fleet"),
        instructions=INSTRUCTIONS,
        on_list_tools=door.list_tools,
        on_call_tool=door.call_tool,
        on_list_resources=door.list_resources,
        on_list_resource_templates=door.list_templates,
        on_read_resource=door.read_resource,
    )


def _told(name: str) -> types.Tool:
    tool = TOOLS[name]
    return types.Tool(
        name=name,
        description=forms.description_of(tool.form),
        input_schema=forms.schema_of(tool.form),
        annotations=types.ToolAnnotations(read_only_hint=tool.looks, open_world_hint=False),
    )


def _client(asked: Asked) -> str:
    """Returns the name that a client gives itself, as one safe line."""
    told = asked.session.client_params
    name = told.client_info.name if told is not None else ""
    return plain(" ".join(name.split()))[:CLIENT_CHARS] or "a client"


def _called(caller: Caller, name: str, arguments: dict[str, Any]) -> types.CallToolResult:
    """Returns the result of a call; what is refused, and a bug, is told in it."""
    tool = TOOLS[name]
    try:
        found = tool.call(caller, forms.read(tool.form, name, arguments))
    except FleetError as refused:
        return _failed(_sentence(refused))
    except Exception as bug:  # noqa: BLE001 - the last door: a bug is said, its trace is on stderr
        sys.stderr.write("".join(traceback.format_exception(bug)))
        return _failed(plain(f"a bug in fleet: {bug!r}"))
    text = types.TextContent(type="text", text=safe_json(found))
    return types.CallToolResult(content=[text], structured_content=json.loads(text.text))


def _failed(text: str) -> types.CallToolResult:
    content = types.TextContent(type="text", text=text)
    return types.CallToolResult(content=[content], is_error=True)


def _sentence(refused: FleetError) -> str:
    """Returns a refusal and its cure, safe to print."""
    return plain(f"{refused.text}\n{refused.hint}".strip())


def safe_json(found: Mapping[str, Any]) -> str:
    """Returns JSON in which what a terminal would obey, or would not show, is an escape; its value
    is the same.
    """
    text = json.dumps(found, ensure_ascii=False)
    return _UNSAFE.sub(lambda sign: f"\\u{ord(sign.group()):04x}", text)
