"""What can be read as a resource: the plan, the tasks, findings, and the briefs of agents.

    fleet://plan                  fleet.plan/1
    fleet://tasks                 fleet.status/1
    fleet://tasks/TASK            fleet.task/1
    fleet://findings              fleet.findings/1
    fleet://decisions             fleet.decisions/1
    fleet://briefs/RUN/STEP       the brief of the step's latest attempt, as Markdown

Names in an address are percent-encoded; an address is a client's text, so what it names is looked
up in the journal and never taken for a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

from fleet.app import deciding, offering, planning, reporting, watching
from fleet.app.inbox import live_states
from fleet.app.place import FleetPlace
from fleet.errors import NotFound
from fleet.views.plan import plain

SCHEME: Final = "fleet://"
JSON, MARKDOWN = "application/json", "text/markdown"

PAGES: Final[Mapping[str, str]] = {
    "plan": "The schedule: tasks with days, slack and critical path.",
    "tasks": "How every task stands: the daily check-in.",
    "findings": "What agents have found beside their tasks.",
    "decisions": "What was decided: answers by roles and people, and what tasks say.",
}
TEMPLATES: Final[Mapping[str, tuple[str, str]]] = {
    "tasks/{task}": ("How one task stands.", JSON),
    "briefs/{run}/{step}": ("What the agent of a step was told.", MARKDOWN),
}


def listed(place: FleetPlace) -> list[tuple[str, str, str, str]]:
    """Returns (address, name, what it is, media type) of all that is there to be read now."""
    found = [(f"{SCHEME}{name}", name, text, JSON) for name, text in PAGES.items()]
    for state in live_states(place):
        for step in state.running:
            if state.steps[step].step.kind == "agent":
                address = f"{SCHEME}briefs/{quote(state.run, safe='')}/{quote(step, safe='')}"
                text = f"What the agent of {step} was told."
                found.append((address, f"brief of {step}", text, MARKDOWN))
    return found


def read(place: FleetPlace, address: str) -> tuple[Any, str]:
    """Returns what lies at an address, with its media type; raises NotFound for nothing."""
    rest = address.removeprefix(SCHEME)
    head, *names = [unquote(part) for part in rest.split("/")]
    if not address.startswith(SCHEME) or len(names) > 2 or not all(names):
        raise NotFound("resource", address[:200], [f"{SCHEME}{name}" for name in PAGES])
    match head, names:
        case "plan", []:
            return plain(planning.plan(place)), JSON
        case "tasks", []:
            return watching.status(place), JSON
        case "tasks", [task]:
            return watching.task_status(place, task), JSON
        case "findings", []:
            return reporting.findings(place), JSON
        case "decisions", []:
            return deciding.decisions(place), JSON
        case "briefs", [run, step]:
            path = offering.brief_path(place, run, step)
            if path is not None and path.is_file():
                return path.read_text(encoding="utf-8"), MARKDOWN
    raise NotFound("resource", address[:200], [f"{SCHEME}{name}" for name in PAGES])
