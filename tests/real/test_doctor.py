"""`fleet doctor` on the agent programs themselves: their hooks are proved, in a home of their own,
whatever stands in the person's.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fleet.harnesses.pointing import POINTINGS

pytestmark = pytest.mark.real

HOOKED = {
    "claude": ["permission", "session", "stop", "turn"],
    "codex": ["session", "stop", "turn"],
    "copilot": ["permission", "session", "stop", "turn"],
    "gemini": ["permission", "session", "stop", "turn"],
    "opencode": ["permission", "session", "stop", "turn"],
}
"""The signs that each program gives; the others answer only."""


@pytest.mark.parametrize("real", sorted(POINTINGS), indirect=True)
def test_a_programs_hooks_fire_in_its_trial(real, tmp_path: Path):
    home, temp = tmp_path / "person", tmp_path / "temp"
    temp.mkdir()
    # A person's own settings, which would send it elsewhere and would be seen to have been read.
    told = {"hooks": {"Stop": [{"hooks": [{"type": "command", "command": f"touch {home}/read"}]}]}}
    for name, text in {
        ".claude/settings.json": json.dumps(told),
        ".codex/config.toml": 'model_provider = "nobody"\n',
        ".gemini/settings.json": json.dumps({"security": {"auth": {"selectedType": "none"}}}),
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    env = {"HOME": str(home), "TMPDIR": str(temp), "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    done = real(
        "doctor", real.name, "--json", "--timeout", "200", env=os.environ | env, timeout_s=300
    )
    (proof,) = done.json()["proofs"]
    wanted = HOOKED.get(real.name, [])
    assert (proof["level"], proof["wanted"], proof["seen"]) == ("ok", wanted, wanted), done.json()
    assert proof["model_requests"] >= 1
    assert not (home / "read").exists()
    # OpenCode makes itself a folder there when it is asked for its version.
    assert {one.name for one in temp.iterdir()} <= {"opencode"}
