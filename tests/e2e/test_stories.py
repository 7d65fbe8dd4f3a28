"""The example fleets run to their end as they are, and tell the stories that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TIMEOUT_S = 400


def told(fleet_cli: Callable[..., Any], footprint: set[Path], name: str) -> str:
    """Returns all that a demo says; fails with it unless it ends as its story says."""
    ended = fleet_cli("demo", name, timeout_s=TIMEOUT_S)
    assert ended.code == 0, ended.stdout + ended.stderr
    footprint.add(Path(ended.stdout.split("\n")[0].rpartition(": ")[2]).parent)
    return str(ended.stdout)


def test_a_verifier_sees_what_green_tests_hide(fleet_cli, footprint):
    said = told(fleet_cli, footprint, "rest-endpoint")
    # found once, at what the api's own test had passed; the gate is open only after the second look
    order = [
        "database verified, api verified",
        "old_value in the audit: 'Ada King', not 'Ada Lovelace'",
        "`verifier` judged this at commit",
        "verifier/check.2  passed",
        "gate endpoint: open",
        "audit: | name | Ada Lovelace | Ada King",
        "100 % done",
    ]
    assert sorted(order, key=said.index) == order
    assert said.count("not passed") == 1
