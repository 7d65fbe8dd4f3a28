"""What the tests of the adapters share: a test's SQLite connections end with the test."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def closed_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes what a test of raw journals and readers has opened; Python warns of what is left."""
    connect = sqlite3.connect
    with ExitStack() as opened:

        def connected(*args: Any, **options: Any) -> sqlite3.Connection:
            return opened.enter_context(closing(connect(*args, **options)))

        monkeypatch.setattr(sqlite3, "connect", connected)
        yield
