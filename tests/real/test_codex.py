"""Claude Code itself, driven by fleet, against a scripted model."""

from __future__ import annotations

import pytest

from support.model_server import ModelServer, Turn
from support.scripted_fleet import until

pytestmark = pytest.mark.real
PROGRAM = "codex"


CONFIG = """\
model = "scripted"
model_provider = "scripted"
[analytics]
enabled = false
[feedback]
enabled = false
[features]
plugins = false
apps = false
remote_plugin = false
[model_providers.scripted]
name = "scripted"
base_url = "{url}/v1"
env_key = "SCRIPTED_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1
"""


def test_scratch(real, server: ModelServer):
    model = server.play(
        "ada",
        [Turn.write("{cwd}/ada.md", "good"), Turn.run("git add ada.md && git commit -qm ada"),
         Turn("It is written.")],
        cwd=real.worktree("ada"),
    )  # fmt: skip
    real.key = "SCRIPTED_KEY"
    real.put(".codex/config.toml", CONFIG.format(url=model.url), real.home)
    real.agent("ada", {})
    real.write()
    real.must("launch", "--all")
    print(real.wait('ada', timeout_s=15))
    print(real.must("history", "--json").stdout)
    for one in real.attempts():
        print(one, *((p.name, p.read_text()[:6000]) for p in one.iterdir() if p.is_file() and p.name != 'brief.md'), sep="\n")
    for one in model.requests:
        print(one.method, one.path, one.turn, one.headers, [t.get("name") for t in one.body.get("tools", ())], len(str(one.body)))
    print(*(p for p in real.home.rglob("*")), sep="\n")
    assert 0
