"""The world that attempts share: sessions started together, and their ends noticed at once.

A session's start costs a client of tmux, so those that are asked for in the same moment go in one.
An attempt's end is its exit record; it is looked for when the claim's holder is gone (by pidfd),
and now and then in case that was missed. What sessions leave in folders is looked for when anybody
pokes, in all of them with one look, and only those wake in which something has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import os
import shlex
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fleet.adapters.attempts import KEY_VARIABLE, AttemptFolder, ExitRecord, Launch
from fleet.adapters.git import Repository, recover_landings
from fleet.adapters.mcp_client import Servers
from fleet.adapters.process import ExitWatch, alive, population
from fleet.adapters.tmux import Tmux
from fleet.harnesses.secrets import mask, resolve
from fleet.kinds import Work, World, load_kind
from fleet.runtimes.trees import Trees

if TYPE_CHECKING:
    from fleet.adapters.process import Identified
    from fleet.core.plan import Plan

THREADS = max(4, 2 * (os.cpu_count() or 1))
"""Blocking calls at once: git, tmux, checks that wait for a process."""

SHORT_THREADS = 2
"""Blocking calls at once that wait for no process: what an attempt that has ended left."""

GATHER_S = 0.002
"""How long a launch waits for others to share its tmux client."""

CENSUS_S = 0.1
"""How long a look at all processes waits for others who need one, at least."""

CENSUS_SHARE = 5
"""It waits so many times as long as the last one took: there may be thousands of processes."""

LOOK_S = 60.0
"""How often an attempt's folder is looked at when nothing was heard of it."""

UNSURE_S = 0.1
"""A change of a folder younger than this may hide another one: times of files are that coarse."""

CLAIM_TIMEOUT_S = 20.0
"""How long a started wrapper may take to claim its attempt; after it the attempt counts as lost."""


class Watched:
    """A folder of which somebody wants to know when its entries change; it need not be there."""

    __slots__ = ("news", "path", "seen_s")

    def __init__(self, path: str) -> None:
        self.path, self.news = path, asyncio.Event()
        self.seen_s = self._sure_s()

    async def changed(self) -> None:
        """Returns once a look has seen a change that was not returned for."""
        await self.news.wait()
        self.news.clear()

    def look(self) -> None:
        """Looks once; one call of the system where nothing has changed."""
        if self._changed_s() != self.seen_s:
            self.seen_s = self._sure_s()
            self.news.set()

    def _changed_s(self) -> float:
        try:
            return os.stat(self.path).st_mtime  # noqa: PTH116 - hundreds of them at each poke
        except OSError:
            return 0.0

    def _sure_s(self) -> float:
        """Returns the same, or what equals no folder's time while another change could hide."""
        changed_s = self._changed_s()
        return math.inf if changed_s > time.time() - UNSURE_S else changed_s


