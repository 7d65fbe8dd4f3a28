"""What the agent programs of a fleet are like: their versions, how a person has set them up, and
whether their hooks fire.

A program is looked at once, whoever uses it. What a program that nobody uses cannot do is no error.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fleet.app.diagnosing.findings import Finding, finding, looked
from fleet.app.diagnosing.setups import logins, trusts
from fleet.errors import FleetError, NotFound

if TYPE_CHECKING:
    from fleet.app.place import FleetPlace
    from fleet.files.documents import AgentDocument, HarnessDocument
    from fleet.harnesses import Found, Harness
    from fleet.harnesses.pointing import Pointing

AT_ONCE: Final = 2
SHOWN_USERS: Final = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """A program to look at: the name of a harness or a command, and the agents that use it."""

    harness: Any
    profile: Mapping[str, Any] | None = None
    users: list[AgentDocument] = field(default_factory=list)
    named: bool = False

    @property
    def needed(self) -> bool:
        """Whether anything depends on it."""
        return bool(self.users) or self.named

    def driver(self) -> Harness:
        """Returns what drives it; raises NotFound for a name of none."""
        from fleet.harnesses import find_harness

        return find_harness(self.harness, self.profile)

    @property
    def pointing(self) -> Pointing | None:
        """How its program is pointed at a model on loopback; None where that is not known."""
        from fleet.harnesses.pointing import POINTINGS

        return POINTINGS.get((self.profile or {}).get("program", self.harness))

    @property
    def used(self) -> str:
        """Who uses it, as the end of a sentence."""
        ids = [one.id for one in self.users]
        more = f" and {len(ids) - SHOWN_USERS} more" if ids[SHOWN_USERS:] else ""
        return f", used by {', '.join(ids[:SHOWN_USERS])}{more}" if ids else ""


def wanted(place: FleetPlace | None, names: Sequence[str], *, every: bool) -> list[Wanted]:
    """Returns the programs that the fleet uses, those that were named and, with `every`, all that
    are there; raises NotFound for a name of none.
    """
    from fleet.harnesses.pointing import POINTINGS

    agents, own = _documents(place)
    found: dict[Any, Wanted] = {}
    for agent in agents:
        one = Wanted(agent.harness, agent.profile.profile if agent.profile else None)
        found.setdefault(agent.harness, one).users.append(agent)
    for name in names:
        if name not in POINTINGS and name not in own:
            raise NotFound("agent program", name, sorted({*POINTINGS, *own}))
        users = found[name].users if name in found else []
        found[name] = Wanted(name, own[name].profile if name in own else None, users, named=True)
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
    trials = [_Look(one, place, 0 if quick else limit_s, stop) for one in programs]
    with _interruptible(), ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            found = list(pool.map(_Look.findings, trials))
        finally:
            stop.set()  # whoever is interrupted waits for no trial
    return [one for some in found for one in some], [one.proof for one in trials if one.proof]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets whoever ends this process, by whatever signal, have the trials ended first."""
    main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGTERM, signal.SIGHUP) if main else ()
    before = [(one, signal.signal(one, signal.default_int_handler)) for one in numbers]
    try:
        yield
    finally:
        for one, handler in before:
            signal.signal(one, handler)


@dataclass(slots=True)
class _Look:
    """The look at one program; `limit_s` 0 leaves its trial out."""

    program: Wanted
    place: FleetPlace | None
    limit_s: float
    stop: threading.Event
    proof: dict[str, Any] = field(default_factory=dict)
    _found: Found = field(init=False)
    _stale: str = ""

    def findings(self) -> list[Finding]:
        """Returns what is found of it."""
        program, place = self.program, self.place
        if not isinstance(program.harness, str):
            return looked(str(program.harness[0]), self._command)
        name = program.harness
        checks = looked(name, self._version)
        if checks[0]["level"] not in {"ok", "warning"} or self.stop.is_set():
            return checks
        # An older one may take the words of the question for a prompt.
        if not self._stale:
            checks += looked(f"{name} login", lambda: logins(name, self._found.path, program.users))
        if place is not None:
            checks += looked(f"{name} trust", lambda: trusts(name, place.root, program.users))
        if self.limit_s:
            checks += looked(f"{name} hooks", self._hooks)
        return checks

    def _command(self) -> Finding:
        """Looks for the program of a custom command."""
        name, used = str(self.program.harness[0]), self.program.used
        path = shutil.which(name)
        if path:
            return finding(name, "ok", f"{path}{used}")
        cure = f"install {name}, or mend `harness` in agents/{self.program.users[0].id}"
        return finding(name, "error", f"not on PATH{used}", cure)

    def _version(self) -> Finding:
        """Looks for the program, and compares its version with the one that was tested."""
        from fleet.app.programs import age_of, is_newer, tested_with

        name, used, driver = self.program.harness, self.program.used, self.program.driver()
        found = driver.check(os.environ)
        if isinstance(found, str):
            text, _, cure = found.partition(": ")
            return finding(name, "error" if self.program.needed else "absent", text + used, cure)
        self._found = found
        shown = f"{found.version} at {found.path}".removeprefix(" at ")
        tested = tested_with(driver)
        self._stale = age_of(found.version, tested)
        if self._stale:
            cure = (
                f"update {name}" if self._stale.startswith("older") else f"fleet agents show {name}"
            )
            return finding(name, "warning", f"{shown}, {self._stale}{used}", cure)
        new = tested and is_newer(found.version, tested.rpartition(" - ")[2])
        note = f", newer than {tested}, with which it was tested" if new else ""
        return finding(name, "ok", f"{shown}{note}{used}")

    def _hooks(self) -> Iterator[Finding]:
        """Runs the program against a model on loopback, and keeps what it showed."""
        from fleet.app.diagnosing.proof import prove
        from fleet.app.diagnosing.verdict import judge

        name, pointing = self.program.harness, self.program.pointing
        if pointing is None:
            return
        driver = self.program.driver()
        seen = prove(driver, pointing, self._found, limit_s=self.limit_s, stop=self.stop)
        if self.stop.is_set():
            return
        told = judge(name, seen, stale=self._stale, silencers=pointing.silencers)
        if told["level"] == "error" and not self.program.needed:
            told["level"] = "warning"
        self.proof = {
            "program": name,
            "version": self._found.version,
            "level": told["level"],
            "wanted": sorted(seen.wanted),
            "seen": sorted(seen.seen & seen.wanted),
            "exit": None if seen.ended is None else seen.ended.code,
            "model_requests": seen.turns,
            "duration_ms": round(seen.seconds * 1000),
            "enclosed": seen.enclosed,
            "hosts_refused": list(seen.refused),
        }
        yield told


def _documents(
    place: FleetPlace | None,
) -> tuple[list[AgentDocument], Mapping[str, HarnessDocument]]:
    """Returns a fleet's agents and its own harnesses, as far as its documents hold."""
    if place is None:
        return [], {}
    try:
        return list(place.documents.agents.values()), place.documents.harnesses
    except FleetError:
        return [], {}
