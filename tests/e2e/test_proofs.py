"""Proofs of concept: what is taken for granted is found out first, and what follows if it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

from support.scripted_fleet import PATIENCE_S, ScriptedFleet, until

LOAD = "mkdir -p docs; echo load > docs/load.md; echo 'p95 {0} ms' > p95\n"
COMMITTED = "git add .; git commit -qm measured\n"
SHOWN = 'fleet done --evidence "the load was real=docs/load.md"\n'


def rows(fleet: ScriptedFleet) -> dict[str, dict[str, Any]]:
    return {one["id"]: one["proof"] for one in fleet.status()["tasks"] if one["proof"]}


def proving_fleet(fleet: ScriptedFleet) -> None:
    fleet.phases("p", "q")
    fleet.task("cache", phase="p", deliverables=["cache.md"])
    (fleet.root / "tasks/cache.md").unlink()  # its agent is there, and a patch may bring it
    fleet.put(
        "agents/bench.yaml",
        json.dumps({"harness": "shell", "args": LOAD.format(600) + COMMITTED + SHOWN}),
    )
    said = 'echo "a schema for each tenant"'
    ada = {"harness": "shell", "args": said, "role": "architect"}
    fleet.put("agents/ada.yaml", json.dumps(ada))
    evidence = ["docs/*.md", "the load was real", {"text": "it counts", "command": "wc -l < p95"}]
    fast = {
        "text": "P95 stays below 200 ms",
        "proof": {
            "agent": "bench",
            "evidence": evidence,
            "success": {"name": "P95", "measure": "cat p95", "target": "<200", "unit": "ms"},
        },
        "on_failure": {"adapt": "add-cache"},
    }
    kept = {"text": "old clients go on", "proof": {"command": "test -e README.md"}}
    apart = {
        "text": "tenants are apart",
        "proof": {"command": "echo leaks; exit 3", "days": 0.5, "name": "Isolation"},
        "on_failure": "escalate architect",
    }
    seen = f'cp "$FLEET_BRIEF" {fleet.top}/brief; ls > api.md; git add api.md; git commit -qm api\n'
    fleet.task("api", seen, phase="p", assumptions=[fast, kept, apart, "the sun shines"])
    fleet.task("web", phase="q", dependencies=["api"])
    added = {"id": "cache", "agent": "cache", "phase": "p", "body": "Cache it."}
    more = {"api": {"add": ["cache"]}, "known": {"add": ["cache"]}}
    patch = {"add": [added], "needs": more, "reason": "too slow"}
    known = {"id": "known", "needs": ["api-proof", "api-proof-2"], "before": ["api"],
             "checks": ["test -e docs/load.md", "test -e cache.md"]}  # fmt: skip
    fleet.settings["checkpoints"] = [known]
    fleet.settings["patches"] = {"add-cache": patch}
    fleet.write()


def test_what_is_disproved_changes_the_plan_or_is_asked_before_it_is_built_on(
    fleet: ScriptedFleet,
) -> None:
    proving_fleet(fleet)
    plan = fleet.must("plan", "--json").json()
    rides = {one["id"]: (one["task"], one["rides"]) for one in plan["proofs"]}
    assert rides["api-proof"] == rides["api-proof-2"] == ("api", ["api", "known", "web"])
    assert rides["api-proof-3"] == ("api", ["api", "web"])
    assert "rides on it: api, known, web" in " ".join(fleet.must("plan").stdout.split())
    days = {one["id"]: (one["kind"], one["days"]) for one in plan["tasks"]}
    assert days["api-proof"] == ("proof", 1)
    assert days["api-proof-3"] == ("proof", 0.5)

    # the coordinator dies with the first thing that was found out: nothing is lost or done twice
    up = subprocess.Popen(
        [sys.executable, "-m", "fleet", "up"],
        cwd=fleet.root,
        env={**os.environ, "FLEET_CRASH_AT": "kinds.check.before_outcome"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: fleet.coordinator() == up.pid, "the coordinator that is to die")
        fleet("launch", "--all")
        assert up.wait(PATIENCE_S) == -signal.SIGKILL, "nothing was found out"
    finally:
        up.kill()
        up.wait()
    fleet.must("launch", "--all")
    change = fleet.asked(step="api-proof/adapt")
    role = until(lambda: fleet.must("decisions", "--json").json()["decisions"], "an answer")[0]
    assert "tenants are apart" in role["question"]
    assert (role["answer"], role["by"]) == ("a schema for each tenant", "agent:ada")
    found = rows(fleet)
    assert (found["api-proof"]["holds"], found["api-proof"]["value"]) == (False, 600)
    assert found["api-proof"]["then"] == ["adapt add-cache"]
    assert found["api-proof-2"]["holds"] is True
    told = " ".join(fleet.must("status").stdout.split())
    assert "disproved: 600 ms, < 200 is wanted; adapt add-cache" in told
    states = {one["id"]: one for one in fleet.status()["tasks"]}
    assert [states[name]["state"] for name in ("api-proof", "api-proof-2", "api")] == [
        "needs-you", "verified", "waiting",
    ]  # fmt: skip
    assert fleet.ran()["api 1"] == 0

    # what follows is done before anything rides on it
    fleet.must("approve", change["id"])
    fleet.must("launch", "--all")
    assert fleet.wait("api").code == 0
    assert "cache.md" in fleet.git("show", "fleet/api:api.md").split()
    row = next(x for x in fleet("status").stdout.splitlines() if x.startswith("api-proof  "))
    assert row.endswith("disproved"), "it is no success like the others"
    # a checkpoint waits for what follows as well, and for what the change brings before it
    assert fleet.row("known")["state"] in ("verified", "accepted")
    assert fleet("gate", "known").code == 0
    brief = (fleet.top / "brief").read_text()
    assert "has disproved: P95 stays below 200 ms" in brief
    assert "P95: it measured 600 ms; < 200 is wanted" in brief
    assert "a schema for each tenant" in brief
    assert "It was to prove, and has: old clients go on" in brief
    assert rows(fleet)["api-proof"]["followed"] is True
    put = [step["id"] for one in fleet.history() if one["event"] == "plan-revised"
           for step in one["patch"]["put"]]  # fmt: skip
    assert put.count("api-proof/adapt") == put.count("api-proof-3/consult") == 1

    # what was shown is kept, and asked for by the gate
    conditions = fleet("gate", "p", "--json").json()["conditions"]
    kept = {one["text"]: one for one in conditions if one["kind"] == "evidence"}
    assert sorted(kept) == [
        "api-proof: evidence docs/*.md", "api-proof: evidence it counts",
        "api-proof: evidence the load was real",
    ]  # fmt: skip
    assert all(one["met"] and one["digest"] and one["commit"] for one in kept.values())
    proofs = {one["text"]: one["met"] for one in conditions if one["kind"] == "proof"}
    assert all(proofs.values())
    assert len(proofs) == 3
    report = fleet.must("report", "--json").json()
    real = next(one for one in report["evidence"] if one["text"] == "the load was real")
    assert (real["how"], real["file"]) == ("file", "docs/load.md")
    assert [one["holds"] for one in report["proofs"]] == [False, True, False]
    assert "EVIDENCE" in fleet.must("report").stdout
    fleet.must("merge", "p")
    assert fleet.wait("api-proof", "api", state="merged").code == 0


def test_a_proof_that_shows_nothing_disproves_nothing(fleet: ScriptedFleet) -> None:
    fleet.phases("p")
    late = 'if [ "$FLEET_ATTEMPT" = 2 ]; then git add .; git commit -qm late; fi\n'
    script = f'cp "$FLEET_BRIEF" {fleet.top}/brief-$FLEET_ATTEMPT; echo seen > seen.md\n{late}'
    script += 'fleet done --evidence "it was seen=seen.md" --evidence "and read = README.md"\n'
    fleet.put("agents/looker.yaml", json.dumps({"harness": "shell", "args": script}))

    def taken(text: str, **proof: Any) -> dict[str, Any]:
        return {"text": text, "proof": proof, "on_failure": "adapt more"}

    fleet.task("one", phase="p", assumptions=[
        taken("seen", agent="looker", evidence=["it was seen"], success="test -e seen.md"),
        taken("mute", success={"measure": "echo none", "target": "<1"}),
        taken("gone", success={"measure": "no-such-program", "target": "<1"}),
        taken("missing", command="no-such-program"),
    ])  # fmt: skip
    fleet.settings["patches"] = {"more": {"add": [{"id": "more", "agent": "looker", "phase": "p"}]}}
    fleet.write()
    fleet.must("launch", "--all")
    mute, gone, missing = (fleet.asked(step=f"one-proof-{n}/check") for n in (2, 3, 4))
    assert "it printed no number" in mute["message"]
    assert "it exited with 127" in gone["message"]
    assert "it exited with 127" in missing["message"]
    assert fleet.wait("one-proof").code == 0
    assert "it was seen`: seen.md is there but not committed" in (fleet.top / "brief-2").read_text()
    kept = [one for one in fleet.must("report", "--json").json()["evidence"] if one["met"]]
    assert [(one["text"], one["file"]) for one in kept] == [
        ("it was seen", "seen.md"), ("and read", "README.md"),
    ]  # fmt: skip
    assert not [one for one in fleet.history() if "adapt" in str(one.get("step"))]
    assert fleet.ran()["one 1"] == 0
    for question in (mute, gone, missing):
        fleet.must("answer", question["id"], "skip")
    assert fleet.wait("one").code == 0
