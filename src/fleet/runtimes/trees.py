"""Worktrees that are asked for in the same moment are made together.

Under the repository's lock a batch costs git once, not once a tree; each tree is handed on as soon
as it is whole, so that its agent starts while others are still being written.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from fleet.adapters import git
from fleet.errors import FleetError

GATHER_S: Final = 0.002
"""How long a worktree waits for one more that shares its batch."""

WRITERS: Final = min(4, os.cpu_count() or 1)
"""Trees that are written at once; more gain nothing and hold the processors."""

Made = git.Worktree | git.StartConflict | FleetError


class Trees:
    """Makes worktrees in batches; `in_thread` calls what blocks."""

    def __init__(
        self, repository: git.Repository, in_thread: Callable[..., Awaitable[Any]]
    ) -> None:
        self.repository = repository
        self.in_thread = in_thread
        self.asked: list[tuple[git.Request, asyncio.Future[Made]]] = []
        self.batches: set[asyncio.Task[None]] = set()
        self.looks: dict[str, asyncio.Future[str | None]] = {}

    async def make(self, request: git.Request) -> Made:
        """Returns the worktree, made or found again, or what stands in its way."""
        future: asyncio.Future[Made] = asyncio.get_running_loop().create_future()
        self.asked.append((request, future))
        if len(self.asked) == 1:
            batch = asyncio.create_task(self._make_asked())
            self.batches.add(batch)
            batch.add_done_callback(self.batches.discard)
        return await future

    async def resolve(self, name: str) -> str | None:
        """Returns the commit that a name means now; those that ask at once share one look."""
        look = self.looks.get(name)
        if look is None:
            look = self.looks[name] = asyncio.ensure_future(
                self.in_thread(self.repository.resolve, name)
            )
            look.add_done_callback(lambda _: self.looks.pop(name))
        return await asyncio.shield(look)

    async def _make_asked(self) -> None:
        seen = 0
        while seen < len(self.asked):
            seen = len(self.asked)
            await asyncio.sleep(GATHER_S)
        asked, self.asked = self.asked, []
        loop = asyncio.get_running_loop()
        futures = {id(request): future for request, future in asked}

        def ready(request: git.Request, made: Made) -> None:
            loop.call_soon_threadsafe(_settle, futures[id(request)], made)

        try:
            await self.in_thread(self._make, [request for request, _ in asked], ready)
        except Exception as failed:  # noqa: BLE001 - each asker hears of it as its own failure
            for _, future in asked:
                if not future.done():
                    future.set_exception(failed)

    def _make(
        self, requests: Sequence[git.Request], ready: Callable[[git.Request, Made], None]
    ) -> None:
        git.create_many(self.repository, requests, ready=ready, workers=WRITERS)


def _settle(future: asyncio.Future[Made], made: Made) -> None:
    if not future.done():
        future.set_result(made)
