"""The example fleets run to their end as they are, and tell the stories that they stand for.

What each command prints is held by the story itself (`examples/NAME/story.yaml`); held here is the
order of things, and for the largest what its journal says.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_S = 400


def play(fleet_cli: Callable[..., Any], name: str, *words: str) -> tuple[str, Path]:
    """Returns all that a demo says, and its root; fails unless it ends as its story says."""
    ended = fleet_cli("demo", name, *words, timeout_s=TIMEOUT_S)
    assert ended.code == 0, ended.stdout + ended.stderr
    return str(ended.stdout), Path(ended.stdout.split("\n")[0].rpartition(": ")[2])


def in_order(said: str, *texts: str) -> bool:
    """Returns whether these are said one after another; fails for one that is not said at all."""
    return sorted(texts, key=said.index) == list(texts)


def test_a_verifier_sees_what_green_tests_hide(fleet_cli, footprint):
    said, root = play(fleet_cli, "rest-endpoint")
    footprint.add(root.parent)
    # found once, at what the api's own test had passed; the gate is open only after the second look
    assert in_order(
        said,
        "database verified, api verified",
        "old_value in the audit: 'Ada King', not 'Ada Lovelace'",
        "`verifier` judged this at commit",
        "verifier/check.2  passed",
        "gate endpoint: open",
        "audit: | name | Ada Lovelace | Ada King",
        "100 % done",
    )
    assert said.count("not passed") == 1


def test_an_architect_decides_and_a_checkpoint_stands_before_the_release(fleet_cli, footprint):
    said, root = play(fleet_cli, "authentication")
    footprint.add(root.parent)
    assert in_order(
        said,
        "rides on it: email, integration",
        "holds: 100 %, >= 99 is wanted",
        "-> standard-library",
        "scrypt, as the architect decided",
        "The API is not there yet.",
        "status for an address that ends the SQL: 200, not 401",
        "sign-off: 0 of 1",
        "sign-off: 1 of 1",
        "# Release 2.0.0",
        "0001-",
        "100 % done",
    )


# --- the migration: its journal tells the story ---------------------------------------------------


@pytest.fixture
def migration(fleet_cli, footprint) -> Iterator[Callable[..., Any]]:
    """Reads the fleet of the migration, which has been told to its end and is kept until then."""
    _, root = play(fleet_cli, "saas-migration", "--keep")
    footprint.add(root.parent)
    try:
        yield lambda *words: fleet_cli(*words, "--json", cwd=root)
    finally:
        fleet_cli("down", "--all", cwd=root)
        shutil.rmtree(root.parent)


def test_a_plan_adapts_three_times_and_ends_merged(migration):
    events = [json.loads(line) for line in migration("history").stdout.splitlines()]

    def when(name: str, step: str, ending: str = "", attempt: int = 1) -> int:
        """Returns where in the journal an attempt started (or ended so) for the first time."""
        for number, one in enumerate(events):
            found = (one["event"], one.get("step"), one.get("attempt"))
            if (
                found == (name, step, attempt)
                and ending in one.get("outcome", {"ending": ""})["ending"]
            ):
                return number
        raise AssertionError(f"{name} {step} {attempt} is not in the journal")

    def began(step: str, attempt: int = 1) -> int:
        return when("attempt-started", step, attempt=attempt)

    def done(step: str, attempt: int = 1) -> int:
        return when("attempt-ended", step, "succeeded", attempt)

    report = migration("report").json()
    assert {one["id"]: (one["holds"], one["value"]) for one in report["proofs"]} == {
        "schema-proof": (True, 0), "api-v2-proof-2": (True, None),
        "api-v2-proof": (False, 600), "data-proof": (False, 85),
    }  # fmt: skip

    # three escalations, each answered by the role that the fleet names for it
    decided = migration("decisions").json()["decisions"]
    answers = [(one["task"], one["topic"], one["by"]) for one in decided]
    assert ("legacy-analysis", "data-quality", "agent:risk") in answers
    assert ("api-v2-proof", "performance", "agent:architect") in answers
    assert answers.count(("billing", "tenant", "agent:architect")) >= 2
    assert [one["answer"] for one in decided if one["change"]] == ["approve"]
    (loop,) = report["loops"]
    assert (loop["kind"], loop["tasks"], len(loop["rounds"])) == ("question", ["billing"], 3)

    # three adaptations, each of them one revision, before all that depends on it
    added = [
        ({one["id"] for one in event["patch"]["put"] if one["kind"] == "join"}, number)
        for number, event in enumerate(events)
        if event["event"] == "plan-revised"
    ]
    cleaning, cache, tenants = (
        next(number for joins, number in added if wanted <= joins)
        for wanted in (
            {"data-cleaning", "data-quality"},
            {"cache-strategy", "cache"},
            {"tenant-management"},
        )
    )
    assert cleaning < done("data-quality/check") < began("data/work")
    assert cache < done("cache/check") < began("api-v2/work")
    assert (
        began("billing/work") < tenants < done("tenant-management/check") < began("billing/work", 2)
    )
    assert done("tenant-management/check") < began("frontend/work")

    # five checkpoints, each open before what stands behind it begins
    for checkpoint, behind in (
        ("analysis-complete", "strategy"), ("poc-gate", "schema"), ("migration-readiness", "data"),
        ("security-gate", "cutover"), ("deployment-readiness", "cutover"),
    ):  # fmt: skip
        opened = max(n for n, one in enumerate(events) if one.get("step") == f"{checkpoint}/gate")
        assert opened < began(f"{behind}/worktree")

    # the leak was found at what the api's own tests had passed, and is mended
    assert done("api-v2/check") < when("attempt-ended", "security/check", "failed")
    rounds = [one["passed"] for one in report["verdicts"] if one["task"] == "security"]
    assert rounds == [False, True]
    assert {one["state"] for one in migration("status").json()["tasks"]} == {"merged"}
