"""The kind `verify`: commands that judge what another step of a workflow has made, in its place.

What they find is that step's rework: a red verdict carries the patch that has its agent try again,
with the findings, and this step judge again, `attempts` rounds in all; then it has failed. Only an
agent's work can be sent back; anything else that is red has failed at once.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fleet.adapters.layout import scratch_path
from fleet.core.messages import Ending, Outcome
from fleet.core.plan import FAILED, Need, Patch, Step
from fleet.core.state import StepState
from fleet.files.flows.lowering import LAST, joined
from fleet.files.flows.scope import Scope
from fleet.harnesses.commands import run_command
from fleet.kinds import Work
from fleet.kinds.flow import attempted, failed
from fleet.views.flows import flow_of, step_before

ROUNDS: Final = 3
TIMEOUT_S: Final = 1_800.0


async def run(work: Work) -> Outcome:
    """Returns {passed, checks, rounds} as output, or FAILED with the findings and the rework."""
    found: dict[str, Any] = {}

    def look(scope: Scope) -> Outcome:
        found["step"] = scope.step
        found["judged"] = step_before(work.look, scope.one, scope.step["of"])
        return Outcome(ending=Ending.SUCCEEDED)

    outcome = attempted(work, look)
    if "judged" not in found:
        return outcome
    folder = _place(work, found["judged"])
    rows = []
    for number, command in enumerate(found["step"]["checks"], 1):
        ran = await run_command(
            command,
            cwd=folder,
            env=work.environment(task=work.step.whole, branch="", worktree=str(folder)),
            log=work.folder / f"check-{number}.log",
            timeout_s=float((found["step"].get("timeout_ms") or TIMEOUT_S * 1000) / 1000),
            marker=f"{work.world.root}:{work.key}",
            stop=work.stop,
        )
        if ran.stopped:
            return Outcome(ending=Ending.STOPPED, text="stopped")
        why = "" if ran.passed else f"exited with {ran.code}" if ran.code else "ran out of time"
        text = command if isinstance(command, str) else " ".join(command)
        rows.append({"text": text, "passed": ran.passed, "why": why, "tail": ran.tail[-2_048:]})
    return _verdict(work, found["step"], found["judged"], rows)


def _place(work: Work, judged: StepState) -> Path:
    """Returns where a step has worked."""
    output: Any = judged.output
    tree = work.look(f"{judged.step.whole}.tree")
    place: Any = tree.output if tree is not None else None
    if place is None and judged.step.kind == "agent":
        place = output["worktree"]
    if place is not None:
        return Path(place["path"])
    folder = scratch_path(work.world.state, work.run, judged.step.whole) / "work"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _verdict(work: Work, step: Any, judged: StepState, rows: list[dict[str, Any]]) -> Outcome:
    flow, number = work.params["flow"], int(work.params["flow"].get("judging", 1))
    join = work.look(work.step.whole)
    assert join is not None, "what verifies has a join"
    red = [row["text"] for row in rows if not row["passed"]]
    if not red:
        output = {"passed": True, "checks": rows, "rounds": number}
        told = joined(join.step, [work.step.id], last=work.step.id)
        return Outcome(ending=Ending.SUCCEEDED, output=output, patch=Patch(put=(told,)))
    text = f"red: {', '.join(red)}"
    evidence = {"checks": rows}
    if number >= int(step.get("attempts") or ROUNDS) or judged.step.kind != "agent":
        return failed(text, evidence=evidence)
    again = _again(work, judged, number)
    following = replace(
        work.step,
        id=f"{work.step.whole}.open.{number + 1}",
        params={"flow": {**flow, "judging": number + 1, "pos": [*_pos(flow), number, LAST]}},
        needs=(Need(step=again.id),),
    )
    put = (again, following, joined(join.step, [following.id], last=following.id))
    return failed(text, evidence=evidence, patch=Patch(put=put, reason=text))


def _again(work: Work, judged: StepState, number: int) -> Step:
    """Returns the agent's step once more, behind what was found."""
    whole = judged.step.whole
    copy = number + 1
    while work.look(f"{whole}.{copy}") is not None:
        copy += 1
    told = {**flow_of(judged), "pos": [*_pos(work.params["flow"]), number, 0]}
    briefs = [need for need in judged.step.needs if need.step.startswith(f"{whole}.brief")]
    return replace(
        judged.step,
        id=f"{whole}.{copy}",
        params={**judged.step.params, "flow": told},
        needs=(*briefs, Need(step=work.step.id, on=FAILED)),
    )


def _pos(flow: Any) -> list[int]:
    """Returns the position of the document step, whichever round of it this is."""
    pos = list(flow["pos"])
    return pos if "judging" not in flow else pos[:-2]
