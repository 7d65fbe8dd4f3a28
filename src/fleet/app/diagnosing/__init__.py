"""The use case that looks at the machine, the fleet and the agent programs: what is there, what is
wrong, its cure.

Every finding stands alone, so that one broken thing hides no other: whatever a look raises is its
finding. Nothing is changed but by `repair_journal`, which refuses while a coordinator lives; the
proof of a program's hooks works in folders of its own and leaves nothing behind.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fleet.app.diagnosing import fleet, machine, programs, servers
from fleet.app.diagnosing.findings import Look, finding, looked
from fleet.app.place import FleetPlace
from fleet.errors import FleetError


def diagnose(
    root: Path,
    *,
    names: Sequence[str],
    every: bool,
    quick: bool,
    limit_s: float,
) -> dict[str, Any]:
    """Returns `fleet.doctor/1`: each check with its level (ok, warning, error, absent) and cure,
    and what each agent program showed.

    Looked at are the programs that the fleet uses, those of `names`, and with `every` all that are
    installed. Unless it is `quick`, each is run against a model on loopback, for `limit_s` at most.
    Raises NotFound for a name of no program.
    """
    place, lost = _find(root)
    wanted = programs.wanted(place, names, every=every)
    here = place.root if place else root
    looks: list[tuple[str, Look]] = [
        ("git", machine.git),
        ("tmux", machine.tmux),
        ("python", machine.python),
        ("sqlite", machine.sqlite),
        ("fleet", machine.command),
        ("repository", lambda: machine.repository(here)),
        ("identity", lambda: machine.identity(here)),
        ("disk", lambda: machine.disk(here)),
    ]
    if place is None:
        looks.append(("documents", lambda: finding("documents", "absent", lost, "fleet init")))
    else:
        looks += _looks_at(place, quick=quick)
    checks = [one for name, look in looks for one in looked(name, look)]
    told, proofs = programs.look(wanted, place, quick=quick, limit_s=limit_s)
    checks += told
    ok = all(one["level"] != "error" for one in checks)
    return {"schema": "fleet.doctor/1", "ok": ok, "checks": checks, "proofs": proofs}


def repair_journal(place: FleetPlace) -> str:
    """Rebuilds a damaged journal from what is whole, and returns what was kept and what was not.

    Raises Rejected while a coordinator lives.
    """
    from fleet.adapters.journal import repair

    if not (place.state / "journal.db").exists():
        return "there is no journal yet; nothing to repair"
    report = repair(place.state)
    if not report.damage:
        return "the journal is whole; nothing to repair"
    lines = ["the journal was rebuilt from what is whole"]
    lines += [f"  damage: {one.text}" for one in report.damage]
    lines += [f"  kept: run {run}, {count} events" for run, count in report.kept.items()]
    if report.salvage:
        lines.append(f"  readable events beyond the damage: {report.salvage}")
    if report.aside:
        lines.append(f"  the old file: {report.aside}")
    return "\n".join(lines)


def _looks_at(place: FleetPlace, *, quick: bool) -> list[tuple[str, Look]]:
    return [
        ("documents", lambda: fleet.documents(place)),
        ("sandbox", lambda: fleet.sandbox(place)),
        ("state", lambda: fleet.state(place)),
        ("journal", lambda: fleet.journal(place)),
        ("coordinator", lambda: fleet.coordinator(place)),
        ("sessions", lambda: fleet.sessions(place)),
        ("mcp servers", lambda: servers.servers(place, quick=quick)),
    ]


def _find(root: Path) -> tuple[FleetPlace | None, str]:
    from fleet.app.place import find_place

    root = root.resolve()
    # A folder that was asked for is meant, whatever the environment says.
    environ = os.environ if root == Path.cwd() else {"FLEET_ROOT": ""}
    try:
        return find_place(start=root, environ=environ), ""
    except FleetError as lost:
        return None, lost.text
