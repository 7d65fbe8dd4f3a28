"""The use case that looks at the machine and the fleet: what is there, what is wrong, its cure.

Every finding stands alone, so that one broken thing hides no other: whatever a look raises is its
finding. Nothing is changed but by `repair_journal`, which refuses while a coordinator lives.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from fleet.app.place import FleetPlace, fold
from fleet.errors import FleetError, InvalidPlan

OLDEST_PYTHON: Final = (3, 11)
LEAST_FREE_BYTES: Final = 1 << 30
FULL_BYTES: Final = 64 << 20  # with less no worktree is made
LEAST_FREE_INODES: Final = 50_000
LEAST_SHARE: Final = 0.02  # of the inodes, where the file system counts them
_WAL_FIXED: Final = ((3, 44, 6), (3, 50, 7))  # releases of older lines that have the repair too
_WAL_FIXED_FROM: Final = (3, 51, 3)

Check = dict[str, str]


def diagnose(root: Path) -> dict[str, Any]:
    """Returns `fleet.doctor/1`: each check with its level (ok, warning, error, absent) and cure."""
    place, lost = _find(root)
    looks: list[tuple[str, Callable[[], Iterator[Check] | Check]]] = [
        ("git", _git),
        ("tmux", _tmux),
        ("python", _python),
        ("sqlite", _sqlite),
        ("fleet", _command),
        ("repository", lambda: _repository(place.root if place else root)),
        ("identity", lambda: _identity(place.root if place else root)),
        ("disk", lambda: _disk(place.root if place else root)),
    ]
    if place is None:
        looks.append(("documents", lambda: _check("documents", "absent", lost, "fleet init")))
    else:
        found = place
        looks += [
            ("documents", lambda: _documents(found)),
            ("agents", lambda: _agents(found)),
            ("sandbox", lambda: _sandbox(found)),
            ("state", lambda: _state(found)),
            ("journal", lambda: _journal(found)),
            ("coordinator", lambda: _coordinator(found)),
            ("sessions", lambda: _sessions(found)),
        ]
    checks = [one for name, look in looks for one in _looked(name, look)]
    ok = all(one["level"] != "error" for one in checks)
    return {"schema": "fleet.doctor/1", "ok": ok, "checks": checks}


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


def _check(name: str, level: str, text: str, cure: str = "") -> Check:
    return {"name": name, "level": level, "text": text, "cure": cure}


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _looked(name: str, look: Callable[[], Iterator[Check] | Check]) -> list[Check]:
    try:
        found = look()
        return [found] if isinstance(found, dict) else list(found)
    except FleetError as error:
        return [_check(name, "error", error.text, error.hint)]
    except OSError as error:
        return [_check(name, "error", str(error), "see whether the disk is sound and writable")]
    except Exception as broken:  # noqa: BLE001 - a look that fails is a finding; the others still count
        return [
            _check(name, "error", f"could not be looked at: {broken!r}", "see the checks above")
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


# --- the machine ----------------------------------------------------------------------------------


def _git() -> Check:
    from fleet.adapters.git.command import require_version, version

    require_version()
    return _check("git", "ok", f"{'.'.join(map(str, version()))} (2.38 or later)")


def _tmux() -> Check:
    from fleet.adapters.tmux import OLDEST_TMUX, Tmux

    oldest = ".".join(map(str, OLDEST_TMUX))
    return _check("tmux", "ok", f"{Tmux('fleet-doctor').version()} ({oldest} or later)")


def _python() -> Check:
    shown = f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return _check("python", "error", shown, "install Python 3.11 or later")
    return _check("python", "ok", shown)


def _sqlite(version: str = "") -> Check:
    shown = version or sqlite3.sqlite_version
    have = tuple(map(int, shown.split(".")))
    fixed = have >= _WAL_FIXED_FROM or any(
        have[:2] == line[:2] and have >= line for line in _WAL_FIXED
    )
    if fixed:
        return _check("sqlite", "ok", shown)
    return _check(
        "sqlite",
        "warning",
        f"{shown} has the WAL-reset bug: two programs that write one database can damage it; "
        "fleet has one writer, so its journal is safe from it",
        "do not write to .fleet/journal.db with other programs; SQLite 3.51.3 is repaired",
    )


def _command() -> Check:
    """Finds which `fleet` a shell would run: this one, another installation, another program."""
    here = {Path(sysconfig.get_path("scripts")), Path(sys.executable).parent}
    found = [
        path
        for folder in os.environ.get("PATH", "").split(os.pathsep)
        if folder and os.access(path := Path(folder) / "fleet", os.X_OK) and path.is_file()
    ]
    if not found:
        return _check(
            "fleet",
            "warning",
            "no `fleet` is on PATH; you and your agents cannot call it by name",
            f"add {sysconfig.get_path('scripts')} to PATH",
        )
    first = found[0]
    if first.parent in here or first.resolve().parent in here:
        return _check("fleet", "ok", str(first))
    what = "another installation of fleet" if _is_fleet(first) else "another program"
    return _check(
        "fleet",
        "warning",
        f"`fleet` on PATH is {first}, {what}",
        f"put {sysconfig.get_path('scripts')} before {first.parent} in PATH",
    )


def _is_fleet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            text = file.read(2048)
    except OSError:
        return False
    return b"from fleet" in text or b"-m fleet" in text


def _repository(root: Path) -> Check:
    from fleet.adapters.git import Repository

    repo = Repository.at(root.resolve())
    branch = repo.current_branch()
    return _check("repository", "ok", f"{repo.root} on {branch or 'no branch'}")


def _identity(root: Path) -> Iterator[Check]:
    """Looks whether commits there would bear a name; nothing to say outside a repository."""
    from fleet.adapters.git.command import run

    asked = ["-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT"]
    found = run(asked, cwd=root.resolve(), accept=(0, 128))
    if found.code == 0:
        yield _check("identity", "ok", found.line.rpartition(" <")[0])
    else:
        yield _check(
            "identity",
            "warning",
            "git knows no name and e-mail address, so agents' commits may be refused",
            "git config user.name NAME; git config user.email ADDRESS",
        )


def _disk(root: Path) -> Iterator[Check]:
    space = os.statvfs(root)
    free = space.f_bavail * space.f_frsize
    level = "error" if free < FULL_BYTES else "warning" if free < LEAST_FREE_BYTES else "ok"
    cure = "free some space: each worktree is a whole checkout" if level != "ok" else ""
    yield _check("disk", level, f"{free / (1 << 30):.1f} GiB free", cure)
    if space.f_files:  # some file systems do not count them
        few = space.f_favail < min(LEAST_FREE_INODES, space.f_files * LEAST_SHARE)
        cure = "remove many small files, such as old build folders" if few else ""
        level = "warning" if few else "ok"
        yield _check("inodes", level, f"{space.f_favail} free", cure)


# --- the fleet ------------------------------------------------------------------------------------


def _documents(place: FleetPlace) -> Check:
    try:
        fleet = place.documents
    except InvalidPlan as invalid:
        count = len(invalid.problems)
        return _check(
            "documents", "error", f"{count} problems: {invalid.problems[0]}", "fleet check"
        )
    counts = ", ".join(
        _count(len(many), word)
        for many, word in ((fleet.tasks, "task"), (fleet.agents, "agent"), (fleet.phases, "phase"))
    )
    if fleet.warnings:
        return _check("documents", "warning", f"{counts}; {fleet.warnings[0]}", "fleet check")
    return _check("documents", "ok", f"{counts}, no problems")


def _agents(place: FleetPlace) -> Iterator[Check]:
    """Looks for each agent program that an agent file uses, once."""
    from fleet.app.programs import age_of, tested_with
    from fleet.harnesses import find_harness

    try:
        agents = place.documents.agents.values()
    except InvalidPlan:
        return
    users: dict[Any, list[str]] = {}
    profiles = {}
    for agent in agents:
        users.setdefault(agent.harness, []).append(agent.id)
        profiles[agent.harness] = agent.profile.profile if agent.profile else None
    for harness, ids in users.items():
        name = harness if isinstance(harness, str) else harness[0]
        used = f"used by {', '.join(ids[:3])}" + (f" and {len(ids) - 3} more" if ids[3:] else "")
        if not isinstance(harness, str):
            path = shutil.which(name)
            level, text = ("ok", path) if path else ("error", "not on PATH")
            cure = "" if path else f"install {name}, or mend `harness` in agents/{ids[0]}"
            yield _check(name, level, f"{text}, {used}", cure)
            continue
        try:
            driver = find_harness(name, profiles[harness])
            found = driver.check(os.environ)
        except FleetError as error:
            yield _check(name, "error", f"{error.text}, {used}", error.hint)
            continue
        if isinstance(found, str):
            text, _, cure = found.partition(": ")
            yield _check(name, "error", f"{text}, {used}", cure)
        else:
            shown = f"{found.version} at {found.path}".removeprefix(" at ")
            note = age_of(found.version, tested_with(driver))
            cure = f"update {name}" if note else ""
            level = "warning" if note else "ok"
            yield _check(name, level, f"{shown}, {f'{note}, ' if note else ''}{used}", cure)


def _sandbox(place: FleetPlace) -> Iterator[Check]:
    """Tries the sandbox where an agent file asks for one; nothing to say elsewhere."""
    from fleet.adapters.sandbox import problem, version

    try:
        agents = place.documents.agents.values()
    except InvalidPlan:
        return
    shut_in = [one for one in agents if one.sandbox.kind != "none"]
    if not shut_in:
        return
    trouble = problem(counted=any(one.sandbox.processes is not None for one in shut_in))
    if trouble is not None:
        yield _check("sandbox", "error", trouble.text, trouble.cure)
        return
    yield _check("sandbox", "ok", f"{version()}, used by {_count(len(shut_in), 'agent')}")


def _state(place: FleetPlace) -> Check:
    from fleet.adapters.journal import REMOTE, filesystem

    state = place.state
    if not state.exists():
        return _check("state", "absent", "no .fleet folder yet; the first launch makes it")
    found = state.stat()
    if found.st_uid != os.geteuid():
        text = f"{state} belongs to another user (uid {found.st_uid})"
        return _check("state", "error", text, "run fleet as that user, or in a clone of your own")
    mode = stat.S_IMODE(found.st_mode)
    kind = filesystem(state)
    if kind in REMOTE:
        text = f"{state} lies on a network file system ({kind}), where locks cannot be trusted"
        return _check("state", "error", text, "put the repository on a local disk")
    if mode & 0o022:
        text = f"others may write in {state} (mode {mode:o})"
        return _check("state", "error", text, f"chmod 700 {state}")
    if mode & 0o055:
        text = f"others may read {state} (mode {mode:o}): briefs and logs"
        return _check("state", "warning", text, f"chmod 700 {state}")
    return _check("state", "ok", f".fleet, mode {mode:o}" + (f", {kind}" if kind else ""))


def _journal(place: FleetPlace) -> Check:
    from fleet.adapters.journal import verify

    path = place.state / "journal.db"
    if not path.exists():
        return _check("journal", "absent", "nothing was launched yet")
    damage = verify(path)
    if damage:
        more = f" and {len(damage) - 1} more" if damage[1:] else ""
        text = f"damaged: {damage[0].text}{more}"
        return _check("journal", "error", text, "fleet down, then fleet doctor --repair")
    reader = place.reader()
    assert reader is not None, "the file was there a moment ago"
    with closing(reader):
        rows = reader.runs()
        events = sum(reader.last_seq(row.run) for row in rows)
    return _check("journal", "ok", f"whole: {_count(len(rows), 'run')}, {_count(events, 'event')}")


def _coordinator(place: FleetPlace) -> Check:
    from fleet.adapters.lease import holder

    known = place.state / "coordinator.json"
    found = holder(place.state) if place.state.exists() else None
    if found is not None:
        return _check("coordinator", "ok", f"alive, pid {found.pid} on {found.host}")
    if known.exists():
        return _check(
            "coordinator",
            "warning",
            "it ended without a farewell; nothing is lost",
            "the next command starts another",
        )
    return _check("coordinator", "absent", "none runs; the next command that needs one starts it")


def _sessions(place: FleetPlace) -> Check:
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
        return _check("sessions", "warning", text, cure)
    return _check("sessions", "ok", f"{len(there)} live, none left over")
