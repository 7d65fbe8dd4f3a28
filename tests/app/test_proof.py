"""The trial of a program where no network of its own is to be had."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from fleet.adapters.model import enclosure
from fleet.app.diagnosing.proof import prove
from fleet.harnesses import Found, find_harness
from fleet.harnesses.pointing import POINTINGS

BODY = """
import json, os, urllib.error, urllib.request
try:
    urllib.request.urlopen("http://fleet.invalid/", timeout=5)
except urllib.error.HTTPError:
    body = json.dumps({"messages": []}).encode()
    urllib.request.urlopen(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", body)
print(json.dumps({"type": "result", "subtype": "success", "result": "Hello."}))
"""


def test_without_a_network_of_its_own_it_is_steered(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "claude"
    path.write_text(f"#!{sys.executable}\n{BODY}")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(enclosure, "possible", lambda: False)
    seen = prove(
        find_harness("claude"),
        POINTINGS["claude"],
        Found("1", str(path)),
        limit_s=30,
        stop=threading.Event(),
    )
    assert not seen.enclosed
    assert seen.turns == 1, "what is on loopback is not asked of the proxy"
    assert seen.refused == ("fleet.invalid",)
    assert seen.report.ok
