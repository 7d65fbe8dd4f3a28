"""How each program is held to patterns, and who is refused because it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet.harnesses import HARNESSES
from fleet.harnesses.policies import ASKING, GUARDED, hold, refusal

TREE = Path("/srv/tree")


@pytest.mark.parametrize("name", sorted(HARNESSES))
def test_a_program_that_cannot_be_held_to_a_deny_is_refused(name: str) -> None:
    refused = refusal(name, "headless", "yolo", {"deny": ["run: git push *"]})
    assert (refused is None) is (name in GUARDED)
    if refused is not None:
        assert refused[0] == "deny"
        assert "cannot be held" in refused[1]
    assert refusal(name, "headless", "yolo", {}) is None


def test_an_allow_needs_a_program_that_asks() -> None:
    told = {"allow": ["run"]}
    assert refusal("claude", "headless", "ask", told) is None
    assert refusal("codex", "interactive", "ask", told) is None
    for harness, mode, permissions in (
        ("codex", "headless", "ask"),
        ("codex", "interactive", "edits"),
        ("claude", "headless", "plan"),
        ("aider", "interactive", "ask"),
        (["my", "agent"], "headless", "ask"),
        ("gemini", "headless", "yolo"),
        ("opencode", "interactive", "plan"),
    ):
        refused = refusal(harness, mode, permissions, told)
        assert refused is not None
        assert refused[0] == "allow"
    assert set(ASKING) <= set(GUARDED)


@pytest.mark.parametrize("name", ["gemini", "opencode", "copilot"])
def test_programs_that_are_answered_by_the_hook_keep_to_an_allow_but_not_of_servers(name):
    for mode in ("headless", "interactive"):
        for permissions in ("ask", "edits", "auto", "deny"):
            assert refusal(name, mode, permissions, {"allow": ["run: make"]}) is None
    refused = refusal(name, "headless", "ask", {"allow": ["run", "mcp: a.b"]})
    assert refused is not None
    assert "'mcp: a.b'" in refused[1]
    held = hold(name, "deny", {"allow": ["run: make"], "deny": ["edit"]}, (), TREE)
    assert (held.permissions, held.guards, held.words) == ("ask", ("PreToolUse",), ())
    assert '"otherwise": "deny"' in json.dumps(held.wishes)


def test_nothing_is_hooked_and_nothing_said_without_patterns() -> None:
    held = hold("claude", "edits", {}, (), TREE)
    assert (held.permissions, held.guards, held.words) == ("edits", (), ())


def test_claude_is_told_what_is_denied_in_its_own_words_where_it_has_them() -> None:
    deny = [
        "run: git push *", "run: rm", "run: git * main", "run: echo 'a, b'", "edit: docs/**",
        "edit: /etc/*", "read: ~/.ssh/**", "edit", "fetch: example.org", "fetch: *.example.org",
        "mcp: a.b", "WebSearch", "Web*",
    ]  # fmt: skip
    held = hold("claude", "yolo", {"deny": deny}, (), TREE)
    assert held.guards == ("PreToolUse",)
    (words,) = held.words
    assert words.removeprefix("--disallowedTools=").split(",") == [
        "Bash(git push *)", "Bash(git push)", "Bash(rm)", "Edit(//srv/tree/docs/**)",
        "Edit(//etc/*)", "Edit", "Write", "NotebookEdit", "WebFetch(domain:example.org)",
        "WebSearch",
    ]  # fmt: skip
    assert hold("codex", "yolo", {"deny": deny}, (), TREE).words == ()


def test_what_a_mode_leaves_of_an_allow() -> None:
    told = {"allow": ["edit"], "expires_ms": 90_000}
    denying = hold("claude", "deny", told, ("run: make",), TREE)
    assert denying.permissions == "ask"
    assert denying.wishes["policy"] == {
        "worktree": "/srv/tree", "allow": ["edit", "run: make"], "deny": [], "otherwise": "deny",
    }  # fmt: skip
    assert denying.wishes["ask_s"] == 90
    planning = hold("claude", "plan", told, (), TREE)
    assert planning.wishes["policy"] == {"worktree": "/srv/tree", "allow": [], "deny": []}
