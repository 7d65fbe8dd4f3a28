"""The kind `agent`: one attempt of an agent at a task, from its brief to what its end means.

Adopt-or-start: an exit record is only read, a claim is only waited for; otherwise the folder is
written and a session launched, and the wrapper's claim decides that it runs once. What the agent
reports is *reported*, no more: what it left is judged by the check that follows. Secrets reach the
process's environment and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fleet.adapters import git, hooks, process
from fleet.adapters.attempts import (
    KEY_VARIABLE,
    AttemptFolder,
    ExitRecord,
    Launch,
    tail_parts,
)
from fleet.adapters.crash import crash_point
from fleet.core.messages import Ending, Outcome
from fleet.core.plan import Failure
from fleet.core.state import DeliverNote
from fleet.errors import FleetError, NotFound, Rejected
from fleet.harnesses import Report
from fleet.harnesses.confinement import facts, leave
from fleet.harnesses.secrets import known, mask, scrub
from fleet.kinds import Work
from fleet.kinds.agent.preparing import (
    account_of,
    agent_of,
    backing_in,
    driver_of,
    given,
    meant,
    note_stopped,
    number_of,
    prepare,
    report_of,
    said_of,
    session_of,
)
from fleet.kinds.agent.sight import Sight
from fleet.kinds.agent.silence import Silence
from fleet.kinds.agent.turns import Turns, answer_request
from fleet.kinds.agent.usage import usage_of

SAID_BYTES: Final = 16_384
FLOW_SAID_BYTES: Final = 65_536  # other steps work with it; a verdict is read
TAIL_BYTES: Final = 4_096
GRACE_S: Final = 10.0
CLAIM_S: Final = 15.0
CLAIM_PAUSE_S: Final = 0.02
LOOK_S: Final = 5.0
HEADLESS_LOOK_S: Final = (
    10.0  # nobody types there, so that it waits for somebody is seen late enough
)
IDLE_LOOKS: Final = 4
ENDED_BY_A_PERSON: Final = {
    "idle": "it showed no progress for {:g} s and was ended by a person",
    "blocked": "it waited in its terminal and was ended by a person",
}
JUDGED: Final = ("commit", "deliverables", "checks", "metrics", "evidence")
"""What the check behind it need not find again at the same commit."""


async def run(work: Work) -> Outcome:
    """Returns how the agent's attempt ended: its output {worktree, head, said, session, usage,
    attempt} or a failure, and what it used.
    """
    folder = AttemptFolder(work.folder)
    place = work.worktree
    if place is None:
        return _failed(Failure.INFRA, f"no step tells where the worktree of {work.task} is")
    before = work.world.endings.pop(str(place["path"]), None)
    if before is not None:
        await before
    try:
        harness = driver_of(work)
        launch = await work.world.in_thread(prepare, work, folder, place, harness)
    except (Rejected, NotFound) as refused:
        return _crashed(work, f"{refused.text} {refused.hint}".strip())
    if folder.exit_record() is None and folder.claim() is None:
        if work.stop.is_set():
            await work.world.in_thread(_end, folder, 0.0)
            return Outcome(ending=Ending.STOPPED, text="stopped before it was launched")
        crash_point("kinds.agent.before_launch")
        trouble = await work.world.launch(launch)
        if trouble is not None:
            return _crashed(work, f"the session could not be started: {trouble}")
        crash_point("kinds.agent.after_launch")
    await _tell_started(work, folder, launch, place)
    turns = Turns(work, place, interactive=work.params["agent"].get("mode") == "interactive")
    usage = await work.world.in_thread(usage_of, work, harness, agent_of(work))
    watching = asyncio.ensure_future(usage.watch())
    try:
        ended, why = await _wait(work, folder, launch, turns)
    finally:
        watching.cancel()
    if ended is not None:
        _end_what_is_left(work, folder, place)
    elif why != "stop":
        await work.world.in_thread(_end, folder, GRACE_S)
    report = await work.world.soon(report_of, work, harness, folder, ended)
    report = replace(report, usage=await usage.in_all(report.usage))
    if why == "finished":
        since_ms = max(turns.sent_back, default=0)
        said = turns.said or await work.world.in_thread(said_of, work, harness, since_ms)
        text = "its turn ended with everything in place"
        report = replace(report, ok=True, text=text, output=said or report.output)
    outcome: Outcome = await work.world.soon(_close, work, launch, turns, why, report)
    return outcome


async def deliver(work: Work, note: DeliverNote) -> None:
    """Hands a note to the running agent: as the answer that its session waits for, typed into an
    interactive session, else as a file in `notes/`.
    """
    folder = work.folder / "notes"

    def write() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{note.note}.md").write_text(note.text + "\n", encoding="utf-8")
        answer_request(work.folder, note.about)

    await work.world.in_thread(write)
    if work.params["agent"].get("mode") == "interactive" and "request" not in note.about:
        with contextlib.suppress(FleetError):
            await work.world.in_thread(work.world.tmux.send, session_of(work), note.text)


# --- waiting --------------------------------------------------------------------------------------


async def _tell_started(
    work: Work, folder: AttemptFolder, launch: Launch, place: Mapping[str, Any]
) -> None:
    """Reports the session once the wrapper has claimed the attempt."""
    until = time.monotonic() + CLAIM_S
    while (claim := folder.claim()) is None and folder.exit_record() is None:
        if time.monotonic() > until or work.stop.is_set():
            return
        await asyncio.sleep(CLAIM_PAUSE_S)
    facts: dict[str, object] = {
        "session": launch.session,
        "pid": claim.pid if claim else None,
        "worktree": str(place["path"]),
        "folder": str(folder.path),
        "attempt": number_of(work),
    }
    if "started" not in work.facts or work.facts.get("session") != launch.session:
        facts["started"] = work.now_ms
    work.report(facts)


async def _wait(
    work: Work, folder: AttemptFolder, launch: Launch, turns: Turns
) -> tuple[ExitRecord | None, str]:
    """Returns the exit record and why the wait ended: `exit`, `stop`, `finished`, `idle` or
    `blocked`; None for a lost attempt.
    """
    attended = asyncio.ensure_future(turns.attend())
    exit_ = asyncio.ensure_future(work.world.wait_for_exit(launch))
    stop = asyncio.ensure_future(work.stop.wait())
    silence = Silence(work, turns, float(work.params.get("idle_s") or 0))
    sight = Sight(work, turns.interactive)
    look_s = LOOK_S if turns.interactive else HEADLESS_LOOK_S
    try:
        while True:
            await asyncio.wait(
                (exit_, stop, attended),
                timeout=min(look_s, silence.idle_s / IDLE_LOOKS or look_s),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if exit_.done():
                return exit_.result(), "exit"
            if stop.done():
                await work.world.in_thread(_end, folder, GRACE_S)
                return None, "stop"
            if attended.done():
                attended.result()
                await work.world.in_thread(_end, folder, GRACE_S)
                return None, "finished"
            if await sight.is_the_end():
                return None, "blocked"
            if sight.concern.asked_s is None and await silence.is_the_end():
                return None, "idle"
    finally:
        for one in (exit_, stop, attended):
            if not one.done():
                one.cancel()


def _end_what_is_left(work: Work, folder: AttemptFolder, place: Mapping[str, Any]) -> None:
    """Ends what an agent that has ended left running, a server that keeps the task's port, say.

    The outcome does not wait for it; the next attempt in the same worktree does.
    """

    async def end() -> None:
        if await work.world.left_running(folder.path):
            await work.world.in_thread(_end, folder, GRACE_S)

    work.world.endings[str(place["path"])] = asyncio.ensure_future(end())


def _end(folder: AttemptFolder, grace_s: float) -> None:
    """Ends every process of the attempt, TERM first; blocks."""
    claim = folder.claim()
    known = process.Members(
        roots=(claim,) if claim else (), marker=f"{KEY_VARIABLE}={folder.key}", pipe=folder.pipe
    )
    process.reap(known, grace_s)


# --- what it means --------------------------------------------------------------------------------


def _close(work: Work, launch: Launch, turns: Turns, why: str, report: Report) -> Outcome:
    """Returns what an attempt that has ended comes to; takes away its home, unless it may be gone
    on with, and the secrets from what it printed.
    """
    folder = AttemptFolder(work.folder)
    if why in {"idle", "finished"} or report.ok or report.failure is Failure.TASK:
        leave(work.folder, work.params["agent"].get("sandbox"))
    told: dict[str, Any] = {
        "evidence": _evidence(work, folder, launch),
        "usage": report.spent,
    }
    _scrub(work, folder)
    if why == "stop":
        note_stopped(folder)
        return Outcome(ending=Ending.STOPPED, text="stopped", **told)
    if why in ENDED_BY_A_PERSON:
        text = ENDED_BY_A_PERSON[why].format(work.params.get("idle_s") or 0)
        return Outcome(ending=Ending.FAILED, failure=Failure.TASK, text=text, **told)
    crash_point("kinds.agent.before_outcome")
    return _outcome(work, folder, launch, turns, report)


def _outcome(
    work: Work, folder: AttemptFolder, launch: Launch, turns: Turns, report: Report
) -> Outcome:
    secrets = _secrets(work)
    text = mask(report.text, secrets)
    if not report.ok:
        failure = report.failure or Failure.TASK
        return Outcome(
            ending=Ending.FAILED,
            failure=failure,
            text=f"{work.params['agent']['id']}: {text}",
            account=account_of(work),
            blames=_blames(work) if failure is Failure.AGENT else (),
            until_ms=report.resume_at_ms,
            evidence=_evidence(work, folder, launch),
            usage=report.spent,
        )
    said = given(folder)
    said = report.output if said is None else said
    limit = SAID_BYTES
    if work.params.keys() & {"flow", "schema", "answers"}:
        limit = FLOW_SAID_BYTES
    output: dict[str, Any] = {
        "worktree": dict(turns.place),
        "head": _head(work, turns.place),
        "said": mask(said or "", secrets)[-limit:],
        "session": report.session or launch.session,
        "usage": report.spent,
        "attempt": number_of(work),
    }
    if backing := backing_in(folder):
        output["backing"] = backing
    if turns.green:
        output["judged"] = {name: turns.judged[name] for name in JUDGED}
    if work.params.get("schema") or work.params.get("answers"):
        output["value"], wrong = meant(work, output["said"])
        if wrong:
            told = f"{work.params['agent']['id']}: {wrong}"
            found = _evidence(work, folder, launch)
            return replace(_failed(Failure.TASK, told, found), usage=report.spent)
    return Outcome(
        ending=Ending.SUCCEEDED,
        text=text,
        output=output,
        evidence=_decided(work, folder),
        usage=report.spent,
    )


def _head(work: Work, place: Mapping[str, Any]) -> str | None:
    repo = work.world.repository
    if not place["admin"]:
        return None
    tree = git.Worktree(
        path=Path(place["path"]),
        branch=str(place["branch"]),
        start=str(place["start"]),
        key=f"{work.run}/{work.task}",
        admin=Path(place["admin"]),
        common=repo.common,
    )
    with contextlib.suppress(FleetError, OSError):
        return git.tip(tree)
    return None


def _evidence(work: Work, folder: AttemptFolder, launch: Launch) -> dict[str, object]:
    tail_of_it = mask(folder.output_tail(TAIL_BYTES), _secrets(work))
    told = {"tail": tail_of_it, "session": launch.session, "folder": os.fspath(folder.path)}
    shown = facts(folder.path, work.params["agent"].get("sandbox"))
    return {**told, **shown, **_decided(work, folder)}


def _decided(work: Work, folder: AttemptFolder) -> dict[str, object]:
    """Returns {policy: what it decided without a person}, {} when it decided nothing."""
    found = hooks.decisions_of(folder.path)
    if not found:
        return {}
    secrets = _secrets(work)
    last = [{**one, "about": mask(one["about"], secrets)} for one in found["last"]]
    return {"policy": {**found, "last": last}}


def _secrets(work: Work) -> dict[str, str]:
    """Returns the secrets that its output must not show; those that are gone cannot be masked."""
    return known(work.params["agent"].get("secrets") or {}, work.world.root)


def _scrub(work: Work, folder: AttemptFolder) -> None:
    """Takes the secrets out of what the attempt has printed, once all that reads it has read it."""
    secrets = _secrets(work)
    for log in (folder.log, folder.stdout) if secrets else ():
        for path in {log, *tail_parts(log)}:
            scrub(path, secrets)


def _blames(work: Work) -> tuple[str, ...]:
    """Returns what others may crash of as well: its agent, then its account."""
    own = (f"agent:{work.params['agent']['id']}", account_of(work))
    return tuple(name for name in own if name in work.step.uses)


def _crashed(work: Work, text: str) -> Outcome:
    return replace(_failed(Failure.AGENT, text), blames=_blames(work))


def _failed(failure: Failure, text: str, evidence: Mapping[str, object] | None = None) -> Outcome:
    return Outcome(ending=Ending.FAILED, failure=failure, text=text, evidence=evidence or {})
