"""How an attempt of an agent is prepared: its brief, its program's files, and what is launched.

Nothing is started here. An attempt that runs or has run already is only named again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet.adapters import hooks
from fleet.adapters.attempts import AttemptFolder, ExitRecord, Launch, session_name, tail
from fleet.core.plan import PER_MINUTE, QUESTION, Failure
from fleet.errors import Rejected
from fleet.files.answers import spoken
from fleet.files.flows.answering import answered
from fleet.harnesses import AgentFacts, Harness, Preparation, Report, find_harness, policies
from fleet.harnesses import brief as briefs
from fleet.harnesses.confinement import confined, explained, home_beside, moved
from fleet.harnesses.secrets import NAMES_VARIABLE, resolve
from fleet.kinds import Work

TAIL_BYTES: Final = 4_096
DONE_BYTES: Final = 131_072
STOPPED: Final = "stopped"


def harness_of(work: Work) -> str | list[str]:
    """Returns the name of the agent's harness, or its command as an argv list."""
    named = work.params["agent"].get("harness") or "shell"
    return named if isinstance(named, str) else [str(word) for word in named]


def driver_of(work: Work) -> Harness:
    """Returns what drives the agent's program, as its harness was when it was lowered; raises
    NotFound for an unknown one, and Rejected for a profile whose text is gone.
    """
    digest = work.params["agent"].get("profile")
    return find_harness(harness_of(work), json.loads(_text(work, digest)) if digest else None)


def account_of(work: Work) -> str:
    """Returns the account that the agent works on, as its limit is called; empty for none."""
    found = (name for name in work.step.uses if name.startswith("account:"))
    return next((name for name in found if not name.endswith(PER_MINUTE)), "")


def session_of(work: Work) -> str:
    """Returns the name of the attempt's tmux session."""
    return session_name(work.task, work.run, work.step.id, work.attempt)


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
    held = _held(work, path)
    facts = agent_of(work, held)
    resumed = _resumed(work, harness)
    prepared = harness.prepare(facts, brief, folder.path, path, resumed)
    _lay_out(prepared, folder, held)
    own = work.environment(
        task=work.task,
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
        admin_dir=Path(place["admin"]) if place["admin"] else None,
        env={**prepared.env, **own},
        secrets=resolve(told.get("secrets") or {}, work.world.root),
        stdin=prepared.stdin,
        stdout=prepared.stdout,
        timeout_s=work.params.get("timeout_s"),
    )
    branch, sandbox = str(place["branch"]), told.get("sandbox")
    launch = confined(launch, sandbox, branch, work.world, resumed=resumed is not None)
    folder.write_spec(launch)
    return launch


def _lay_out(prepared: Preparation, folder: AttemptFolder, held: policies.Held) -> None:
    """Writes the harness's files, what the session asks of fleet with its policy, and its links."""
    for file, text in prepared.files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        told = policies.joined(text, held) if file == folder.path / hooks.WISHES else text
        file.write_text(told, encoding="utf-8")
    for link, target in prepared.links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def _find_program(program: str, path: str, harness: Harness) -> None:
    """Raises Rejected with the harness's cure when its program is not installed."""
    if shutil.which(program, path=path) is None and "/" not in program:
        told = harness.check({"PATH": path})
        raise Rejected(told if isinstance(told, str) else f"{program} is not on PATH")


def given(folder: AttemptFolder) -> str | None:
    """Returns what `fleet done --output` left, None when it gave nothing."""
    output = _done(folder).get("output")
    return output if isinstance(output, str) else None


def backing_in(folder: AttemptFolder) -> dict[str, str]:
    """Returns the files that `fleet done --evidence` has named, by what they are to show."""
    told = _done(folder).get("evidence")
    found = told.items() if isinstance(told, dict) else ()
    return {text: path for text, path in found if isinstance(text, str) and isinstance(path, str)}


