"""Lowering the documents, and bringing a run up to an edit of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fleet import codec
from fleet.app.place import FleetPlace
from fleet.app.telling import tell
from fleet.core import messages as m
from fleet.core.plan import Plan
from fleet.errors import InvalidPlan, Rejected
from fleet.files.revise import Revision, revision_of

if TYPE_CHECKING:
    from fleet.core.state import State


def lowered(place: FleetPlace) -> Plan:
    """Returns the plan of the fleet's documents; its texts and itself are kept in the state folder."""
    from fleet.files.lower import lower

    plan, texts = lower(place.documents)
    place.state.mkdir(mode=0o700, exist_ok=True)
    for digest, text in texts.items():
        keep_text(place.state, digest, text)
    keep_text(
        place.state, f"plan-{plan.about['digest']}", codec.dumps(m.StartRun(run="", plan=plan))
    )
    return plan


def keep_text(state: Path, digest: str, text: str) -> None:
    """Keeps a text under its digest, once; readers never see half of it."""
    folder = state / "texts"
    path = folder / digest
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f".{digest}.{os.getpid()}"
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)


def lowered_before(place: FleetPlace, state: State) -> Plan | None:
    """Returns the plan that a run's documents had lowered to, as far as it was kept."""
    path = place.state / "texts" / f"plan-{state.about.get('digest', '')}"
    if not path.is_file():
        return None
    started = codec.decode(json.loads(path.read_text(encoding="utf-8")))
    assert isinstance(started, m.StartRun)
    return started.plan


def pending_revision(place: FleetPlace, state: State) -> Revision | None:
    """Returns what an edit of the documents since the last one changes, or None without an edit."""
    if place.documents.digest == state.about.get("digest"):
        return None
    before = lowered_before(place, state)
    if before is None:
        before = Plan(
            name=state.name, steps={n: s.step for n, s in state.steps.items()}, limits=state.limits
        )
    return revision_of(state, before, lowered(place))


def bring_up_to_date(place: FleetPlace, state: State) -> Revision | None:
    """Applies an edit of the documents to a run and returns it; the last good plan stays otherwise.

    Raises InvalidPlan when the documents do not hold and Rejected when the edit touches what it may
    not: in both cases the run goes on as it was.
    """
    revision = pending_revision(place, state)
    if revision is None:
        return None
    tell(place, [m.RevisePlan(patch=revision.patch)])
    return revision


def edit_in_words(place: FleetPlace, state: State) -> list[str]:
    """Returns how the documents differ from what the run follows, or why they do not hold."""
    try:
        revision = pending_revision(place, state)
    except InvalidPlan as invalid:
        return [
            "the edited files do not hold; the run follows the last good plan:",
            *map(str, invalid.problems),
        ]
    except Rejected as refused:
        return [refused.text]
    if revision is None or not (revision.lines or revision.kept):
        return []
    kept = [f"  {name} has started and keeps what it was started with" for name in revision.kept]
    return [
        "the files were edited since the run took them up:",
        *[f"  {x}" for x in revision.lines],
        *kept,
    ]
