"""The use case that takes runs of workflows out of the journal once they are long over.

Each becomes a file with all of its events, and what its steps printed and made in scratch folders
goes. A run stays as long as anything could need it: a later run of its thread, another document of
its file, or a worktree of one of its steps.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fleet.app.calendars import time_of
from fleet.app.place import FleetPlace
from fleet.app.runs import archive_of, summaries
from fleet.app.telling import confined
from fleet.errors import Rejected

DAY_MS: Final = 86_400_000
LINGER_S: Final = 10.0
"""How long a coordinator that has nothing left to do is given to leave."""

FOLDERS: Final = ("attempts", "scratch")


@dataclass(frozen=True, slots=True)
class Archived:
    """A run that was, or would be, archived; `kept` says why it is not."""

    run: str
    ended_at: str
    file: str = ""
    size_bytes: int = 0
    kept: str = ""


def archive(place: FleetPlace, days: float, *, dry_run: bool = False) -> list[Archived]:
    """Archives the runs of workflows that ended at least so many days ago, the oldest first;
    returns these and those that are kept all the same.

    Raises Rejected inside a sandbox, and while a coordinator is at work.
    """
    if confined():
        raise Rejected("nothing is removed from inside a sandbox")
    told = summaries(place)
    before_ms = int(time.time() * 1000 - days * DAY_MS)
    old = [one for one in told if one["ended"] and one["ended_ms"] <= before_ms]
    gone = {one["run"] for one in old}
    young = [one for one in told if one["run"] not in gone]
    threads = {one["thread"]: one["run"] for one in young if one["thread"]}
    files = {_file_of(one): one["run"] for one in young}
    reasons = {one["run"]: _needed(place, one, threads, files) for one in old}
    going = [one for one in old if not reasons[one["run"]]]
    written = {}
    if not dry_run and going:
        written = dict(_archived(place, [one["run"] for one in going]))
    return [
        Archived(
            one["run"],
            time_of(one["ended_ms"]),
            str(written.get(one["run"], "")),
            written[one["run"]].stat().st_size if one["run"] in written else 0,
            reasons[one["run"]],
        )
        for one in old
    ]


def _file_of(one: Mapping[str, Any]) -> str:
    """Returns the run of the file that a run is a document of, itself where it is the only one."""
    return str(one["run"]).rpartition(".")[0] or str(one["run"])


def _needed(
    place: FleetPlace,
    one: Mapping[str, Any],
    threads: Mapping[str, str],
    files: Mapping[str, str],
) -> str:
    """Returns why a run cannot go yet, or nothing; `threads` and `files` name a younger run of
    each.
    """
    if one["thread"] in threads:
        return f"{threads[one['thread']]} of its thread is younger"
    if _file_of(one) in files:
        return f"{files[_file_of(one)]} of its file is younger"
    state = place.run_state(one["run"])
    for step in state.steps.values() if state is not None else ():
        output: Any = step.output
        if step.step.kind == "worktree" and isinstance(output, dict):
            path = Path(str(output.get("path", "")))
            if path.is_dir():
                return f"the worktree {path} of its step {step.step.whole} is there"
    return ""


def _archived(place: FleetPlace, runs: Sequence[str]) -> Iterator[tuple[str, Path]]:
    from fleet.adapters.journal.archives import archive as write
    from fleet.adapters.lease import LOCK

    files = [(run, archive_of(place, run)) for run in runs]
    until = time.monotonic() + LINGER_S
    while True:
        try:
            for one, _ in zip(files, write(place.state, place.state / LOCK, files), strict=True):
                for folder in FOLDERS:
                    shutil.rmtree(place.state / folder / one[0], ignore_errors=True)
                yield one
        except Rejected:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return
