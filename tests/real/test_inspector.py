"""The official inspector's command line, a client that nobody here has written, on `fleet mcp`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fleet.mcp.tools import TOOLS
from support.mcp_clients import serving
from support.scripted_fleet import ScriptedFleet, until

pytestmark = pytest.mark.real

PATIENCE_S = 240
TOOL_FAILED = 5
FLOW = """\
name: parts
inputs: {goal: {type: string, required: true}}
steps:
  - id: count
    type: delegate
    agent: dev
    instructions: "Count the parts of {{ inputs.goal }}"
    output: {type: object, required: [parts], properties: {parts: {type: integer}}}
  - {id: sure, type: approve, message: "Go?"}
  - {id: end, type: return, value: "{{ steps.count.output.parts }}"}
"""


class Inspector:
    """Calls one method a process, as a person at a terminal does."""

    def __init__(self, binary: Path, *target: str) -> None:
        self.argv = [str(binary), "--cli", *target]

    def __call__(self, method: str, *words: str, code: int = 0) -> Any:
        """Returns what it prints; fails the test when it exits with another code."""
        direct = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        done = subprocess.run(
            [*self.argv, "--method", method, *words],
            env=direct,  # what leads through a proxy needs a newer Node than some have
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, done
        return json.loads(done.stdout)

    def call(self, tool: str, *, code: int = 0, **arguments: Any) -> Any:
        """Returns what a tool answers, or the sentence that it refuses with."""
        told = [f"{name}={json.dumps(value)}" for name, value in arguments.items()]
        words = ["--tool-name", tool, *(["--tool-arg", *told] if told else [])]
        found = self("tools/call", *words, code=code)
        return found["content"][0]["text"] if code else found["structuredContent"]


def test_the_inspector_drives_a_workflow_from_start_to_return(
    inspector: Path, tmp_path: Path, fleet_cli: Any
) -> None:
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    fleet = ScriptedFleet(tmp_path, fleet_cli)
    fleet.put("workflows/parts.yaml", FLOW)
    fleet.write()
    over_stdio = Inspector(inspector, sys.executable, "-m", "fleet", "-C", str(fleet.root), "mcp")
    tools = over_stdio("tools/list", "--strict")["tools"]  # and no schema that others stumble over
    assert [one["name"] for one in tools] == list(TOOLS)
    (known,) = over_stdio.call("list_workflows")["workflows"]
    assert (known["name"], known["vacant_roles"]) == ("parts", ["dev"])
    with serving(fleet.root) as (url, said):
        token = Path(said.split("the token is in ")[1].split(";")[0]).read_text().strip()
        header = ("--transport", "http", "--header", f"Authorization: Bearer {token}")
        over_http = Inspector(inspector, url, *header)
        told = {"workflow": "parts", "client_roles": ["dev"], "inputs": {"goal": "a {{ clock }}"}}
        (run,) = over_http.call("start_workflow", **told)["runs"]

        def pulled() -> Any:
            found = over_http.call("get_next_step", roles=["dev"])
            return found if found["kind"] == "delegate" else None

        step = until(pulled, "the step", PATIENCE_S)
        assert "Count the parts of a {{ clock }}" in step["brief"]
        wrong = over_http.call(
            "submit_result", lease=step["lease"], output={"parts": "many"}, code=TOOL_FAILED
        )
        assert "does not follow the schema at $.parts" in wrong
        done = over_http.call("submit_result", lease=step["lease"], output={"parts": 12})
        assert done["state"] == "succeeded"

        asked = until(lambda: over_http.call("inbox")["questions"], "the approval", PATIENCE_S)
        over_http.call("answer", question=asked[0]["id"], value="approve")

        def ended() -> Any:
            found = over_http.call("run_status", run=run)
            return found if found["ended_at"] else None

        found = until(ended, "the end", PATIENCE_S)
        page = over_http("resources/read", "--uri", "fleet://tasks")["contents"][0]
    assert (found["state"], found["result"]) == ("succeeded", 12)
    assert json.loads(page["text"])["schema"] == "fleet.status/1"
