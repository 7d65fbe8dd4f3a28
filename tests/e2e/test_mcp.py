"""`fleet mcp` with real clients of the protocol, who do the steps themselves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from pathlib import Path

import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from fleet.app.place import FleetPlace
from fleet.core import messages as m
from support.mcp_clients import over_http, over_stdio, serving
from support.scripted_fleet import ScriptedFleet, until

HOSTILE = "\x1b]0;owned\x07 $(touch pwned) {{ 6 * 7 }} \u202e"
SHOP = """\
name: shop
inputs: {goal: {type: string, required: true}}
steps:
  - id: design
    type: delegate
    agent: dev
    output_to: design
    instructions: "Design {{ inputs.goal }}"
    output: {type: object, required: [parts], properties: {parts: {type: integer}}}
  - {id: pick, type: prompt, to: lead, message: "Which one?", input: choice, choices: [red, blue]}
  - {id: look, type: mcp_call, tool: client.look, parameters: {n: "{{ state.design.parts }}"}}
  - {id: talk, type: delegate, agent: dev, instructions: "Say {{ steps.look.output | tojson }}"}
  - {id: sure, type: approve, message: "Go?"}
  - id: end
    type: return
    value: "{{ [steps.pick.output, steps.look.output, steps.talk.output] }}"
"""
MANY = """\
name: many
steps:
  - id: each
    type: foreach
    items: [1, 2, 3, 4]
    steps:
      - {id: one, type: delegate, agent: dev, instructions: "Do {{ item }}", attempts: 2}
  - {id: end, type: return, value: "{{ steps.each.output }}"}
"""


@pytest.fixture
def flows(fleet: ScriptedFleet) -> ScriptedFleet:
    fleet.put("workflows/shop.yaml", SHOP)
    fleet.put("workflows/many.yaml", MANY)
    fleet.put("workflows/late.yaml", LATE)
    fleet.put("agents/ada.yaml", "{role: dev, harness: mcp, prompt: Be brief.}")
    return fleet.write()


def test_a_client_drives_a_workflow_from_start_to_return(flows):
    async def drive():
        async with over_stdio(flows.root) as client:
            (late, many, shop) = (await client("list_workflows"))["workflows"]
            assert (late["vacant_roles"], shop["vacant_roles"]) == (["slow"], [])
            assert many["problems"] == []
            assert shop["documents"][0]["inputs"]["goal"]["required"] is True
            wrong = await client.refused("start_workflow", workflow="shop", inputs={"gaol": 1})
            assert "no input 'gaol' (did you mean 'goal'?)" in wrong
            assert "'goal' is required" in wrong
            wrong = await client.refused("start_workflow", workflw="shop", thread=5)
            assert "'workflow' is missing" in wrong
            assert "thread: input should be a valid string" in wrong
            assert "no argument 'workflw', did you mean 'workflow'?" in wrong
            assert "no workflow" in await client.refused("start_workflow", workflow="/etc/passwd")
            with pytest.raises(MCPError, match="did you mean 'run_status'"):
                await client("run_state")

            started = await client("start_workflow", workflow="shop", inputs={"goal": HOSTILE})
            (run,) = started["runs"]
            assert (await client("get_next_step", roles=["nobody"]))["kind"] == "none"
            design = await client.pull(roles=["dev"])
            assert (design["kind"], design["run"], design["step"]) == ("delegate", run, "design")
            assert design["output_schema"]["required"] == ["parts"]
            assert HOSTILE.strip() in design["brief"]
            assert "Be brief." in design["brief"]
            wrong = await client.refused(
                "submit_result", lease=design["lease"], output={"parts": "two"}
            )
            assert "does not follow the schema at $.parts" in wrong

            killed = flows.coordinator()
            os.kill(killed, signal.SIGKILL)
            until(lambda: flows.coordinator() != killed, "the coordinator's end")
            done = await client("submit_result", lease=design["lease"], output={"parts": 2})
            assert done["state"] == "succeeded"
            again = await client.refused("submit_result", lease=design["lease"], output={})
            assert "the lease has gone" in again

            pick = await client.pull(roles=["lead"])
            assert (pick["kind"], pick["choices"]) == ("prompt", ["red", "blue"])
            assert (await client("get_next_step", roles=["lead"]))["kind"] == "none"
            wrong = await client.refused("submit_result", lease=pick["lease"], output="green")
            assert wrong.endswith("one of: red, blue")
            await client("submit_result", lease=pick["lease"], output="blue")

            look = await client.pull(roles=["client"])
            assert (look["kind"], look["tool"]) == ("mcp_call", "look")
            assert look["parameters"] == {"n": 2}
            async with over_stdio(flows.root, "another process") as later:  # a lease is no server's
                await later("submit_result", lease=look["lease"], output=[True, None])
            talk = await client.pull()
            await client("submit_result", lease=talk["lease"], output=HOSTILE)

            asked = await client.until("inbox", lambda found: found["questions"])
            assert (await client("get_next_step", roles=["person"]))["kind"] == "none"
            await client("answer", question=asked["questions"][0]["id"], value="approve")
            return await client.until("run_status", lambda one: one["ended_at"], run=run)

    run = asyncio.run(drive())
    assert run["state"] == "succeeded"
    assert run["result"] == ["blue", [True, None], HOSTILE.strip()]
    assert flows.must("status", run["run"], "--json").json() == run
    told = flows.must("history", run["run"], "--json").stdout
    assert '"name": "ada"' in told
    assert "mcp:ada" in told
    assert not list(flows.root.rglob("pwned"))


def only_who_has_the_token_comes_in_by_a_known_name(url, token):
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    port = url.split(":")[2].split("/")[0]
    good = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}

    def code(**headers):
        told = {**good, **{name: value for name, value in headers.items() if value}}
        told = {name: value for name, value in told.items() if headers.get(name, value)}
        with httpx2.Client(trust_env=False) as web:
            return web.post(url, json=body, headers=told).status_code

    assert code(Authorization="") == 401
    assert code(Authorization=f"Bearer {token[:-1]}") == 401
    assert code(Authorization=f"Basic {token}") == 401
    assert code(Host="evil.example") == 421
    assert code(Host=f"evil.example:{port}") == 421
    assert code(Origin="http://evil.example") == 403
    assert code(Origin="null") == 403
    allowed = {code(), code(Host=f"localhost:{port}"), code(Origin="http://page.example")}
    assert allowed == {400}  # the protocol's own word: no session yet
    page = {"Origin": "http://page.example", "Access-Control-Request-Method": "POST"}
    with httpx2.Client(trust_env=False) as web:
        answer = web.options(url, headers=page)
        assert answer.headers["access-control-allow-origin"] == "http://page.example"
        assert answer.status_code == 200
        page["Origin"] = "http://evil.example"
        assert web.options(url, headers=page).status_code == 403


LATE = """\
name: late
steps:
  - {id: one, type: delegate, agent: slow, instructions: Be quick, timeout: 2s, attempts: 50}
