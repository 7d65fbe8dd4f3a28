"""The kind `agent`: one attempt of an agent at a task, from its brief to what its end means.

Adopt-or-start: an exit record is only read, a claim is only waited for; otherwise the folder is
written and a session launched, and the wrapper's claim decides that it runs once. What the agent
reports is *reported*, no more: what it left is judged by the check that follows. Secrets reach the
process's environment and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet.adapters import git, process
from fleet.adapters.attempts import (
    KEY_VARIABLE,
    AttemptFolder,
    ExitRecord,
    Launch,
    session_name,
    tail,
)
from fleet.adapters.crash import crash_point
from fleet.core.messages import Ending, Outcome
from fleet.core.plan import Failure
from fleet.errors import FleetError, NotFound, Rejected
from fleet.harnesses import AgentFacts, Harness, Report, find_harness
from fleet.harnesses import brief as briefs
from fleet.harnesses.confinement import confined
from fleet.harnesses.secrets import mask, resolve
from fleet.kinds import Work

SAID_BYTES: Final = 16_384
TAIL_BYTES: Final = 4_096
GRACE_S: Final = 10.0
CLAIM_S: Final = 15.0
CLAIM_PAUSE_S: Final = 0.02
IDLE_LOOKS: Final = 4


async def run(work: Work) -> Outcome:
    """Returns how the agent's attempt ended: its output {worktree, head, said, session, usage,
    attempt} or a failure.
    """
    folder = AttemptFolder(work.folder)
    place = work.worktree
    if place is None:
        return _failed(
            Failure.INFRA, f"no step tells where the worktree of {work.params['task']} is"
        )
    before = work.world.endings.pop(str(place["path"]), None)
    if before is not None:
        await before
    try:
        harness = find_harness(_harness(work))
        launch = await work.world.in_thread(_launch, work, folder, place, harness)
    except (Rejected, NotFound) as refused:
        return _failed(Failure.AGENT, f"{refused.text} {refused.hint}".strip())
    if folder.exit_record() is None and folder.claim() is None:
        if work.stop.is_set():
            await work.world.in_thread(_end, folder, 0.0)
            return Outcome(ending=Ending.STOPPED, text="stopped before it was launched")
        crash_point("kinds.agent.before_launch")
        trouble = await work.world.launch(launch)
        if trouble is not None:
            return _failed(Failure.AGENT, f"the session could not be started: {trouble}")
        crash_point("kinds.agent.after_launch")
    await _tell_started(work, folder, launch, place)
    ended, why = await _wait(work, folder, launch)
    if why == "stop":
        return Outcome(ending=Ending.STOPPED, text="stopped", evidence=_evidence(folder, launch))
    if ended is None or why == "idle":
        await work.world.in_thread(_end, folder, GRACE_S)
    else:
        _end_what_is_left(work, folder, place)
    if why == "idle":
        text = f"it said nothing for {work.params['idle_s']:g} s and was ended"
        return _failed(Failure.TASK, text, _evidence(folder, launch))
    crash_point("kinds.agent.before_outcome")
    report = await work.world.in_thread(harness.outcome, ended, folder)
    outcome: Outcome = await work.world.in_thread(_outcome, work, folder, launch, place, report)
    return outcome


async def deliver(work: Work, note: int, text: str) -> None:
    """Hands a note to the running agent: typed into an interactive session, else a file in
    `notes/`.
    """
    folder = work.folder / "notes"

    def write() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{note}.md").write_text(text + "\n", encoding="utf-8")

    await work.world.in_thread(write)
    if work.params["agent"].get("mode") == "interactive":
        with contextlib.suppress(FleetError):
            await work.world.in_thread(work.world.tmux.send, _session(work), text)


# --- preparing ------------------------------------------------------------------------------------


def _harness(work: Work) -> str | list[str]:
    named = work.params["agent"].get("harness") or "shell"
    return named if isinstance(named, str) else [str(word) for word in named]


def _session(work: Work) -> str:
    return session_name(str(work.params["task"]), work.run, work.step.id, work.attempt)


def _launch(
    work: Work, folder: AttemptFolder, place: Mapping[str, Any], harness: Harness
) -> Launch:
    """Returns the launch; the brief and the harness's files are written unless somebody runs
    already.
    """
    path, brief = Path(place["path"]), folder.path / "brief.md"
    told: Mapping[str, Any] = work.params["agent"]
    if folder.claim() is not None or folder.exit_record() is not None:
        # It runs or has run: nothing is prepared again, only named.
        return Launch(
            key=(work.run, work.step.id, work.attempt),
            session=_session(work),
            folder=folder.path,
            worktree=path,
            argv=["true"],
        )
    folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    brief.write_text(_brief(work, place, harness), encoding="utf-8")
    facts = _facts(work)
    prepared = harness.prepare(facts, brief, folder.path, path, None)
    for file, text in prepared.files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    own = work.environment(
        task=str(work.params["task"]),
        branch=str(place["branch"]),
        worktree=str(path),
        port=place.get("port"),
        search=prepared.env.get("PATH"),
    )
    own |= {
        "FLEET_ATTEMPT": str(_number(work)),
        "FLEET_AGENT": facts.id,
        "FLEET_BRIEF": str(brief),
    }
    launch = Launch(
        key=(work.run, work.step.id, work.attempt),
        session=_session(work),
        folder=folder.path,
        worktree=path,
        argv=list(prepared.argv),
        admin_dir=Path(place["admin"]),
        env={**prepared.env, **own},
        secrets=resolve(told.get("secrets") or {}, work.world.root),
        stdin=prepared.stdin,
        stdout=prepared.stdout,
        timeout_s=work.params.get("timeout_s"),
    )
    launch = confined(launch, told.get("sandbox"), str(place["branch"]), work.world)
    folder.write_spec(launch)
    return launch


def _facts(work: Work) -> AgentFacts:
    told: Mapping[str, Any] = work.params["agent"]
    return AgentFacts(
        id=str(told["id"]),
        name=str(told.get("name") or told["id"]),
        harness=_harness(work),
        model=str(told.get("model") or ""),
        mode=told.get("mode") or "headless",
        args=told.get("args") or (),
        env={str(k): str(v) for k, v in (told.get("env") or {}).items()},
        permissions=str(told.get("permissions") or "edits"),
        prompt=_text(work, told.get("prompt")),
        limits=told.get("limits") or {},
    )


def _number(work: Work) -> int:
    """Returns which try of the task this is, over all its rounds."""
    earlier = 0
    for one in work.inputs.values():
        told: Any = one.get("evidence") or {}
        output: Any = one.get("output")
        if isinstance(output, Mapping):
            earlier = max(earlier, int(output.get("attempts") or 0))
        earlier = max(earlier, int(told.get("attempts") or 0))
    return earlier + work.attempt


def _text(work: Work, digest: object) -> str:
    """Returns the text that a digest names; a missing one is said, not passed over."""
    if not digest:
        return ""
    try:
        return (work.world.state / "texts" / str(digest)).read_text(encoding="utf-8")
    except OSError as lost:
        raise Rejected(f"the text {digest} of {work.params['task']} is not there: {lost}") from lost


def _brief(work: Work, place: Mapping[str, Any], harness: Harness) -> str:
    params, agent = work.params, work.params["agent"]
    earlier = [
        f"{name} found at commit {str(one['evidence'].get('commit'))[:12]}:\n\n"
        + briefs.findings(one["evidence"], str(one.get("text") or ""))
        for name, one in work.inputs.items()
        if one.get("standing") == "failed" and isinstance(one.get("evidence"), Mapping)
    ]
    if work.attempt > 1:
        before = AttemptFolder(work.folder.parent / str(work.attempt - 1))
        report = harness.outcome(before.exit_record(), before)
        if not report.ok:
            shown = briefs.fence(before.output_tail(TAIL_BYTES), briefs.TAIL_CHARS)
            earlier.append(f"The attempt before this one failed: {report.text}\n\n{shown}")
    return briefs.write(
        briefs.Told(
            task=str(params["task"]),
            name=str(params.get("name") or params["task"]),
            agent=str(agent.get("name") or agent["id"]),
            branch=str(place["branch"]),
            worktree=str(place["path"]),
            attempt=_number(work),
            port=place.get("port"),
            rules=_text(work, params.get("rules")),
            prompt=_text(work, agent.get("prompt")),
            body=_text(work, params.get("brief")),
            deliverables=params.get("deliverables") or (),
            checks=params.get("checks") or (),
            evidence=params.get("evidence") or (),
            dependencies=place.get("after") or {},
            earlier=earlier,
            answers=[(a.question.message, f"{a.value} {a.note}".strip()) for a in work.answers],
            note=str(params.get("note") or ""),
        )
    )


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
        "attempt": _number(work),
    }
    if "started" not in work.facts or work.facts.get("session") != launch.session:
        facts["started"] = work.now_ms
    work.report(facts)


async def _wait(work: Work, folder: AttemptFolder, launch: Launch) -> tuple[ExitRecord | None, str]:
    """Returns the exit record and why the wait ended: `exit`, `stop` or `idle`; None for a lost
    attempt.
    """
    exit_ = asyncio.ensure_future(work.world.wait_for_exit(launch))
    stop = asyncio.ensure_future(work.stop.wait())
    idle_s = work.params.get("idle_s")
    try:
        while True:
            await asyncio.wait(
                (exit_, stop),
                timeout=idle_s / IDLE_LOOKS if idle_s else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if exit_.done():
                return exit_.result(), "exit"
            if stop.done():
                await work.world.in_thread(_end, folder, GRACE_S)
                return None, "stop"
            if idle_s and _silent_s(folder) > idle_s:
                return None, "idle"
    finally:
        for one in (exit_, stop):
            if not one.done():
                one.cancel()


def _silent_s(folder: AttemptFolder) -> float:
    """Returns for how long nothing was printed; 0 when that cannot be told or the clock was set
    back.
    """
    last = 0.0
    for path in (folder.log, folder.stdout):
        with contextlib.suppress(OSError):
            last = max(last, path.stat().st_mtime)
    return max(0.0, time.time() - last) if last else 0.0


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


def _outcome(
    work: Work, folder: AttemptFolder, launch: Launch, place: Mapping[str, Any], report: Report
) -> Outcome:
    secrets: dict[str, str] = {}
    with contextlib.suppress(FleetError):
        secrets = resolve(work.params["agent"].get("secrets") or {}, work.world.root)
    text = mask(report.text, secrets)
    if not report.ok:
        evidence = _evidence(folder, launch)
        evidence = {name: mask(str(value), secrets) for name, value in evidence.items()}
        return Outcome(
            ending=Ending.FAILED,
            failure=report.failure or Failure.TASK,
            text=f"{work.params['agent']['id']}: {text}",
            account=str(work.params["agent"].get("harness") or ""),
            until_ms=report.resume_at_ms,
            evidence=evidence,
        )
    said = _done(folder)
    said = report.output if said is None else said
    output = {
        "worktree": dict(place),
        "head": _head(work, place),
        "said": mask(said or "", secrets)[-SAID_BYTES:],
        "session": report.session or launch.session,
        "usage": dict(report.usage),
        "attempt": _number(work),
    }
    return Outcome(ending=Ending.SUCCEEDED, text=text, output=output)


def _done(folder: AttemptFolder) -> str | None:
    """Returns what `fleet done --output` left, None when it gave nothing."""
    try:
        told = json.loads(tail(folder.path / "done.json", 8 * SAID_BYTES))
    except ValueError:
        return None
    output = told.get("output") if isinstance(told, dict) else None
    return output if isinstance(output, str) else None


def _head(work: Work, place: Mapping[str, Any]) -> str | None:
    repo = work.world.repository
    tree = git.Worktree(
        path=Path(place["path"]),
        branch=str(place["branch"]),
        start=str(place["start"]),
        key=f"{work.run}/{work.params['task']}",
        admin=Path(place["admin"]),
        common=repo.common,
    )
    with contextlib.suppress(FleetError, OSError):
        return git.head(tree).sha
    return None


def _evidence(folder: AttemptFolder, launch: Launch) -> dict[str, object]:
    return {
        "tail": folder.output_tail(TAIL_BYTES),
        "session": launch.session,
        "folder": os.fspath(folder.path),
    }


def _failed(failure: Failure, text: str, evidence: Mapping[str, object] | None = None) -> Outcome:
    return Outcome(ending=Ending.FAILED, failure=failure, text=text, evidence=evidence or {})
