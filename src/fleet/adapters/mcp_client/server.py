"""What is known of one MCP server, and how a call to it may fail. Values only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final

TIMEOUT_S: Final = 60.0
STARTUP_S: Final = 30.0
IDLE_S: Final = 60.0
MAX_OUTPUT_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server as documents were lowered: a command to start, or an address.

    `secrets` are variables, `secret_headers` headers whose values are references (`env:NAME`); of a
    header, what stands before its reference (`Bearer `) comes first.
    """

    name: str
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "."
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    secret_headers: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    timeout_s: float = TIMEOUT_S
    startup_s: float = STARTUP_S
    idle_s: float = IDLE_S
    max_output_bytes: int = MAX_OUTPUT_BYTES

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Server:
        """Returns the server that plain JSON, as a bundle keeps it, stands for."""
        told: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()
        }
        return cls(**told)

    @property
    def key(self) -> str:
        """A digest of all of it: servers of one name and other settings are other servers."""
        told = json.dumps({name: getattr(self, name) for name in self.__slots__}, sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def references(self) -> dict[str, str]:
        """All references by the variable or header that their values are for."""
        of_headers = {name: told[1] for name, told in self.secret_headers.items()}
        return {**self.secrets, **of_headers}

    def allows(self, tool: str) -> bool:
        """Returns whether a tool may be called; all may where none is named."""
        return not self.tools or any(fnmatchcase(tool, pattern) for pattern in self.tools)

    @property
    def line_bytes(self) -> int:
        """How long a message may be: the same content often stands in it twice, and escaped."""
        return 4 * self.max_output_bytes + 65_536


class Why(StrEnum):
    """Why a call has no result."""

    STARTED = "not started"
    LOST = "lost"
    LATE = "late"
    TOOL = "tool"
    DENIED = "denied"
    LIMITED = "limited"
    UNWELL = "unwell"


class Failed(Exception):
    """A call without a result: why, in a sentence; of LIMITED when it may be tried again."""

    def __init__(self, why: Why, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.why, self.text, self.retry_after_s = why, text, retry_after_s
