"""The kind `brief`: where a workflow's agent works, and what it is told, made of earlier outputs.

It works in a scratch folder of the state folder, or in the worktree that a step before has made.
Outputs of earlier steps lie beside it as files; what is filled into the text is never looked at for
anything to fill in again.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from fleet.adapters.layout import scratch_path
from fleet.core.messages import Ending, Outcome
from fleet.files.flows.lowering import VERDICT
from fleet.files.flows.scope import Scope
from fleet.files.kept import keep_text
from fleet.harnesses.brief import fence
from fleet.kinds import Work
from fleet.kinds.flow import attempt, own_tree, place_of, thread_of
from fleet.views.flows import as_text, step_before

DIGEST_CHARS: Final = 600
"""So much of each earlier output of a thread stands in a brief."""

DIGEST_STEPS: Final = 20


async def run(work: Work) -> Outcome:
    """Returns {worktree: where it works, brief: digest of the text, files} as output."""
    return await attempt(work, lambda scope: _made(work, scope))


def _made(work: Work, scope: Scope) -> Outcome:
    step = scope.step
    call: dict[str, Any] = {}
    judging = step["type"] == "verify"
    if step["type"] == "mcp_call":
        call = {"tool": step["tool"], "parameters": scope.evaluate(step.get("parameters") or {})}
        body = _called(call)
    elif judging:
        body = _judged(work, scope)
    else:
        text = step.get("task") or step.get("instructions") or step["question"]
        body = scope.filled_in(text) if "task" in step else scope.render(text)
    scratch = scratch_path(work.world.state, work.run, work.step.whole)
    folder = scratch / "work"
    outputs = scratch / "outputs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = _written(outputs, scope.referred())
    parts = [body.rstrip(), _told_files(files), _earlier(thread_of(work)), _wanted(step)]
    text = "\n\n".join(part for part in parts if part)
    digest = sha256(text.encode()).hexdigest()
    keep_text(work.world.state, digest, text)
    place = own_tree(work)
    if place is None:
        place = {"path": str(folder), "branch": "", "start": "", "admin": "", "port": None}
    output: dict[str, Any] = {"worktree": dict(place), "brief": digest, "files": files}
    if call:
        output["call"] = call
    if judging:
        output["attempts"] = int(scope.flow.get("judging", 1)) - 1
    return Outcome(ending=Ending.SUCCEEDED, output=output)


def _judged(work: Work, scope: Scope) -> str:
    """Returns what an agent is told that judges another step."""
    judged = step_before(work.look, scope.one, scope.step["of"])
    place = place_of(work, judged)
    told = f"Judge what step `{scope.step['of']}` has made. It worked in `{place}`; change nothing."
    return f"{told}\n\n{scope.render(scope.step.get('instructions') or '')}".rstrip()


def _called(call: dict[str, Any]) -> str:
    told = fence(as_text(call["parameters"]), 1 << 16)
    tool = call["tool"].partition(".")[2]
    return f"Call your tool `{tool}` with these parameters, and hand in what it returns:\n\n{told}"


def _written(folder: Path, found: dict[str, Any]) -> dict[str, str]:
    """Writes earlier outputs as files and returns their paths by step."""
    files = {}
    for name, value in found.items():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / (f"{name}.md" if isinstance(value, str) else f"{name}.json")
        path.write_text(as_text(value), encoding="utf-8")
        files[name] = str(path)
    return files


def _told_files(files: dict[str, str]) -> str:
    lines = [f"- `{name}`: `{path}`" for name, path in files.items()]
    return "\n".join(["What earlier steps put out, as files:", "", *lines]) if lines else ""


def _earlier(thread: Any) -> str:
    """Returns the digest of what earlier runs of the thread have put out."""
    lines = []
    for name, value in list(thread.items())[-DIGEST_STEPS:]:
        text = as_text(value)
        cut = text if len(text) <= DIGEST_CHARS else f"{text[:DIGEST_CHARS]} ..."
        lines += [f"`{name}`:", "", fence(cut, DIGEST_CHARS + 4), ""]
    return "\n".join(["Earlier in this thread:", "", *lines]).rstrip() if lines else ""


def _wanted(step: Any) -> str:
    schema = VERDICT if step["type"] == "verify" else step.get("output")
    if not schema:
        return ""
    told = fence(json.dumps(schema, indent=2), 1 << 16)
    return f"What you say last must be one JSON value that follows this schema, alone:\n\n{told}"
