"""What a run has taken up of the documents: lowered plans and long texts, kept in the state folder.

    texts/<sha256>            a brief, a prompt, the rules: params name them by digest
    texts/files-<digest>      path and digest of each of the documents that have that digest
    texts/plan-<digest>       the plan that documents, and the changes that a run has taken up with
                              them, lowered to: the digest stands for both (`patched.basis_with`)

An edit is told from the plan that was lowered before, so that plan has to be at hand when the
documents have already changed.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet import codec
from fleet.core import messages as m
from fleet.core.plan import Plan, basis_of
from fleet.files.changes.revise import Revision, revision_of

if TYPE_CHECKING:
    from fleet.core.state import State
    from fleet.files.fleet import Fleet


def lowered(fleet: Fleet, state_folder: Path) -> Plan:
    """Returns the plan of a fleet's documents and keeps it, with its texts; raises InvalidPlan."""
    from fleet.files.lower import lower

    plan, texts = lower(fleet)
    keep_plan(state_folder, plan, texts)
    files = {raw.path: raw.digest for raw in fleet.raws.values()}
    keep_text(state_folder, f"files-{fleet.digest}", json.dumps(files))
    return plan


def edited(fleet: Fleet, state_folder: Path, digest: str) -> dict[str, str]:
    """Returns the documents that differ from those with a digest: path and what the digest of each
    was, an empty text where it was not there; none where these are not known any more.
    """
    path = state_folder / "texts" / f"files-{digest}"
    if not path.is_file():
        return {}
    before: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    now = {raw.path: raw.digest for raw in fleet.raws.values()}
    changed = sorted(one for one in {*before, *now} if before.get(one) != now.get(one))
    return {one: before.get(one, "") for one in changed}


def keep_plan(state_folder: Path, plan: Plan, texts: Mapping[str, str]) -> None:
    """Keeps a lowered plan with its texts."""
    for digest, text in texts.items():
        keep_text(state_folder, digest, text)
    path = _path(state_folder, str(plan.about["basis"]))
    if not path.exists():
        keep_text(state_folder, path.name, codec.dumps(m.StartRun(run="", plan=plan)))
    _latest.clear()
    _latest[path] = plan


def keep_text(state_folder: Path, name: str, text: str) -> None:
    """Keeps a text under its name, once; readers never see half of it."""
    path = state_folder / "texts" / name
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{name}.{os.getpid()}.{threading.get_ident()}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)


def changes_of(state: State | None) -> list[Mapping[str, Any]]:
    """Returns the changes that a run has taken up, as `patched` tells them, the oldest first."""
    told: Any = state.about.get("changes") if state is not None else None
    return list(told or ())


def lowered_before(state_folder: Path, basis: str) -> Plan | None:
    """Returns the plan that was lowered from what has that digest, as far as it was kept."""
    path = _path(state_folder, basis)
    if not path.is_file():
        return None
    known = _latest.get(path)
    if known is not None:
        return known
    started = codec.decode(json.loads(path.read_text(encoding="utf-8")))
    assert isinstance(started, m.StartRun)
    return started.plan


def _path(state_folder: Path, basis: str) -> Path:
    return state_folder / "texts" / f"plan-{basis}"


_latest: dict[Path, Plan] = {}
"""The plan that this process has kept last: of a large one it takes seconds to read it back."""


def pending_revision(fleet: Fleet, state_folder: Path, state: State) -> Revision | None:
    """Returns what an edit of the documents changes in a run; None when it follows them already.

    The fleet has to be loaded with the changes that the run has taken up.
    """
    if fleet.digest == state.about.get("digest"):
        return None
    before = lowered_before(state_folder, basis_of(state.about)) or as_lowered(state)
    found = revision_of(state, before, lowered(fleet, state_folder))
    return replace(found, patch=replace(found.patch, basis=basis_of(state.about)))


def as_lowered(state: State) -> Plan:
    """Returns a run's plan without what it has grown: later rounds have a `.` in their ids."""
    steps = {
        name: replace(
            one.step,
            needs=tuple(replace(need, step=need.step.partition(".")[0]) for need in one.step.needs),
        )
        for name, one in state.steps.items()
        if "." not in name
    }
    budgets = {name: budget.amounts for name, budget in state.budgets.items() if budget.amounts}
    return Plan(
        name=state.name, steps=steps, limits=state.limits, budgets=budgets, about=state.about
    )


def fingerprint(root: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Returns names, sizes, times and inodes of the documents: it changes when one is edited."""
    found = []
    for path in (
        f"{root}/coordination.md",
        *_documents(f"{root}/agents"),
        *_documents(f"{root}/tasks"),
        *_documents(f"{root}/harnesses"),
    ):
        try:
            seen = os.stat(path)  # noqa: PTH116 - of every document, once a second
        except OSError:
            continue
        found.append((path, seen.st_size, seen.st_mtime_ns, seen.st_ino))
    return tuple(found)


def _documents(folder: str) -> list[str]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names only
    except OSError:
        return []
    return sorted(f"{folder}/{name}" for name in names if name.endswith((".md", ".yaml", ".yml")))