"""


def test_a_step_is_had_by_one_client_and_goes_on_to_another(flows):
    async def drive(url, token):
        async with (
            over_http(url, token, "ada") as ada,
            over_http(url, token, "bob", "legacy") as bob,
        ):
            await ada("start_workflow", workflow="late", client_roles=["slow"])
            slow = await bob.pull(roles=["slow"], lease_s=600)
            (run,) = (await ada("start_workflow", workflow="many"))["runs"]
            first = await ada.pull(roles=["dev"], lease_s=0.2)
            told = await asyncio.gather(
                *(one("get_next_step", roles=["dev"]) for one in (ada, bob) * 4)
            )
            rest = [one for one in told if one["kind"] != "none"]
            taken = [one["step"] for one in (first, *rest)]
            while len(rest) < 4:  # the others start by and by, and ada's own ends
                rest.append(await bob.pull(roles=["dev"]))
            assert len({one["lease"] for one in rest}) == 4
            again = next(one for one in rest if one["step"] == first["step"])
            assert taken.count(first["step"]) <= 2
            assert len({one["step"] for one in rest}) == 4
            gone = await ada.refused("submit_result", lease=first["lease"], output="late")
            assert "the lease has gone" in gone
            gone = await ada.refused("get_next_step", lease=first["lease"])
            assert "has the step now" in gone
            same = await bob("get_next_step", lease=again["lease"], lease_s=600)
            assert (same["lease"], same["lease_s"]) == (again["lease"], 600)

            await bob("submit_result", lease=rest[0]["lease"], ended="returned")
            assert "the lease has gone" in await bob.refused(
                "submit_result", lease=rest[0]["lease"], output="x"
            )
            rest[0] = await ada.pull(roles=["dev"])
            for one in rest[:3]:
                await ada("submit_result", lease=one["lease"], output=f"did {one['step']}")
            failed = await ada(
                "submit_result", lease=rest[3]["lease"], ended="failed", note="no idea"
            )
            assert failed["state"] == "backing-off"
            last = await bob.pull(roles=["dev"])
            assert (last["step"], last["attempt"]) == (rest[3]["step"], 2)
            assert "ada could not do it: no idea" in last["brief"]
            await bob("submit_result", lease=last["lease"], output=f"did {last['step']}")
            again = await bob.pull(roles=["slow"])
            assert again["attempt"] > 1, "the time of the first was over, whoever had it"
            assert "it ran out of time" in again["brief"]
            gone = await bob.refused("submit_result", lease=slow["lease"], output="late")
            assert "nobody waits" in gone
            return await bob.until("run_status", lambda one: one["ended_at"], run=run)

    with serving(flows.root, "--allow-origin", "http://page.example") as (url, said):
        kept = Path(said.split("the token is in ")[1].split(";")[0])
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        token = kept.read_text().strip()
        only_who_has_the_token_comes_in_by_a_known_name(url, token)
        run = asyncio.run(drive(url, token))
    assert flows("mcp", "--port", "0").code == 2
    assert run["state"] == "succeeded"
    assert run["result"] == [f"did each[{number}]/one" for number in range(4)]


INSIDE = """\
import asyncio, json, sys
sys.path.insert(0, {tests!r})
from support.mcp_clients import over_stdio
async def work():
    async with over_stdio({root!r}) as client:
        await client("checkin", done="half", next="rest", blockers=["none"])
        await client("finding", text="a leak", severity="high", where="src/x.py:3")
        print(await client.refused("finding", text="x", task="other"))
        asked = await client("ask", question="which?", choices=["a", "b"], expires_s=0, default="b")
        await client("output", output="what came of it")
        await client("done")
        return asked
