"""Several real programs in one fleet: a permission, a usage limit, a red check, two merges."""

from __future__ import annotations

import time

import pytest

from support.model_server import ModelServer, Turn
from support.scripted_fleet import until

pytestmark = pytest.mark.real


@pytest.mark.parametrize("real", ["claude"], indirect=True)
def test_six_tasks_of_three_programs_over_two_phases(real, server: ModelServer):
    opens = int(time.time()) + 3_600
    limit = Turn(
        "no more",
        status=429,
        kind="usage_limit_reached",
        detail={"plan_type": "plus", "resets_at": opens},
        for_good=False,
    )
    real.plays(server, "ask", "claude", real.work("ask"), phase="one", permissions="ask")
    first, *rest = real.work("rest")
    resting = real.plays(server, "rest", "codex", [first, limit, *rest], phase="one")
    bad = [Turn.write("{cwd}/red.md", "bad"), Turn.run("git add red.md && git commit -qm bad")]
    red = real.plays(
        server, "red", "opencode", [*bad, Turn("Done."), *real.work("red")], phase="two"
    )
    for name, phase in (("one", "one"), ("two", "two"), ("three", "two")):
        real.task(name, phase=phase, deliverables=[f"{name}.md"])
    real.phases({"id": "one", "merge": "auto"}, {"id": "two", "merge": "auto"})
    real.write()
    real.must("launch", "--all")

    def asked(what: str) -> str | None:
        found = real.must("inbox", "--json").json()["questions"]
        return next((one["id"] for one in found if what in one["message"]), None)

    real.must("approve", until(lambda: asked("ask.md"), "a permission to write"))
    real.must("approve", until(lambda: asked("git add"), "a permission to commit"))
    until(lambda: "account" in str(real.row("rest")["waiting_for"]), "an account that rests")
    assert real.row("rest")["attempt"] == 1
    real.must("retry", "rest")
    assert real.wait("ask", "rest", "red", "one", "two", "three", state="merged").code == 0

    assert "Write rest.md, dear rest." in resting.asked(2), "its session is gone on with"
    assert "it exited with 1" in red.asked(3), "the red check sent it back within its attempt"
    assert {row["id"]: row["attempt"] for row in real.status()["tasks"]} == {
        "ask": 1, "rest": 2, "red": 1, "one": 1, "two": 1, "three": 1,
    }  # fmt: skip
    for name in ("ask", "rest", "red"):
        assert real.git("show", f"main:{name}.md") == "good"
    assert real.status()["spend"]["tokens"] > 0
    assert real.git("status", "--porcelain") == ""
    real.nothing_runs()