def _done(folder: AttemptFolder) -> dict[str, Any]:
    try:
        told = json.loads(tail(folder.path / "done.json", DONE_BYTES))
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def note_stopped(folder: AttemptFolder) -> None:
    """Leaves word that an attempt was ended from outside, whatever its program makes of that."""
    (folder.path / STOPPED).touch()


def was_stopped(folder: AttemptFolder) -> bool:
    """Returns whether an attempt was ended from outside."""
    return (folder.path / STOPPED).exists()


def _resumed(work: Work, harness: Harness) -> str | None:
    """Returns the program's session that is gone on with: the attempt before was cut short.

    What has failed at the task begins afresh; so does what never came to have a session.
    """
    if work.attempt == 1:
        return None
    before = AttemptFolder(work.folder.parent / str(work.attempt - 1))
    report = report_of(work, harness, before, before.exit_record())
    if report.ok or (report.failure is Failure.TASK and not was_stopped(before)):
        return None
    if work.params["agent"].get("sandbox") and not home_beside(work.folder).is_dir():
        return None  # what it remembers lay there
    return hooks.session_of(before.path, report.session)


def report_of(
    work: Work, harness: Harness, folder: AttemptFolder, ended: ExitRecord | None
) -> Report:
    """Returns what the end of an attempt means, by its program and by its sandbox."""
    report = harness.outcome(ended, folder)
    return explained(report, ended, folder.path, work.params["agent"].get("sandbox"))


def said_of(work: Work, harness: Harness, since_ms: int) -> str:
    """Returns what was said last since then in a session that has ended, where its program tells
    it to no hook; nothing where it does, or nothing is known.
    """
    read = getattr(harness, "said", None)
    return (read(agent_of(work), work.folder, since_ms) if read is not None else None) or ""


def _held(work: Work, worktree: Path) -> policies.Held:
    """Returns how the session is held to its patterns; raises Rejected where it cannot be."""
    told: Mapping[str, Any] = work.params["agent"]
    harness, mode = harness_of(work), told.get("mode") or "headless"
    permissions = str(told.get("permissions") or "edits")
    policy: Mapping[str, Any] = told.get("policy") or {}
    refused = policies.refusal(harness, mode, permissions, {"deny": policy.get("deny")})
    if refused is not None:
        raise Rejected(refused[1], hint=refused[2])
    return policies.hold(harness, permissions, policy, work.allowed, worktree)


