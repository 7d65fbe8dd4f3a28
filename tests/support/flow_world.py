"""Workflows at work without a coordinator: documents are loaded and lowered, the kernel decides,
and the runtime's own attempts run in this process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleet.app import workflows
from fleet.app.place import FleetPlace
from fleet.app.redoing import redo_patch
from fleet.core import messages as m
from fleet.core.state import State
from fleet.files.flows.inputs import checked_inputs
from fleet.files.flows.loading import Loader
from fleet.runtimes.runs import now_ms
from fleet.views.runs import run_of
from support.kind_world import KindWorld, Player

SETTINGS = "---\nfleet: flows\nbase: main\n{more}---\nRules.\n"


class FlowWorld:
    """A repository whose workflows are played; `more` are further lines of its settings."""

    def __init__(self, top: Path, socket: str, more: str = "", **files: str) -> None:
        named = {
            name.replace("__", "/").replace("_py", ".py"): text for name, text in files.items()
        }
        told = {"coordination.md": SETTINGS.format(more=more), **named}
        self.world = KindWorld(top, socket, told)
        self.place = FleetPlace(self.world.root)

    def put(self, name: str, text: str) -> Path:
        path = self.world.root / "workflows" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def play(
        self,
        text: str,
        *,
        inputs: dict[str, Any] | None = None,
        roles: dict[str, str] | None = None,
        answers: tuple[str, ...] = (),
        until: Callable[[State], bool] = lambda state: False,
        then: Callable[[Player], None] | None = None,
    ) -> dict[str, Any]:
        """Returns `fleet.run/1` of a workflow that was played until nothing goes on; each answer
        is given to the one question that is open then. `then` is done once `until` is met.
        """
        path = self.put("played.yaml", text)
        one = Loader(self.place.documents, roles or {}).load(path)[0]
        told = checked_inputs(one.workflow.form["inputs"], inputs or {})
        asked = workflows.Asked(inputs={}, roles={})
        self.world.state = None
        plan = workflows._plan(self.place, one, told, "plan", asked)
        state = self.world.play(plan, until=until, then=then)
        for value in answers:
            (question,) = state.questions
            answer = m.AnswerQuestion(id=question, value=value, by="ada", at_ms=now_ms())
            state = self.world.play(None, answer)
        return run_of(state, str)

    def resume(self, text: str, *, roles: dict[str, str] | None = None) -> dict[str, Any]:
        """Returns the same of the run that has failed, gone on with by what the file says now."""
        one = Loader(self.place.documents, roles or {}).load(self.put("played.yaml", text))[0]
        state = self.world.state
        assert state is not None
        patch = redo_patch(state, one.bundle, workflows.kept(self.place, one))
        return run_of(self.world.play(None, m.RevisePlan(patch=patch, at_ms=now_ms())), str)


def outputs(run: dict[str, Any]) -> dict[str, Any]:
    """Returns what each step has put out."""
    return {one["id"]: one["output"] for one in run["steps"]}


def states(run: dict[str, Any]) -> dict[str, str]:
    """Returns how each step stands."""
    return {one["id"]: one["state"] for one in run["steps"]}
