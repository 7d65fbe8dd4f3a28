"""What the agent programs of a fleet are like: their versions, logins and trust, and whether their
hooks fire.

A program is looked at once, whoever uses it. What a program that nobody uses cannot do is no error.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fleet.app.diagnosing.findings import Finding, finding, looked
from fleet.errors import FleetError, NotFound

if TYPE_CHECKING:
    from fleet.app.place import FleetPlace
    from fleet.files.documents import AgentDocument

LIMIT_S: Final = 60.0
"""How long a program may take to show its hooks."""

AT_ONCE: Final = 2
SHOWN_USERS: Final = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """A program to look at: the name of a harness or a command, and the agents that use it."""

    harness: Any
    users: list[AgentDocument] = field(default_factory=list)
    named: bool = False

    @property
    def needed(self) -> bool:
        """Whether anything depends on it."""
        return bool(self.users) or self.named

    @property
    def used(self) -> str:
        """Who uses it, as the end of a sentence."""
        ids = [one.id for one in self.users]
        more = f" and {len(ids) - SHOWN_USERS} more" if ids[SHOWN_USERS:] else ""
        return f", used by {', '.join(ids[:SHOWN_USERS])}{more}" if ids else ""


def check_names(names: Sequence[str]) -> None:
    """Raises NotFound for a name of no agent program."""
    from fleet.harnesses.pointing import POINTINGS

    for name in names:
        if name not in POINTINGS:
            raise NotFound("agent program", name, sorted(POINTINGS))


def wanted(place: FleetPlace | None, names: Sequence[str], *, every: bool) -> list[Wanted]:
    """Returns the programs that the fleet uses, those that were named and, with `every`, all that
    are there.
    """
    from fleet.harnesses.pointing import POINTINGS

    found: dict[Any, Wanted] = {}
    for agent in _agents(place):
        found.setdefault(agent.harness, Wanted(agent.harness)).users.append(agent)
    for name in names:
        found[name] = Wanted(name, found[name].users if name in found else [], named=True)
    if every:
        for name in POINTINGS:
            if shutil.which(name):
                found.setdefault(name, Wanted(name))
    return list(found.values())


def look(
    programs: Sequence[Wanted], place: FleetPlace | None, *, quick: bool, limit_s: float
) -> tuple[list[Finding], list[dict[str, Any]]]:
    """Returns the findings of all programs in their order, and what each showed in its trial."""
    from concurrent.futures import ThreadPoolExecutor

    stop = threading.Event()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            told = partial(_look_at, place=place, limit_s=0 if quick else limit_s, stop=stop)
            rows = list(pool.map(told, programs))
        finally:
            stop.set()  # whoever is interrupted waits for no trial
    return [one for found, _ in rows for one in found], [one for _, proof in rows for one in proof]


def _look_at(
    program: Wanted, *, place: FleetPlace | None, limit_s: float, stop: threading.Event
) -> tuple[list[Finding], list[dict[str, Any]]]:
    from fleet.harnesses import find_harness
    from fleet.harnesses.pointing import POINTINGS

    if not isinstance(program.harness, str):
        return looked(program.harness[0], lambda: _command(program)), []
    name = program.harness
    try:
        found = find_harness(name).check(os.environ)
    except FleetError as error:
        return [finding(name, "error", f"{error.text}{program.used}", error.hint)], []
    checks = [_version(program, found)]
    if isinstance(found, str) or name not in POINTINGS or stop.is_set():
        return checks, []
    checks += looked(f"{name} login", lambda: _login(program, found.path))
    if place is not None:
        checks += looked(f"{name} trust", lambda: _trust(program, place))
    if not limit_s:
        return checks, []
    proofs: list[dict[str, Any]] = []
    stale = checks[0]["text"] if checks[0]["level"] == "warning" else ""

    def proved() -> Iterator[Finding]:
        for told, proof in _proof(program, found, limit_s, stop, stale):
            proofs.append(proof)
            yield told

    checks += looked(f"{name} hooks", proved)
    return checks, proofs


def _command(program: Wanted) -> Finding:
    """Looks for the program of a custom command."""
    name = str(program.harness[0])
    path = shutil.which(name)
    if path:
        return finding(name, "ok", f"{path}{program.used}")
    cure = f"install {name}, or mend `harness` in agents/{program.users[0].id}"
    return finding(name, "error", f"not on PATH{program.used}", cure)


def _version(program: Wanted, found: Any) -> Finding:
    """Compares its version with the one that was tested."""
    from fleet.app.programs import age_of, is_newer
    from fleet.harnesses import TESTED

    name = program.harness
    if isinstance(found, str):
        text, _, cure = found.partition(": ")
        return finding(name, "error" if program.needed else "absent", text + program.used, cure)
    shown = f"{found.version} at {found.path}".removeprefix(" at ")
    tested = TESTED.get(name, "")
    old = age_of(found.version, tested) if tested else ""
    if old:
        return finding(name, "warning", f"{shown}, {old}{program.used}", f"update {name}")
    new = tested and is_newer(found.version, tested)
    note = f", newer than {tested}, with which it was tested" if new else ""
    return finding(name, "ok", f"{shown}{note}{program.used}")


def _login(program: Wanted, path: str) -> Iterator[Finding]:
    """Asks whether the program is logged in, as its agents start it."""
    from fleet.harnesses.accounts import keys_of, login_of

    name = program.harness
    environ: dict[str, str] = dict(os.environ)
    given = [_given(agent, keys_of(name)) for agent in program.users]
    if given and all(given):
        yield finding(f"{name} login", "ok", f"by {given[0]}, which its agents are given")
        return
    if given:
        environ |= program.users[given.index("")].env
    login = login_of(name, path, environ)
    if login is None:
        return
    if login.by:
        yield finding(f"{name} login", "ok", f"by {login.by}")
    else:
        yield finding(f"{name} login", "warning", "not logged in", login.cure)


def _given(agent: AgentDocument, keys: Sequence[str]) -> str:
    """Returns the variable that stands for a login and that the agent is given; "" for none."""
    return next((key for key in keys if key in agent.env or key in agent.secrets), "")


def _trust(program: Wanted, place: FleetPlace) -> Iterator[Finding]:
    """Asks whether a session in its terminal would begin with a question about the folder."""
    from fleet.harnesses.accounts import trust_of

    name = program.harness
    for agent in program.users:
        if agent.mode != "interactive":
            continue
        trust = trust_of(name, place.root, {**os.environ, **agent.env})
        if trust is not None:
            text = f"it {trust.text}, so {agent.id} would first ask about it in its terminal"
            yield finding(f"{name} trust", "warning", text, trust.cure)
            return


def _proof(
    program: Wanted,
    found: Any,
    limit_s: float,
    stop: threading.Event,
    stale: str,
) -> Iterator[tuple[Finding, dict[str, Any]]]:
    """Runs the program against a model on loopback; yields the finding and what it showed."""
    from fleet.app.diagnosing.proof import prove
    from fleet.app.diagnosing.verdict import judge
    from fleet.harnesses.pointing import POINTINGS

    name = program.harness
    seen = prove(name, found, limit_s=limit_s, stop=stop)
    if stop.is_set():
        return
    told = judge(name, seen, stale=stale, silencers=POINTINGS[name].silencers)
    if told["level"] == "error" and not program.needed:
        told["level"] = "warning"
    yield (
        told,
        {
            "program": name,
            "version": found.version,
            "level": told["level"],
            "wanted": sorted(seen.wanted),
            "seen": sorted(seen.seen & seen.wanted),
            "exit": None if seen.ended is None else seen.ended.code,
            "model_requests": seen.turns,
            "duration_ms": round(seen.seconds * 1000),
            "enclosed": seen.enclosed,
            "hosts_refused": list(seen.refused),
        },
    )


def _agents(place: FleetPlace | None) -> list[AgentDocument]:
    if place is None:
        return []
    try:
        return list(place.documents.agents.values())
    except FleetError:
        return []