def agent_of(work: Work, held: policies.Held | None = None) -> AgentFacts:
    """Returns what a harness may know of the agent; `held` is what a session to be started is."""
    told: Mapping[str, Any] = work.params["agent"]
    args, words = told.get("args") or (), held.words if held else ()
    env = {str(k): str(v) for k, v in (told.get("env") or {}).items()}
    return AgentFacts(
        id=str(told["id"]),
        name=str(told.get("name") or told["id"]),
        harness=harness_of(work),
        model=str(told.get("model") or ""),
        mode=told.get("mode") or "headless",
        args=[*words, *([args] if isinstance(args, str) else args)] if words else args,
        env=env,
        permissions=held.permissions if held else str(told.get("permissions") or "edits"),
        guards=held.guards if held else (),
        prompt=_text(work, told.get("prompt")),
        limits=told.get("limits") or {},
        sandboxed=bool(told.get("sandbox")),
        moved=moved(work.folder, told.get("sandbox"), env, work.world.root),
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
        raise Rejected(f"the text {digest} of {work.task} is not there: {lost}") from lost


def _where(evidence: Mapping[str, Any]) -> str:
    return f" at commit {str(evidence['commit'])[:12]}" if evidence.get("commit") else ""


def _made(work: Work) -> Mapping[str, Any]:
    """Returns what the step before a workflow's agent has made for it, {} for a task's."""
    told = (
        one["output"]
        for name, one in work.inputs.items()
        if name.startswith((f"{work.step.whole}.brief", f"{work.step.whole}/brief"))
        and one.get("output")
    )
    return next(told, {})


def _verdicts(work: Work) -> list[tuple[str, Mapping[str, Any]]]:
    """Returns the verdicts that sent this work back, or that a verifier gave before: whose each is,
    and what it was.
    """
    found = []
    for name in work.params.get("verdicts") or ():
        one = work.look(str(name))
        told = [one.evidence, one.output] if one is not None else []
        found += [
            (one.step.whole, kept)
            for kept in told
            if one is not None and isinstance(kept, Mapping) and kept.get("verdict")
        ]
    return found


def _misspoken(work: Work, before: AttemptFolder, report: Report) -> str:
    """Returns why what an attempt said last is not what was asked for, nothing when it is."""
    said = given(before)
    return meant(work, report.output or "" if said is None else said)[1]


def meant(work: Work, said: str) -> tuple[Any, str]:
    """Returns the value of what was said last, where one is asked for: by a schema, or as the
    answer to a question that is open; and why it will not do, empty when it does.
    """
    if work.params.get("answers"):
        asked = work.asked(str(work.params[QUESTION]))
        return spoken(said, asked.question) if asked is not None else (None, "")
    schema = work.params.get("schema")
    return answered(said, schema) if schema else (None, "")


def _judges(work: Work, place: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Returns the tasks that a verifier judges, with their branches and commits."""
    after: Mapping[str, Any] = place.get("after") or {}
    commits = {task: one["commit"] for task, one in after.items()}
    commits |= work.params.get("judged") or {}
    return [
        (str(one["id"]), str(one["branch"]), str(commits[one["id"]]))
        for one in work.params.get("verifies") or ()
        if one["id"] in commits
    ]


def _brief(work: Work, place: Mapping[str, Any], harness: Harness) -> str:
    params, agent = work.params, work.params["agent"]
    made = _made(work)
    earlier = [
        f"{name} found{_where(one['evidence'])}:\n\n"
        + briefs.findings(one["evidence"], str(one.get("text") or ""))
        for name, one in work.inputs.items()
        if one.get("standing") == "failed" and isinstance(one.get("evidence"), Mapping)
    ]
    judges, verdicts = _judges(work, place), _verdicts(work)
    if not judges:
        task = str(params.get("reworks") or work.task)
        earlier += [
            f"`{whose}` judged this at commit {str(one['verdict']['commits'].get(task))[:12]} and "
            f"sent it back:\n\n{briefs.verdict(one, task)}"
            for whose, one in verdicts
        ]
    if work.attempt > 1:
        before = AttemptFolder(work.folder.parent / str(work.attempt - 1))
        report = report_of(work, harness, before, before.exit_record())
        if was_stopped(before):
            earlier.append("The attempt before this one was stopped by fleet, not by its failure.")
        elif not report.ok:
            shown = briefs.fence(before.output_tail(TAIL_BYTES), briefs.TAIL_CHARS)
            earlier.append(f"The attempt before this one failed: {report.text}\n\n{shown}")
        elif wrong := _misspoken(work, before, report):
            earlier.append(f"The attempt before this one failed: {wrong}")
    return briefs.write(
        briefs.Told(
            task=work.task,
            name=str(params.get("name") or work.task),
            agent=str(agent.get("name") or agent["id"]),
            branch=str(place["branch"]),
            worktree=str(place["path"]),
            attempt=number_of(work),
            port=place.get("port"),
            rules=_text(work, params.get("rules")),
            prompt=_text(work, agent.get("prompt")),
            body=_text(work, params.get("brief") or made.get("brief")),
            scratch=not place["admin"],
            deliverables=params.get("deliverables") or (),
            checks=params.get("checks") or (),
            evidence=params.get("evidence") or (),
            dependencies=place.get("after") or {},
            earlier=earlier,
            judges=judges,
            looks_only="judged" in params,
            judged_before="\n\n".join(briefs.verdict(one) for _, one in verdicts if judges),
            answers=[(a.question.message, f"{a.value} {a.note}".strip()) for a in work.answers],
            replanned=str(params.get("replanned") or ""),
            note=str(params.get("note") or ""),
            note_from=str(params.get("note_from") or "A person"),
        )
    )
