"""How an attempt of an agent is prepared: its brief, its program's files, and what is launched.

Nothing is started here. An attempt that runs or has run already is only named again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet.adapters import hooks
from fleet.adapters.attempts import AttemptFolder, Launch, session_name
from fleet.core.plan import Failure
from fleet.errors import Rejected
from fleet.harnesses import AgentFacts, Harness
from fleet.harnesses import brief as briefs
from fleet.harnesses.confinement import confined
from fleet.harnesses.secrets import NAMES_VARIABLE, resolve
from fleet.kinds import Work

TAIL_BYTES: Final = 4_096


def harness_of(work: Work) -> str | list[str]:
    """Returns the name of the agent's harness, or its command as an argv list."""
    named = work.params["agent"].get("harness") or "shell"
    return named if isinstance(named, str) else [str(word) for word in named]


def session_of(work: Work) -> str:
    """Returns the name of the attempt's tmux session."""
    return session_name(str(work.params["task"]), work.run, work.step.id, work.attempt)


def prepare(
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
            session=session_of(work),
            folder=folder.path,
            worktree=path,
            argv=["true"],
        )
    folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    brief.write_text(_brief(work, place, harness), encoding="utf-8")
    facts = _agent_of(work)
    prepared = harness.prepare(facts, brief, folder.path, path, _resumed(work, harness))
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
    _find_program(str(prepared.argv[0]), own["PATH"], harness)
    own |= {
        "FLEET_ATTEMPT": str(number_of(work)),
        "FLEET_AGENT": facts.id,
        "FLEET_BRIEF": str(brief),
    }
    if told.get("secrets"):
        own[NAMES_VARIABLE] = " ".join(told["secrets"])
    launch = Launch(
        key=(work.run, work.step.id, work.attempt),
        session=session_of(work),
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


def _find_program(program: str, path: str, harness: Harness) -> None:
    """Raises Rejected with the harness's cure when its program is not installed."""
    if shutil.which(program, path=path) is None and "/" not in program:
        told = harness.check({"PATH": path})
        raise Rejected(told if isinstance(told, str) else f"{program} is not on PATH")


def _resumed(work: Work, harness: Harness) -> str | None:
    """Returns the program's session that is gone on with: the attempt before was cut short.

    What has failed at the task begins afresh; so does what never came to have a session.
    """
    if work.attempt == 1:
        return None
    before = AttemptFolder(work.folder.parent / str(work.attempt - 1))
    report = harness.outcome(before.exit_record(), before)
    if report.ok or report.failure is Failure.TASK:
        return None
    return hooks.session_of(before.path, report.session)


def _agent_of(work: Work) -> AgentFacts:
    told: Mapping[str, Any] = work.params["agent"]
    return AgentFacts(
        id=str(told["id"]),
        name=str(told.get("name") or told["id"]),
        harness=harness_of(work),
        model=str(told.get("model") or ""),
        mode=told.get("mode") or "headless",
        args=told.get("args") or (),
        env={str(k): str(v) for k, v in (told.get("env") or {}).items()},
        permissions=str(told.get("permissions") or "edits"),
        prompt=_text(work, told.get("prompt")),
        limits=told.get("limits") or {},
    )


def number_of(work: Work) -> int:
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
            attempt=number_of(work),
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
            note_from=str(params.get("note_from") or "A person"),
        )
    )
