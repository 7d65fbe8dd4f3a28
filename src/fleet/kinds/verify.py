"""The kind `verify`: judges what another step of a workflow has made: commands in its place, the
verdict of an agent before this step, or both.

What they find is that step's rework: a red verdict carries the patch that has its agent try again,
with the findings, and this step judge again, `attempts` rounds in all; then it has failed, or goes
to its `else`. Only an agent's work can be sent back; anything else that is red is over at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from fleet.core.messages import Ending, Outcome
from fleet.core.plan import FAILED, Need, Patch, Step
from fleet.core.state import StepState
from fleet.files.flows.lowering import LAST, joined, judging_steps
from fleet.files.flows.scope import Scope
from fleet.harnesses.commands import run_command
from fleet.kinds import Work
from fleet.kinds.flow import attempted, failed, otherwise, place_of
from fleet.views.flows import flow_of, step_before

ROUNDS: Final = 3
TIMEOUT_S: Final = 1_800.0
TAIL_CHARS: Final = 2_048

Row = dict[str, Any]


async def run(work: Work) -> Outcome:
    """Returns {passed, checks, findings, rounds} as output, or FAILED with the findings and the
    rework.
    """
    found: list[tuple[Scope, StepState]] = []

    def look(scope: Scope) -> Outcome:
        found.append((scope, step_before(work.look, scope.one, scope.step["of"])))
        return Outcome(ending=Ending.SUCCEEDED)

    outcome = attempted(work, look)
    if not found:
        return outcome
    scope, judged = found[0]
    rows = await _checked(work, scope, judged)
    if rows is None:
        return Outcome(ending=Ending.STOPPED, text="stopped")
    judge = _judge(work)
    return _verdict(work, scope, judged, rows if judge is None else [*rows, _told(judge)])


async def _checked(work: Work, scope: Scope, judged: StepState) -> list[Row] | None:
    """Returns a row for each command that was run in the place of what is judged; None when it was
    stopped.
    """
    folder, rows = place_of(work, judged), []
    for number, command in enumerate(scope.step.get("checks") or (), 1):
        ran = await run_command(
            command,
            cwd=folder,
            env=work.environment(task=work.step.whole, branch="", worktree=str(folder)),
            log=work.folder / f"check-{number}.log",
            timeout_s=float((scope.step.get("timeout_ms") or TIMEOUT_S * 1000) / 1000),
            marker=f"{work.world.root}:{work.key}",
            stop=work.stop,
        )
        if ran.stopped:
            return None
        why = "" if ran.passed else f"exited with {ran.code}" if ran.code else "ran out of time"
        text = command if isinstance(command, str) else " ".join(command)
        rows.append(
            {"text": text, "passed": ran.passed, "why": why, "tail": ran.tail[-TAIL_CHARS:]}
        )
    return rows


def _judge(work: Work) -> StepState | None:
    """Returns the agent's step whose verdict this one takes, None where commands alone judge."""
    needs = (work.look(need.step) for need in work.step.needs if need.on != FAILED)
    return next((one for one in needs if one is not None and _judges(work, one)), None)


def _judges(work: Work, one: StepState) -> bool:
    return one.step.kind == "agent" and one.step.whole == work.step.whole


def _told(judge: StepState) -> Row:
    """Returns an agent's verdict as a row; its findings are words of others."""
    output: Any = judge.output
    verdict, agent = output["value"], judge.step.params["agent"]
    findings = [str(one) for one in verdict["findings"]]
    why = "" if verdict["passed"] else f"{len(findings) or 'no'} findings"
    tail = "\n".join(f"- {one}" for one in findings)[-TAIL_CHARS:]
    return {
        "text": f"verdict of {agent['id']}",  # type: ignore[index]
        "passed": verdict["passed"],
        "why": why,
        "tail": tail,
        "findings": findings,
    }


def _verdict(work: Work, scope: Scope, judged: StepState, rows: list[Row]) -> Outcome:
    step, flow = scope.step, scope.flow
    number = int(flow.get("judging", 1))
    red = [row["text"] for row in rows if not row["passed"]]
    findings = [one for row in rows for one in row.pop("findings", ())]
    output = {"passed": not red, "checks": rows, "findings": findings, "rounds": number}
    join = work.look(work.step.whole)
    assert join is not None, "what verifies has a join"
    if not red:
        told = joined(join.step, [work.step.id], last=work.step.id)
        return Outcome(ending=Ending.SUCCEEDED, output=output, patch=Patch(put=(told,)))
    text = f"red: {', '.join(red)}"
    tries: Any = judged.output
    evidence = {"checks": rows, "findings": findings}
    if number >= int(step.get("attempts") or ROUNDS) or judged.step.kind != "agent":
        if step.get("else"):
            patch = otherwise(work, scope, f"is {text}")
            return Outcome(
                ending=Ending.SUCCEEDED, label="red", output=output, text=text, patch=patch
            )
        return failed(text, evidence=evidence)
    again = _again(work, judged, number)
    following = _following(work, scope, again, number)
    put = (again, *following, joined(join.step, [following[-1].id], last=following[-1].id))
    told_again = {**evidence, "attempts": tries["attempt"]}
    return failed(text, evidence=told_again, patch=Patch(put=put, reason=text))


def _following(work: Work, scope: Scope, again: Step, number: int) -> list[Step]:
    """Returns the steps that judge once more, behind the work that was sent back."""
    flow = {**scope.flow, "judging": number + 1, "pos": [*_pos(scope.flow), number, LAST]}
    whole = work.step.whole
    copy = _free(work, f"{whole}.open")
    needs = [Need(step=again.id)]
    judges: list[Step] = []
    if _judge(work) is not None:
        judges = judging_steps(scope.bundle, flow, scope.step, needs, f".{copy}")
        needs = [Need(step=judges[-1].id)]
    following = replace(
        work.step, id=f"{whole}.open.{copy}", params={"flow": flow}, needs=tuple(needs)
    )
    return [*judges, following]


def _again(work: Work, judged: StepState, number: int) -> Step:
    """Returns the agent's step once more, behind what was found."""
    whole = judged.step.whole
    told = {**flow_of(judged), "pos": [*_pos(work.params["flow"]), number, 0]}
    briefs = [need for need in judged.step.needs if need.step.startswith(f"{whole}.brief")]
    return replace(
        judged.step,
        id=f"{whole}.{_free(work, whole)}",
        params={**judged.step.params, "flow": told},
        needs=(*briefs, Need(step=work.step.id, on=FAILED)),
    )


def _free(work: Work, name: str) -> int:
    """Returns the first number that no copy of a step has yet."""
    copy = 2
    while work.look(f"{name}.{copy}") is not None:
        copy += 1
    return copy


def _pos(flow: Any) -> list[int]:
    """Returns the position of the document step, whichever round of it this is."""
    pos = list(flow["pos"])
    return pos if "judging" not in flow else pos[:-2]
