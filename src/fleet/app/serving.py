"""Use cases of serving: how the MCP server is started, and the token that it asks for over HTTP."""

from __future__ import annotations

import json
import os
import secrets
import stat
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from fleet.errors import FleetError, Rejected

KEPT_IN: Final = "mcp.token"
TOKEN_BYTES: Final = 32
SHORTEST: Final = 16
"""Characters of a token at least: a shorter one could be guessed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an MCP server is told; `token` is a secret reference, empty for one that is made.

    `hosts` and `origins` are allowed besides the server's own names.
    """

    root: str
    http: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    token: str = ""
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


def server_argv(settings: Settings) -> list[str]:
    """Returns the command that serves; nothing of the folder where it starts is imported."""
    return [sys.executable, "-P", "-m", "fleet.mcp", json.dumps(asdict(settings))]


def token_of(settings: Settings) -> tuple[str, str]:
    """Returns the token that clients must carry, and where it is to be found: as a secret reference
    says, else in a 0600 file of the state folder, which is made if it is not there.

    Raises Rejected for a reference that leads to none, or to one that could be guessed.
    """
    if settings.token:
        from fleet.harnesses.secrets import resolve

        token = resolve({"token": settings.token}, Path(settings.root))["token"].strip()
        where = settings.token
    else:
        path = Path(settings.root) / ".fleet" / KEPT_IN
        token, where = _kept(path) or _made(path), str(path)
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable():
        raise Rejected(
            f"the token in {where} is no token", hint=f"{SHORTEST} printable ASCII characters"
        )
    return token, where


def _kept(path: Path) -> str | None:
    """Returns a token that was made before; None unless nobody else can have read it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(handle, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - a descriptor
        about = os.fstat(handle)
        own = about.st_uid == os.getuid() and not stat.S_IMODE(about.st_mode) & 0o077
        return file.read(4_096).strip() if own and stat.S_ISREG(about.st_mode) else None


def _made(path: Path) -> str:
    token = secrets.token_urlsafe(TOKEN_BYTES)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, for the mode
            file.write(f"{token}\n")
        draft.replace(path)
    except OSError as error:
        raise FleetError(f"{path} cannot be written: {error.strerror}") from error
    return token
