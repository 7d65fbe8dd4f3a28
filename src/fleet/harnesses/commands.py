"""Commands that prepare or judge a tree: run to their end, with limits, leaving nobody behind.

A command is an argv list, or a text for `sh -c`. It has a session of its own, no stdin, a time
limit and a marker in its environment. When it ends, is stopped or runs out of time, everything that
bears its marker or belongs to its session is killed. The whole output goes into a capped log file;
its tail, without control characters, is the evidence. Used by every kind that runs what a document
names; it knows no kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from fleet.adapters import process
from fleet.adapters.attempts import plain

MARKER: Final = "FLEET_COMMAND"
LOG_BYTES: Final = 10 << 20
TAIL_BYTES: Final = 16 << 10
TAIL_LINES: Final = 60
DRAIN_S: Final = 1.0
_CHUNK: Final = 65_536

# What steers git or tmux elsewhere is not handed on; what is fleet's own comes with `env`.
_DROPPED: Final = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"),
    *("GIT_NAMESPACE", "GIT_PREFIX", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "TMUX", "FLEET_"),
)


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended: `code` is None when it was ended, by its time limit or by a stop."""

    code: int | None
    seconds: float
    tail: str
    stopped: bool = False
    digest: str = ""
    """The SHA-256 of all that it printed, whatever of that is kept."""

    @property
    def passed(self) -> bool:
        """Whether it ended by itself with 0."""
        return self.code == 0


async def run_command(
    command: str | Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    timeout_s: float,
    marker: str,
    stop: asyncio.Event,
) -> Ran:
    """Returns how a command ended that was run in `cwd`; a program that cannot be started ends
    with 127.

    What an earlier process started under the same marker and could not end is killed first.
    """
    argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
    await asyncio.to_thread(reap, _members(marker))
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env=surroundings(env) | {MARKER: marker},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as lost:
        return Ran(127, 0.0, f"{argv[0]} could not be started: {lost}")
    # Known by identity from the start: what it left behind is found by its session even when it has
    # ended.
    known = _members(marker, process.identify(child.pid))
    tail: deque[bytes] = deque()
    digest = hashlib.sha256()
    with log.open("wb") as file:
        reading = asyncio.create_task(_copy(child, file, tail, digest))
        try:
            stopped = await _ended(child, timeout_s, stop)
        finally:
            await asyncio.shield(asyncio.to_thread(reap, known))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reading, DRAIN_S)
    code = None if stopped is not None else await child.wait()
    said = shown(b"".join(tail))
    if stopped is False:
        said = f"{said}\nended after its time limit of {timeout_s:g} s".strip()
    seconds = round(time.monotonic() - began, 3)
    told = f"sha256:{digest.hexdigest()}"
    return Ran(code, seconds, said, stopped=bool(stopped), digest=told)


def surroundings(env: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment for a program of the project:
    this process's, less what misleads, and `env`.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_DROPPED)}
    return kept | dict(env)


def shown(raw: bytes) -> str:
    """Returns the tail of an output as plain text:
    no control characters, a capped number of lines.
    """
    lines = plain(raw[-TAIL_BYTES:].decode("utf-8", "replace")).strip().split("\n")
    return "\n".join(lines[-TAIL_LINES:])


def reap(known: process.Members) -> None:
    """Ends all members at once and blocks until none is left."""
    process.reap(known, grace_s=0.0)


def _members(marker: str, root: process.Identity | None = None) -> process.Members:
    return process.Members(roots=(root,) if root else (), marker=f"{MARKER}={marker}")


async def _ended(
    child: asyncio.subprocess.Process, timeout_s: float, stop: asyncio.Event
) -> bool | None:
    """Returns None when the process ended by itself, True for a stop, False for its time limit."""
    waits = [asyncio.create_task(child.wait()), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if waits[0].done():
            return None
        return stop.is_set()
    finally:
        for wait in waits:
            wait.cancel()


async def _copy(
    child: asyncio.subprocess.Process, file: IO[bytes], tail: deque[bytes], digest: hashlib._Hash
) -> None:
    assert child.stdout is not None
    written = kept = 0
    while chunk := await child.stdout.read(_CHUNK):
        if written < LOG_BYTES:
            written += file.write(chunk[: LOG_BYTES - written])
        tail.append(chunk)
        digest.update(chunk)
        kept += len(chunk)
        while kept - len(tail[0]) > TAIL_BYTES:
            kept -= len(tail.popleft())
