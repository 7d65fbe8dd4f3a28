"""What goes in circles is found while it runs, said with its rounds, and led out of."""

from __future__ import annotations

import json

from support.scripted_fleet import ScriptedFleet

KEEP = 'cp "$FLEET_BRIEF" "{top}/brief-$FLEET_TASK-$FLEET_ATTEMPT"\n'
SETTLES = """\
case "$FLEET_TASK" in settle-*)
  mkdir -p docs; echo ULID > "docs/$FLEET_TASK.md"; git add docs; git commit -q -m settled; exit;;
esac
"""


def once(script: str) -> str:
    return f'if [ "$FLEET_ATTEMPT" = 1 ]; then\n{script}fi\n'


def test_questions_rework_and_waiting_that_go_in_circles_are_led_out_of(
    fleet: ScriptedFleet,
) -> None:
    ask = 'fleet ask "{}" --topic "tenant id" > /dev/null\n'.format
    stays = fleet.waits("never")
    asks = [ask("Which format has it?"), ask("Who generates it?"), ask("Who validates it?")]
    fleet.task(
        "billing",
        SETTLES + KEEP.format(top=fleet.top) + once(asks[0] + stays) + fleet.delivers("billing"),
        checks=["test -e docs/settle-tenant-id.md"],
    )
    fleet.task(
        "frontend",
        KEEP.format(top=fleet.top) + once(fleet.waits("frontend") + asks[1] + asks[2] + stays)
        + fleet.delivers("frontend"),
        checks=["test -e docs/settle-tenant-id.md"],
    )  # fmt: skip
    fleet.task("stuck", "echo 'I see nothing wrong'", deliverables=["stuck.md"], attempts=9)
    waits = 'fleet ask "Which columns do I get?" --waits-for {} --wait 60 > {}\n'.format
    own, nobody = waits("reader", "own 2>&1"), waits("wirter", "nobody 2>&1")
    fleet.task(
        "reader",
        f"{own}{nobody}" + waits("writer", "columns") + "git add -A; git commit -q -m reads\n",
    )
    fleet.task(
        "writer",
        fleet.waits("writer") + "fleet checkin --blocker reader > /dev/null\n"
        + fleet.waits("columns") + fleet.delivers("writer"),
    )  # fmt: skip
    fleet.write()
    fleet.must("launch", "--all")

    # the same is asked for the third time, by two tasks: one is put before both of them
    fleet.asked("Which format has it?", kind="text")
    fleet.go("frontend")
    loop = fleet.asked("asked 3 times", kind="loop")
    for text in ("Which format has it?", "Who generates it?", "Who validates it?"):
        assert text in loop["message"]
    assert "+ task settle-tenant-id" in loop["message"]
    assert loop["choices"] == ["approve", "reject"]
    assert loop["id"] in {one["id"] for one in fleet.status()["questions"]}
    fleet.must("approve", loop["id"])
    assert fleet.wait("settle-tenant-id", "billing", "frontend").code == 0
    assert fleet.ran()["settle-tenant-id 1"] == 1
    assert fleet.ran()["billing 2"] == fleet.ran()["frontend 2"] == 1
    assert "settle-tenant-id" in (fleet.top / "brief-frontend-2").read_text()
    left = fleet.must("inbox", "--json").json()["questions"]
    assert not [one for one in left if one["topic"] == "tenant id"], "the change is their answer"

    # rework that brings nothing ends, whatever its attempts say
    asked = fleet.asked("stuck is not there yet", "a loop of", kind="escalation")
    assert "a loop of stuck/check and stuck/check.2: " in asked["message"]
    assert fleet.ran()["stuck 2"] == 1
    assert "stuck 3" not in fleet.ran()
    fleet.must("answer", asked["id"], "skip")

    # tasks wait for one another: a person may leave it as it is
    fleet.asked("Which columns do I get?", kind="text")
    fleet.go("writer")
    circle = fleet.asked("writer -> reader -> writer", kind="loop")
    assert "Which columns do I get?" in circle["message"]
    fleet.must("reject", circle["id"], "--reason", "they talk to each other")
    own = fleet.asked("Which columns do I get?", kind="text")
    fleet.must("answer", own["id"], "id and name")
    fleet.go("columns")
    assert fleet.wait("reader", "writer").code == 0
    shown = {
        name: fleet.git("show", f"fleet/reader:{name}") for name in ("own", "nobody", "columns")
    }
    assert shown["columns"].strip() == "id and name"
    assert "reader cannot wait for itself" in shown["own"]
    assert "did you mean 'writer'?" in shown["nobody"]

    report = fleet.must("report", "--json").json()
    found = {one["kind"]: one for one in report["loops"]}
    assert [one["text"] for one in found["question"]["rounds"]] == [
        *("Which format has it?", "Who generates it?", "Who validates it?")
    ]
    assert (found["question"]["follow"], found["question"]["ended"]) == (loop["id"], "approve")
    assert [one["id"] for one in found["rework"]["rounds"]] == ["stuck/check", "stuck/check.2"]
    assert (found["rework"]["follow"], found["rework"]["ended"]) == (asked["id"], "skip")
    assert (found["circle"]["tasks"], found["circle"]["ended"]) == (["writer", "reader"], "reject")
    text = fleet.must("report").stdout
    assert "LOOPS" in text
    assert "stuck/check, stuck/check.2" in " ".join(text.split())
    fleet.nothing_runs()


def test_what_follows_a_loop_is_in_the_plan(fleet: ScriptedFleet) -> None:
    stays = fleet.waits("never")
    asks = 'fleet ask "{}" > /dev/null\n'.format
    like = asks("Which format do tenant ids have?") + asks("What's the format of a tenant id?")
    fleet.settings["loops"] = {"after": 2, "then": ["adapt tenants", "ask"]}
    fleet.settings["envelope"] = {"max_tasks": 1}
    fleet.settings["patches"] = {
        "tenants": {
            "insert": {"task": {"id": "tenants", "agent": "tenants"}, "before": ["bill", "red"]},
            "running": {"bill": "stop", "red": "leave"},
            "reason": "both need tenants",
        }
    }
    fleet.task("bill", once(like + stays) + fleet.delivers("bill"), checks=["test -e tenants.md"])
    fleet.task(
        "red", "test -e tenants.md || exit 0\n" + fleet.delivers("red"), deliverables=["red.md"],
        dependencies=["first"],
    )  # fmt: skip
    fleet.task("first", fleet.waits("first") + fleet.delivers("first"))
    tenants = (
        f'echo "$FLEET_TASK $FLEET_ATTEMPT" >> "{fleet.ran_path}"\n{fleet.delivers("tenants")}'
    )
    fleet.put("agents/tenants.yaml", f"harness: shell\nargs: {json.dumps(tenants)}\n")
    fleet.write()
    assert fleet.must("check").stdout.strip().endswith("no problems")
    fleet.must("launch", "--all")
    assert fleet.wait("bill").code == 0
    fleet.go("first")
    assert fleet.wait("red").code == 0
    assert fleet.ran() == {f"{one} 1": 1 for one in ("bill", "tenants", "first", "red")} | {
        "bill 2": 1
    }
    (loop,) = fleet.must("report", "--json").json()["loops"]
    assert (loop["kind"], loop["tasks"]) == ("question", ["bill"])
    assert loop["follow"].startswith("loop/plan.q")
    left = fleet.must("inbox", "--json").json()["questions"]
    assert not [one for one in left if one["kind"] == "loop"], "nobody needs to be asked"
