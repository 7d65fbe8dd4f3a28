"""What a fleet's own things are like: documents, sandbox, state folder, journal, coordinator,
sessions.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing

from fleet.app.diagnosing.findings import Finding, counted, finding
from fleet.app.place import FleetPlace, fold
from fleet.errors import InvalidPlan


def documents(place: FleetPlace) -> Finding:
    """Checks the documents, and counts what they hold."""
    try:
        fleet = place.documents
    except InvalidPlan as invalid:
        count = len(invalid.problems)
        return finding(
            "documents", "error", f"{count} problems: {invalid.problems[0]}", "fleet check"
        )
    tasks = [one for one in fleet.tasks.values() if one.kind == "task"]
    counts = ", ".join(
        counted(len(many), word)
        for many, word in ((tasks, "task"), (fleet.agents, "agent"), (fleet.phases, "phase"))
    )
    if fleet.warnings:
        return finding("documents", "warning", f"{counts}; {fleet.warnings[0]}", "fleet check")
    return finding("documents", "ok", f"{counts}, no problems")


def sandbox(place: FleetPlace) -> Iterator[Finding]:
    """Tries the sandbox where an agent file asks for one; nothing to say elsewhere."""
    from fleet.adapters.sandbox import problem, uncaged, version

    try:
        agents = place.documents.agents.values()
    except InvalidPlan:
        return
    shut_in = [one for one in agents if one.sandbox.kind != "none"]
    if not shut_in:
        return
    trouble = problem(counted=any(one.sandbox.processes is not None for one in shut_in))
    if trouble is not None:
        yield finding("sandbox", "error", trouble.text, trouble.cure)
        return
    told = [one for one in shut_in if one.sandbox.memory_bytes or one.sandbox.processes]
    held = ""
    if told:
        why = uncaged(told[0].sandbox.memory_bytes, told[0].sandbox.processes)
        held = ", limits held by a control group"
        held = held if why is None else f", memory limited for each process only ({why})"
    used = counted(len(shut_in), "agent")
    yield finding("sandbox", "ok", f"{version()}, used by {used}{held}")


def state(place: FleetPlace) -> Finding:
    """Looks whose the state folder is, who else may enter it, and on what it lies."""
    from fleet.adapters.journal import REMOTE, filesystem

    state = place.state
    if not state.exists():
        return finding("state", "absent", "no .fleet folder yet; the first launch makes it")
    found = state.stat()
    if found.st_uid != os.geteuid():
        text = f"{state} belongs to another user (uid {found.st_uid})"
        return finding("state", "error", text, "run fleet as that user, or in a clone of your own")
    mode = stat.S_IMODE(found.st_mode)
    kind = filesystem(state)
    if kind in REMOTE:
        text = f"{state} lies on a network file system ({kind}), where locks cannot be trusted"
        return finding("state", "error", text, "put the repository on a local disk")
    if mode & 0o022:
        text = f"others may write in {state} (mode {mode:o})"
        return finding("state", "error", text, f"chmod 700 {state}")
    if mode & 0o055:
        text = f"others may read {state} (mode {mode:o}): briefs and logs"
        return finding("state", "warning", text, f"chmod 700 {state}")
    return finding("state", "ok", f".fleet, mode {mode:o}" + (f", {kind}" if kind else ""))


def journal(place: FleetPlace) -> Finding:
    """Verifies the whole journal."""
    from fleet.adapters.journal import verify

    path = place.state / "journal.db"
    if not path.exists():
        return finding("journal", "absent", "nothing was launched yet")
    damage = verify(path)
    if damage:
        more = f" and {len(damage) - 1} more" if damage[1:] else ""
        text = f"damaged: {damage[0].text}{more}"
        return finding("journal", "error", text, "fleet down, then fleet doctor --repair")
    reader = place.reader()
    assert reader is not None, "the file was there a moment ago"
    with closing(reader):
        rows = reader.runs()
        events = sum(reader.last_seq(row.run) for row in rows)
    return finding(
        "journal", "ok", f"whole: {counted(len(rows), 'run')}, {counted(events, 'event')}"
    )


def coordinator(place: FleetPlace) -> Finding:
    """Looks whether a coordinator lives."""
    from fleet.adapters.lease import holder

    known = place.state / "coordinator.json"
    found = holder(place.state) if place.state.exists() else None
    if found is not None:
        return finding("coordinator", "ok", f"alive, pid {found.pid} on {found.host}")
    if known.exists():
        return finding(
            "coordinator",
            "warning",
            "it ended without a farewell; nothing is lost",
            "the next command starts another",
        )
    return finding("coordinator", "absent", "none runs; the next command that needs one starts it")


def sessions(place: FleetPlace) -> Finding:
    """Looks for sessions that no attempt owns."""
    from fleet.adapters.tmux import Tmux

    there = set(Tmux(place.socket).sessions())
    wanted: set[str] = set()
    reader = place.reader()
    if reader is not None:
        with closing(reader):
            states = [fold(reader, row.run) for row in reader.runs()]
        for state in states:
            for name in state.running if state is not None else ():
                wanted.add(str(state.steps[name].facts.get("session", "")))  # type: ignore[union-attr]
    left = sorted(there - wanted)
    if left:
        text = f"{len(left)} that no attempt owns: {', '.join(left[:3])}"
        cure = f"look: tmux -L {place.socket} ls; end: tmux -L {place.socket} kill-session -t =NAME"
        return finding("sessions", "warning", text, cure)
    return finding("sessions", "ok", f"{len(there)} live, none left over")
