"""A program whose session speaks through `fleet hook`: turns judged, permissions, status."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import fleet.hook
from support.scripted_fleet import ScriptedFleet, until

HOOK = f'"{sys.executable}" -I -S "{Path(fleet.hook.__file__)}"'
SESSION = f"""
echo '{{"stop": true, "wait_s": 60}}' > "$(dirname "$FLEET_BRIEF")/hooks.json"
tells() {{
    printf '{{"hook_event_name": "%s", "session_id": "s-1", %s}}' "$1" "${{2:-\\"x\\": 1}}" | {HOOK}
}}
tells UserPromptSubmit
"""


def test_a_turn_without_its_work_goes_on_and_what_was_judged_is_not_judged_twice(
    fleet: ScriptedFleet,
) -> None:
    judged = fleet.top / "judged"
    script = (
        f'{SESSION}said=$(tells Stop)\nprintf %s "$said" > said.json\n'
        f"{fleet.delivers('a')}"
        'again=$(tells Stop)\n[ -z "$again" ] && tells SessionEnd\n'
    )
    fleet.task("a", script, deliverables=["a.md"], checks=[f'echo 1 >> "{judged}"; grep done a.md'])
    # a verifier's turn is over when its verdict has the form; its commands are no part of a turn
    passed = r"{\"passed\": true, \"findings\": []}"
    verifier = (
        f'{SESSION}said=$(tells Stop \'"last_assistant_message": "it is fine"\')\n'
        f'printf %s "$said" > "{fleet.top}/asked.json"\n'
        f'again=$(tells Stop \'"last_assistant_message": "{passed}"\')\n'
        f'printf %s "$again" > "{fleet.top}/again.json"\ntells SessionEnd\n'
        f"cat > out <<'END'\n{json.dumps({'passed': True, 'findings': []})}\nEND\n"
        "fleet done --output out\n"
    )
    looked = fleet.top / "looked"
    fleet.task("b", verifier, verifies=["a"], checks=[f'echo 1 >> "{looked}"'])
    fleet.write()
    fleet.must("launch", "a", "b", "--when-ready")
    assert fleet.wait("a", "b").code == 0
    assert fleet.ran() == {"a 1": 1, "b 1": 1}
    told = json.loads((fleet.top / "asked.json").read_text())
    assert told["decision"] == "block"
    assert "your verdict: what it said last is no JSON value" in told["reason"]
    assert (fleet.top / "again.json").read_text() == ""
    assert looked.read_text() == "1\n"
    said = json.loads((fleet.worktree("a") / "said.json").read_text())
    assert said["decision"] == "block"
    assert "no file a.md is committed" in said["reason"]
    assert judged.read_text().count("1") == 2, "the check took over what the last turn showed"
    assert fleet.row("a")["checks"][0]["passed"]


def test_a_permission_waits_in_the_inbox_and_its_answer_reaches_the_program(
    fleet: ScriptedFleet,
) -> None:
    asks = """tells PermissionRequest '"tool_name": "Bash", "tool_input": {"command": "make it"}'"""
    for name in ("a", "b"):
        script = (
            f'{SESSION}said=$({asks})\ncase "$said" in\n'
            f'*\'"allow"\'*) {fleet.delivers(name)} ;;\n*) echo "$said" > {name}.md\n'
            f"   git add -A; git commit -qm denied ;;\nesac\n"
        )
        fleet.task(name, script, deliverables=[f"{name}.md"])
    fleet.write()
    fleet.must("launch", "a", "b")

    def asked() -> dict[str, str]:
        found = fleet.must("inbox", "--json").json()["questions"]
        return {one["task"]: one["id"] for one in found}

    until(lambda: len(asked()) == 2, "two questions")
    shown = fleet.must("inbox").stdout
    assert "May it use Bash? make it" in shown
    row = fleet.row("a")
    assert (row["state"], row["turn"], row["evidence"]["source"]) == ("needs-you", "asking", "hook")
    fleet.must("approve", asked()["a"])
    fleet.must("reject", asked()["b"], "--reason", "never that")
    assert fleet.wait("a", "b").code == 0
    assert fleet.git("show", "fleet/a:a.md") == "done"
    assert "never that" in fleet.git("show", "fleet/b:b.md")
    assert asked() == {}


def test_a_permission_ends_with_its_attempt_and_survives_the_coordinator(
    fleet: ScriptedFleet,
) -> None:
    asks = """tells PermissionRequest '"tool_name": "Bash"'"""
    fleet.task("a", f"{SESSION}{asks} > said\n{fleet.delivers('a')}", deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")

    def asked() -> list[str]:
        return [one["id"] for one in fleet.must("inbox", "--json").json()["questions"]]

    until(asked, "a question")
    fleet.must("down")
    assert asked(), "a question outlives its coordinator"
    fleet.must("stop", "a")
    assert asked() == []
    fleet.must("resume", "a")
    (question,) = until(asked, "the second attempt's question")
    fleet.must("approve", question)
    assert fleet.wait("a").code == 0
    assert "allow" in (fleet.worktree("a") / "said").read_text()


def test_status_says_when_a_turn_is_over_while_its_program_still_runs(fleet: ScriptedFleet) -> None:
    notice = """tells Notification '"notification_type": "idle_prompt"'"""
    script = f"{SESSION}{notice}\n{fleet.waits('on')}tells PostToolUse\n{fleet.waits('a')}"
    fleet.task("a", script + fleet.delivers("a"), deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    until(lambda: fleet.row("a")["turn"] == "idle", "an idle turn")
    row = fleet.row("a")
    assert (row["state"], row["evidence"]["source"]) == ("working", "hook")
    assert "its turn is idle" in fleet.must("status").stdout
    fleet.go("on")
    until(lambda: fleet.row("a")["turn"] == "working", "a turn that goes on")
    fleet.go("a")
    assert fleet.wait("a").code == 0
    assert fleet.row("a")["turn"] is None