print(asyncio.run(work())["id"])
"""


def test_an_agent_speaks_for_its_own_session(fleet):
    tests = str(Path(__file__).resolve().parents[1])
    script = fleet.put("inside.py", INSIDE.format(tests=tests, root=str(fleet.root)))
    fleet.task("a", f"{sys.executable} {script} > said.txt || exit 3\n" + fleet.delivers("a"))
    told = 'echo spoken | fleet output && fleet finding "slow" --where here && fleet done\n'
    fleet.task("b", told + fleet.delivers("b"))
    fleet.write()
    fleet.must("launch", "--all")
    assert fleet.wait("a", "b", timeout_s=60).code == 0
    found = fleet.must("findings", "--json").json()["findings"]
    assert sorted((one["task"], one["severity"], one["by"]) for one in found) == [
        ("a", "high", "agent:a"),
        ("b", "medium", "agent:b"),
    ]
    assert "a leak" in fleet.must("findings").stdout
    assert fleet.row("a")["last_checkin"]["done"] == "half"
    outputs = [
        one["outcome"]["output"] for one in fleet.history() if one["event"] == "attempt-ended"
    ]
    said = {one["said"] for one in outputs if isinstance(one, dict) and "said" in one}
    assert said == {"what came of it", "spoken\n"}
    refused = (fleet.worktree("a") / "said.txt").read_text()
    assert "this session is of a in the run plan" in refused

    told_decided = []  # an answer that nobody gave in time decides nothing

    async def outside():
        async with over_stdio(fleet.root) as client:
            lost = await client.refused("finding", text="x")
            assert "the task must be named" in lost
            assert "nobody works at 'a'" in await client.refused("done", task="a")
            assert json.loads(await client.read("fleet://findings"))["findings"] == found
            decided = json.loads(await client.read("fleet://decisions"))["decisions"]
            assert [(one["task"], one["answer"], one["by"]) for one in decided] == told_decided
            assert (await client("decisions"))["decisions"] == decided
            with pytest.raises(MCPError, match="no resource"):
                await client.read("fleet://briefs/plan/..%2F..%2Fcoordination.md")

    asyncio.run(outside())


def test_a_client_works_in_a_worktree_and_a_person_takes_up_its_proposal(fleet):
    fleet.phases("build")
    fleet.put("agents/guest.yaml", "{harness: mcp}")
    front = "{agent: guest, days: 1, deliverables: [a.md], phase: build}"
    fleet.put("tasks/a.md", f"---\n{front}\n---\n\nWrite a.md.\n")
    fleet.task("b", phase="build", dependencies=["a"])
    script = fleet.delivers("c")
    fleet.put("agents/crew.yaml", json.dumps({"harness": "shell", "args": script}))
    fleet.write()
    fleet.must("launch", "a")
    add = {"id": "c", "agent": "crew", "days": 1, "phase": "build", "body": "Do that too.\nSoon."}

    async def work():
        async with over_stdio(fleet.root, "guest") as client:
            step = await client.pull(roles=["guest"])
            assert (step["step"], step["branch"]) == ("a", "fleet/a")
            where = f"fleet://briefs/plan/{step['lease'].split('/', 1)[1].rsplit('/', 2)[0]}"
            assert await client.read(where.replace("a/work", "a%2Fwork")) == step["brief"]
            tree = Path(step["worktree"])
            fleet.put("a.md", "done\n", tree)
            fleet.git("-C", str(tree), "add", "a.md")
            fleet.git("-C", str(tree), "commit", "-q", "-m", "a")
            await client("checkin", task="a", done="all of it")
            asked = await client("ask", task="a", question="Enough?", choices=["yes", "no"])
            await client("answer", question=asked["id"], value="yes", note="go on")
            told = await client.until(
                "get_next_step", lambda found: found["notes"], lease=step["lease"]
            )
            assert told["notes"] == ["Answer to your question 'Enough?': yes\ngo on"]
            await client("submit_result", lease=step["lease"], output="it is there")

            wrong = await client.refused(
                "propose_plan_change", reason="x", add=[{"id": "a"}, {"id": "d", "dayz": 1}],
                drop=["nope"], needs={"b": {"remove": ["zz"]}},
            )  # fmt: skip
            for problem in ("'a' is there already", "'dayz'", "no task 'nope'", "not need 'zz'"):
                assert problem in wrong
            proposed = await client(
                "propose_plan_change", reason="It was forgotten.", add=[add],
                needs={"b": {"add": ["c"]}},
            )  # fmt: skip
            assert "+ c/work" in proposed["changes"]
            return proposed["question"]

    asked = asyncio.run(work())
    shown = fleet.must("inbox").stdout
    for line in ("It was forgotten.", "+ task c:", "Do that too.", "~ task b also needs c"):
        assert line in shown
    assert "c" not in {row["id"] for row in fleet.status()["tasks"]}
    place = FleetPlace(fleet.root)
    forged = m.Question(
        message="May I go on?",
        kind="approval",
        choices=("approve", "reject"),
        about={"proposal": {"add": [{**add, "id": "evil", "setup": ["touch /tmp/evil"]}]}},
    )
    from fleet.app.reporting import raise_question

    forged_id = raise_question(place, forged, "plan", "")
    refused = fleet("approve", forged_id)
    assert (refused.code, "does not show what it would change" in refused.stderr) == (1, True)
    fleet.must("reject", forged_id, "--reason", "no")
    fleet.must("approve", asked)
    fleet.put("tasks/a.md", f"---\n{front}\n---\n\nWrite a.md, and an edit goes on from here.\n")
    fleet.must("launch", "--all")
    assert fleet.wait("a", "b", "c", timeout_s=60).code == 0
    assert fleet.git("show", "fleet/b:c.md") == "done", "b was begun behind c"
    told = fleet.must("gate", "build", "--json").json()
    assert "c: head is the commit that was verified" in str(told)


def test_what_a_client_is_not_held_to_is_refused(fleet):
    told = "{harness: mcp, model: x, permissions: {deny: [run]}, sandbox: bwrap, mode: interactive}"
    fleet.put("agents/ada.yaml", told)
    fleet.put("agents/client.yaml", "{harness: shell, args: 'true'}")
    fleet.settings["mcp_servers"] = {"client": {"command": ["true"]}}
    fleet.settings["functions"] = {"client.x": "tools:x"}
    fleet.put("workflows/w.yaml", "steps: [{id: a, type: mcp_call, tool: client.x}]")
    fleet.write()
    assert "'client' is built in" in fleet("check").stderr
    del fleet.settings["mcp_servers"]
    fleet.write()
    found = fleet("check")
    assert found.code == 2
    said = found.stdout + found.stderr
    for key in ("'model'", "'permissions'", "no terminal", "no sandbox", "no pattern"):
        assert key in said, said
    fleet.put("agents/ada.yaml", "{harness: mcp}")
    found = fleet("check", "workflows/w.yaml")
    assert "'client' has the tools of clients, and is none" in found.stdout + found.stderr
    assert "'client.x' is a function of the fleet and a client's tool" in found.stderr
