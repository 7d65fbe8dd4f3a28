"""The coordinator's log: JSON lines that carry run, step, attempt and a correlation id.

Law: one process writes one log. A log never stops the work: a full disk drops lines and counts
them. Secrets are masked here, at the last place before the disk, however the line came about.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
MAX_BYTES: Final = 8 << 20
KEPT_FILES: Final = 3
MASK: Final = "***"
LEAST_SECRET: Final = 4  # shorter values would mask ordinary words


class _Sink:
    def __init__(self, path: Path, level: str, max_bytes: int, kept: int) -> None:
        self.path, self.level, self.max_bytes, self.kept = path, LEVELS[level], max_bytes, kept
        self.secrets: list[str] = []
        self.dropped = 0
        self.handle: int | None = None
        self.size = 0

    def write(self, line: str) -> None:
        for secret in self.secrets:
            line = line.replace(secret, MASK)
        raw = line.encode("utf-8", "backslashreplace") + b"\n"
        try:
            if self.handle is not None and self.size + len(raw) > self.max_bytes:
                self.rotate()
            if self.handle is None:
                self.open()
            assert self.handle is not None
            written = os.write(self.handle, raw)
        except OSError:
            self.dropped += 1
            return
        self.size += written

    def open(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self.handle = os.open(self.path, flags, 0o600)
        self.size = os.fstat(self.handle).st_size

    def rotate(self) -> None:
        self.close()
        for number in range(self.kept, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = (
                self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            )
            if newer.exists():
                newer.replace(older)

    def close(self) -> None:
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None


class Log:
    """Writes lines of {at, level, text, ...}; `bind` gives one that adds fields to every line."""

    def __init__(
        self,
        path: Path,
        level: str = "info",
        *,
        secrets: Iterable[str] = (),
        max_bytes: int = MAX_BYTES,
        kept: int = KEPT_FILES,
    ) -> None:
        self._sink = _Sink(path, level, max_bytes, kept)
        self._bound: dict[str, Any] = {}
        self.mask(secrets)

    def bind(self, **fields: Any) -> Log:
        """Returns a log into the same file that adds these fields: run, step, correlation, ..."""
        bound = object.__new__(Log)
        bound._sink = self._sink
        bound._bound = {**self._bound, **fields}
        return bound

    def mask(self, secrets: Iterable[str]) -> None:
        """From now on writes *** for these values, longest first, also as JSON escapes them."""
        known = set(self._sink.secrets)
        for secret in secrets:
            if len(secret) >= LEAST_SECRET:
                known |= {secret, json.dumps(secret, ensure_ascii=False)[1:-1]}
        self._sink.secrets = sorted(known, key=len, reverse=True)

    @property
    def dropped(self) -> int:
        """Returns how many lines the disk refused."""
        return self._sink.dropped

    def debug(self, text: str, **fields: Any) -> None:
        """Writes what only the search for a fault needs."""
        self._write("debug", text, fields)

    def info(self, text: str, **fields: Any) -> None:
        """Writes what was done."""
        self._write("info", text, fields)

    def warning(self, text: str, **fields: Any) -> None:
        """Writes what went on in spite of something."""
        self._write("warning", text, fields)

    def error(self, text: str, **fields: Any) -> None:
        """Writes what did not go on."""
        self._write("error", text, fields)

    def close(self) -> None:
        """Closes the file; a later line opens it again."""
        self._sink.close()

    def _write(self, level: str, text: str, fields: dict[str, Any]) -> None:
        if LEVELS[level] < self._sink.level:
            return
        now = time.time()
        at = (
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
        )
        line = {**self._bound, **fields, "at": at, "level": level, "text": text}
        head = {"at": at, "level": level, "text": text}
        self._sink.write(json.dumps(head | line, ensure_ascii=False, default=str))


class Bridge(logging.Handler):
    """Brings what libraries say through `logging` into the log."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record with its logger's name and, where there is one, its traceback."""
        level = next((n for n, v in reversed(LEVELS.items()) if record.levelno >= v), "debug")
        trace = (
            {"trace": logging.Formatter().formatException(record.exc_info)}
            if record.exc_info
            else {}
        )
        getattr(self._log, level)(record.getMessage(), logger=record.name, **trace)
