"""Workflows at a steady rate for a moment: `scripts/soak`, which people let run for an hour."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SOAK = Path(__file__).parents[2] / "scripts/soak"


def test_a_steady_stream_of_runs_leaves_nothing_stuck_and_nothing_open(tmp_path: Path) -> None:
    env = {**os.environ, "BENCH_TMP": str(tmp_path)}
    done = subprocess.run(
        [SOAK, "0.05", "-rate=20"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    judged = [line for line in lines if "met" in line]
    assert [line[0] for line in judged] == ["not", "descriptors", "the", "journal"]
    assert int(done.stdout.split(" runs in")[0].split()[-1].replace(",", "")) > 10