class Sessions:
    """The sessions of one fleet's private tmux server, and who waits for their ends."""

    def __init__(self, root: Path, state: Path) -> None:
        digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
        self.tmux = Tmux(f"fleet-{digest}")
        self.state = state
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="fleet")
        self.short = ThreadPoolExecutor(SHORT_THREADS, thread_name_prefix="fleet-short")
        self.asked: list[tuple[Launch, asyncio.Future[str | None]]] = []
        self.starter: asyncio.Task[None] | None = None
        self.ends: dict[Path, asyncio.Event] = {}
        self.census: asyncio.Task[tuple[frozenset[str], frozenset[int]]] | None = None
        self.census_took_s = 0.0
        self.watch = ExitWatch(self._gone)
        self.folders: dict[tuple[int, int], Path] = {}
        self.watched: set[Watched] = set()

    async def in_thread(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Returns what a blocking function returns, from a bounded pool of threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, lambda: function(*arguments, **options))

    async def soon(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Returns the same of a function that takes a moment, from a pool of its own."""
        return await asyncio.get_running_loop().run_in_executor(self.short, function, *arguments)

    async def launch(self, launch: Launch) -> str | None:
        """Starts a session; returns why it could not be started, else None."""
        future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.asked.append((launch, future))
        if self.starter is None or self.starter.done():
            self.starter = asyncio.create_task(self._start_asked())
        return await future

    async def _start_asked(self) -> None:
        await asyncio.sleep(GATHER_S)
        while self.asked:
            asked, self.asked = self.asked, []
            try:
                started = await self.in_thread(self.tmux.start, [launch for launch, _ in asked])
            except Exception as failed:  # noqa: BLE001 - each launch hears of it as its own failure
                for _, future in asked:
                    if not future.cancelled():
                        future.set_result(str(failed))
                continue
            for launch, future in asked:
                found = started[launch.session]
                if not future.cancelled():
                    future.set_result(str(found.failure) if found.failure else None)

    async def wait_for_exit(self, launch: Launch) -> ExitRecord | None:
        """Returns an attempt's exit record; None when its holder left none, or never came."""
        folder = AttemptFolder(launch.folder)
        event = self.ends.setdefault(launch.folder, asyncio.Event())
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CLAIM_TIMEOUT_S
        try:
            while True:
                event.clear()
                record = folder.exit_record()
                if record is not None:
                    return record
                claim = folder.claim()
                if claim is not None:
                    self.folders[claim.pid, claim.start_ticks] = launch.folder
                    if not self.watch.add(claim):
                        return folder.exit_record()
                elif loop.time() > deadline:
                    return None
                try:
                    await asyncio.wait_for(event.wait(), LOOK_S if claim else 0.05)
                except TimeoutError:
                    if claim is not None and not alive(claim):
                        return folder.exit_record()
        finally:
            self.ends.pop(launch.folder, None)

    async def left_running(self, folder: Path) -> bool:
        """Returns whether a process of an attempt that has ended still lives.

        Those who ask at the same time share one look at all processes.
        """
        if self.census is None:
            self.census = asyncio.create_task(self._count())
        keys, sessions = await asyncio.shield(self.census)
        attempt = AttemptFolder(folder)
        claim = attempt.claim()
        return attempt.key in keys or (claim is not None and claim.pid in sessions)

    async def _count(self) -> tuple[frozenset[str], frozenset[int]]:
        await asyncio.sleep(max(CENSUS_S, CENSUS_SHARE * self.census_took_s))
        self.census = None
        began = time.monotonic()
        found: tuple[frozenset[str], frozenset[int]] = await self.in_thread(
            population, KEY_VARIABLE
        )
        self.census_took_s = time.monotonic() - began
        return found

    @contextlib.contextmanager
    def watching(self, folder: Path) -> Iterator[Callable[[], Awaitable[None]]]:
        """Yields what returns once a folder's entries may be others than when it last returned, or
        than at the beginning. It is seen when somebody pokes, or at the next sweep.
        """
        watched = Watched(os.fspath(folder))
        self.watched.add(watched)
        try:
            yield watched.changed
        finally:
            self.watched.discard(watched)

    def look(self) -> None:
        """Looks at every watched folder, and wakes those who wait for one that has changed."""
        for one in self.watched:
            one.look()

    def _gone(self, who: Identified) -> None:
        folder = self.folders.pop((who.pid, who.start_ticks), None)
        event = self.ends.get(folder) if folder is not None else None
        if event is not None:
            event.set()

    async def close(self) -> None:
        """Watches nothing any more; sessions live on."""
        self.watch.close()
        for pool in (self.pool, self.short):
            pool.shutdown(wait=False, cancel_futures=True)


def offer_command(state: Path) -> None:
    """Leaves a `fleet` in the state folder's `bin`, which stands first on every agent's PATH.

    It runs this very installation; the rest of that installation's programs stay out of the way.
    """
    folder = state / "bin"
    folder.mkdir(mode=0o700, exist_ok=True)
    text = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m fleet "$@"\n'
    draft = folder / f".fleet.{os.getpid()}"
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o700)
    draft.replace(folder / "fleet")


class Children(Protocol):
    """Who starts, awaits and cancels runs for steps that are runs."""

    async def run_child(self, run: str, plan: Plan, parent: tuple[str, str, int]) -> str:
        """Returns how a child run ended; starts it when there is none."""
        ...

    def cancel_run(self, run: str) -> None:
        """Has a child run cancelled."""
        ...

    def thread(self, name: str, run: str) -> Mapping[str, Any]:
        """Returns what the runs of a thread that began before a run have put out."""
        ...


async def judge(work: Work, place: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns what the check of an agent's step finds now; the kinds do not know each other."""
    found: Mapping[str, Any] = await load_kind("check").find_now(work, place)
    return found


def make_world(
    root: Path, state: Path, sessions: Sessions, log: Callable[..., None], children: Children
) -> World:
    """Returns the world of one coordinator; raises FleetError without a usable repository."""
    repository = Repository.at(root)
    offer_command(state)
    mended = recover_landings(repository)
    if mended:
        log("warning", "a landing was cut short", mended=mended)
    trees = Trees(repository, sessions.in_thread)
    return World(
        root=root,
        state=state,
        repository=repository,
        tmux=sessions.tmux,
        launch=sessions.launch,
        wait_for_exit=sessions.wait_for_exit,
        resolve=trees.resolve,
        make_worktree=trees.make,
        in_thread=sessions.in_thread,
        soon=sessions.soon,
        log=log,
        left_running=sessions.left_running,
        watching=sessions.watching,
        judge=judge,
        run_child=children.run_child,
        cancel_run=children.cancel_run,
        servers=Servers(root, state, resolve=resolve, mask=mask),
        thread=children.thread,
    )
