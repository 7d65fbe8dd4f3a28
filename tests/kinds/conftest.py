from __future__ import annotations

from pathlib import Path

import pytest

from support.kind_world import KindWorld


@pytest.fixture
def world(tmp_path: Path, tmux_socket: str) -> KindWorld:
    return KindWorld(tmp_path, tmux_socket)
