"""What a screen may say: only what was seen, of versions it was seen in, and never of work."""

from __future__ import annotations

import json

import pytest

from fleet.harnesses import TESTED
from fleet.harnesses.queries import QUERIES
from fleet.harnesses.screens import SCREENS, hint_of

SEEN = {
    "claude trust": """\
 Quick safety check: Is this a project you created or one you trust?
 > No, exit
   Yes, I trust this folder
 Enter to confirm · Esc to cancel
""",
    "claude login": "> Say hi\n  ⎿  Not logged in · Please run /login\n\n> \n",
    "claude key": "  Do you want to use this API key?\n    Yes\n  > No (recommended)\n",
    "claude reach": " Unable to connect to Anthropic services\n Failed to connect: ENOTFOUND\n",
    "codex trust": "  Trust this folder? Codex can read, edit, and run files here\n> 1. Trust\n",
    "codex login": "  Choose how you want to use Codex.\n> 1. Sign in with ChatGPT\n",
    "codex key": "> Say hi\n■ Missing environment variable: `SCRIPTED_KEY`.\n> Ask Codex\n",
    "gemini auth": "│   How would you like to authenticate for this project?\n│ ● 1. Sign in\n",
    "gemini trust": " │ Do you trust the files in this folder?\n │ ● 1. Trust folder (wt)\n",
    "copilot trust": "│ Do you trust the files in this folder?\n│ > 1. Yes\n",
    "aider yes": "Create new file? (Y)es/(N)o [Yes]: ",
    "shell password": "pushing\n[sudo] password for ada: \n\n",
    "shell passphrase": "Enter passphrase for key '/home/ada/.ssh/id_ed25519':",
    "shell host": "Are you sure you want to continue connecting (yes/no/[fingerprint])? ",
    "shell login": "Username for 'https://example.org': ",
}


@pytest.mark.parametrize("name", SEEN)
def test_a_screen_that_waits_for_a_person_is_known_and_in_other_versions_is_not(name: str):
    harness = name.partition(" ")[0]
    version = TESTED.get(harness, "")
    assert hint_of(harness, SEEN[name], version)
    assert hint_of(harness, SEEN[name].upper(), f"{harness} {version}-beta")
    if harness in SCREENS:
        assert not hint_of(harness, SEEN[name], "0.0.1")
        assert not hint_of(harness, SEEN[name], "97.0")
        assert not hint_of("shell", SEEN[name], version)


@pytest.mark.parametrize("harness", [*SCREENS, "shell"])
def test_a_screen_of_work_says_nothing(harness: str):
    work = (
        "$ grep -n password: config.py\nconfig.py:3: password: str\n"
        "I set the login for ada: done.\nTrust nobody. Is it (Y)es/(N)o? I chose yes.\n$ \n"
    )
    assert hint_of(harness, work, TESTED.get(harness, "")) == ""
    assert hint_of(harness, "", "") == ""


def test_every_pattern_holds_for_the_version_that_is_tested():
    for harness, screens in SCREENS.items():
        assert all(one.holds_for(TESTED[harness]) for one in screens)


@pytest.mark.parametrize(
    ("status", "turn"),
    [("busy", "working"), ("idle", "idle"), ("waiting", "blocked"), ("dreaming", "")],
)
def test_what_claude_lists_is_read_by_the_session(status: str, turn: str):
    listed = [
        {"sessionId": "s-2", "status": "busy"},
        {"sessionId": "s-1", "status": status, "waitingFor": "permission prompt"},
        "garbage",
    ]
    read = QUERIES["claude"].read
    assert read(json.dumps(listed), "s-1") == (turn, "permission prompt")
    for garbage in ("", "no JSON", "{}", "[1, null]", json.dumps(listed[:1])):
        assert read(garbage, "s-1") == ("", "")
