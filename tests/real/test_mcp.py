"""Agent programs that fleet has started, with fleet's own MCP server among their tools."""

from __future__ import annotations

import json

import pytest

from fleet.adapters.model.calls import Call
from support.model_server import ModelServer, Turn

pytestmark = pytest.mark.real

CONFIG = json.dumps({"mcpServers": {"fleet": {"command": "fleet", "args": ["mcp"]}}})


@pytest.mark.parametrize("real", ["claude"], indirect=True)
def test_an_agent_program_reports_by_the_tools_of_mcp(real, server: ModelServer):
    found = Call("mcp__fleet__finding", {"text": "a leak", "severity": "high"})
    real.declare(
        server,
        [Turn(calls=(found,)), *real.work("ada")],
        args=[f"--mcp-config={CONFIG}"],
        permissions={"mode": "edits", "allow": ["mcp: fleet"]},
    )
    real.must("launch", "--all")
    assert real.wait("ada").code == 0, real.must("logs", "ada").stdout
    (kept,) = real.must("findings", "--json").json()["findings"]
    assert (kept["task"], kept["text"], kept["by"]) == ("ada", "a leak", "agent:ada")
    assert real.must("inbox", "--json").json()["questions"] == []
