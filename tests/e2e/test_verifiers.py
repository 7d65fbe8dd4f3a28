"""Tasks that judge others: what they find goes back with its evidence, and is judged again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from support.scripted_fleet import ScriptedFleet, until

PASSED = '{"passed": true, "findings": []}'


def verdict(*findings: dict[str, str]) -> str:
    """Returns a verdict that does not pass, with these findings."""
    return json.dumps({"passed": False, "findings": list(findings)})


def finding(text: str, evidence: str, severity: str = "high", **about: str) -> dict[str, str]:
    return {"severity": severity, "text": text, "evidence": evidence, **about}


def says(told: str) -> str:
    """Returns a script line that gives `told` as its output, among other things that it prints."""
    return f"cat > out <<'END'\nI have looked.\n\n```json\n{told}\n```\nEND\nfleet done --output out\nrm out\n"


def keeps(fleet: ScriptedFleet) -> str:
    return f'cp "$FLEET_BRIEF" "{fleet.top}/brief-$FLEET_TASK-$FLEET_ATTEMPT"\n'


def brief(fleet: ScriptedFleet, name: str) -> str:
    return (fleet.top / f"brief-{name}").read_text()


def steps(fleet: ScriptedFleet) -> list[tuple[str, int]]:
    """Returns the steps that were started, in order."""
    return [(e["step"], e["at_ms"]) for e in fleet.history() if e["event"] == "attempt-started"]


def conditions(fleet: ScriptedFleet, phase: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fleet("gate", phase, "--json").json()["conditions"]
    return found


def test_what_a_verifier_finds_is_mended_and_judged_again(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    by_try = 'test "$FLEET_ATTEMPT" = 1 && word=bad || word=good\n'
    api = 'echo "$word" > api.md; git add api.md; git commit -qm "api $FLEET_ATTEMPT"\n'
    looks = (
        "cat api.md web.md\n"
        'echo "judged $(cat api.md)" > QA.md; git add QA.md; git commit -qm "qa $FLEET_ATTEMPT"\n'
    )
    red = verdict(
        finding("a small thing", "web.md:1", "low", task="web"),
        finding("the api is bad", "$ cat api.md\nbad ``` \x1b[31mred", task="api"),
    )
    fleet.phases("p")
    fleet.task("api", keeps(fleet) + by_try + api, deliverables=["api.md"])
    fleet.task("web", keeps(fleet) + fleet.delivers("web"), deliverables=["web.md"])
    fleet.task(
        "qa",
        f"{keeps(fleet)}{looks}if grep -q bad api.md; then\n{says(red)}else\n{says(PASSED)}fi\n",
        deliverables=["QA.md"],
        verifies=["api", "web"],
        approved_by=["grace"],
    )
    fleet.task("docs", keeps(fleet) + fleet.delivers("docs"), dependencies=["api"])
    front = "verifies: [web, api]\nchecks: ['test -e api.md -a -e web.md']"
    fleet.put("tasks/smoke.md", f"---\n{front}\n---\n")
    fleet.write()
    untouched()
    fleet.must("launch", "--all")
    done = fleet.wait("api", "web", "qa", "docs", "smoke", timeout_s=60)
    print(fleet.must("status").stdout, fleet.must("inbox").stdout)
    assert done.code == 0
    print(brief(fleet, "qa-1"), brief(fleet, "api-2"), brief(fleet, "qa-2"), sep="\n=======\n")
    print(fleet("gate", "p").stdout)
    assert fleet.ran() == {"api 1": 1, "api 2": 1, "web 1": 1, "qa 1": 1, "qa 2": 1, "docs 1": 1}
