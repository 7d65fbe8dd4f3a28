"""Questions go to roles: an agent is started to answer, its answer reaches who asked, and where it
gives none somebody else is asked.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from support.scripted_fleet import ScriptedFleet

KEEPS = 'cp "$FLEET_BRIEF" "{top}/brief-$FLEET_AGENT-$FLEET_TASK-$FLEET_ATTEMPT"\n'


def role(fleet: ScriptedFleet, name: str, script: str, **told: Any) -> None:
    """Declares an agent without a task, which answers."""
    note = f'echo "$FLEET_AGENT $FLEET_ATTEMPT" >> "{fleet.ran_path}"\n'
    keeps = KEEPS.format(top=fleet.top)
    agent = {"harness": "shell", "args": note + keeps + script, **told}
    fleet.put(f"agents/{name}.yaml", yaml.safe_dump(agent))


def says(told: Any) -> str:
    """Returns a script whose last words are an answer."""
    words = told if isinstance(told, str) else f"I think.\n\n```json\n{json.dumps(told)}\n```"
    text = f"cat > \"$FLEET_BRIEF.out\" <<'END'\n{words}\nEND\n"
    return text + 'fleet done --output "$FLEET_BRIEF.out"\n'


def brief(fleet: ScriptedFleet, name: str) -> str:
    return (fleet.top / f"brief-{name}").read_text()


def decided(fleet: ScriptedFleet) -> list[tuple[str, str]]:
    """Returns every answer of the plan's run: value and by whom."""
    told = [one for one in fleet.history() if one["event"] == "question-answered"]
    return [(one["value"], one.get("by", "")) for one in told]


def test_the_architect_answers_in_the_session_that_waits(fleet: ScriptedFleet) -> None:
    ask = 'fleet ask "JWT or sessions?" --topic auth --choice jwt --choice session --wait 60'
    ask += " > answer\n"
    ask += 'cat answer > api.md; git add api.md; git commit -qm "$(cat answer)"\n'
    fleet.settings["escalations"] = [{"topic": "auth", "to": "architect", "within": "10m"}]
    fleet.task("api", ask, body="Build the api.", deliverables=["api.md"])
    role(fleet, "ada", says({"answer": "jwt", "reason": "stateless"}), role="architect")
    fleet.write()
    fleet.must("launch", "api")
    assert fleet.wait("api").code == 0
    assert fleet.git("show", "fleet/api:api.md") == "jwt"
    assert decided(fleet) == [("jwt", "agent:ada")]
    told = brief(fleet, "ada-plan.q1-1")
    assert "JWT or sessions?" in told
    assert "Build the api." in told
    assert "- `jwt`\n- `session`" in told
