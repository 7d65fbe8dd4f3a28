"""Whether a person's programs are logged in and trust a repository, as their own files say it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet.harnesses.accounts import Login, login_of, trust_of


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def put(home: Path, name: str, told: object) -> None:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(told if isinstance(told, str) else json.dumps(told))


def asked(home: Path, name: str, body: str = "exit 1", **env: str) -> Login | None:
    program = home / "program"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return login_of(name, str(program), {"HOME": str(home), "PATH": "/usr/bin:/bin", **env})


GEMINI = ".gemini/settings.json"
CHOSEN = {"security": {"auth": {"selectedType": "oauth-personal"}}}
FILES = [
    ("gemini", {}, False),
    ("gemini", {GEMINI: CHOSEN}, False),
    ("gemini", {GEMINI: CHOSEN, ".gemini/oauth_creds.json": "{}"}, True),
    ("gemini", {GEMINI: {"security": {"auth": {"selectedType": "gemini-api-key"}}}}, True),
    ("gemini", {GEMINI: "no JSON"}, False),
    ("opencode", {}, False),
    ("opencode", {".local/share/opencode/auth.json": {"a": {"type": "api"}}}, True),
    ("opencode", {".local/share/opencode/auth.json": {}}, False),
    ("opencode", {".config/opencode/opencode.json": {"provider": {"own": {}}}}, True),
    ("copilot", {}, False),
    ("copilot", {".copilot/config.json": '// kept\n{"loggedInUsers": [{"login": "a"}]}'}, True),
    ("copilot", {".copilot/config.json": '{"loggedInUsers": []}'}, False),
    ("copilot", {".config/gh/hosts.yml": "github.com:\n"}, True),
    ("codex", {".codex/config.toml": 'model_provider = "own"'}, True),
    ("codex", {".codex/config.toml": 'model_provider = "openai"'}, False),
]


@pytest.mark.parametrize(("name", "files", "is_in"), FILES)
def test_a_login_is_read_from_the_programs_own_files(home, name, files, is_in):
    for path, told in files.items():
        put(home, path, told)
    login = asked(home, name)
    assert login is not None
    assert bool(login.by) is is_in
    assert bool(login.cure) is not is_in


@pytest.mark.parametrize(
    ("name", "words", "cure"),
    [("claude", "auth status", "claude auth login"), ("codex", "login status", "codex login")],
)
def test_a_program_that_can_tell_is_asked(home, name, words, cure):
    body = f'[ "$*" = "{words}" ] && exit'
    assert asked(home, name, f"{body} 0") == Login("", cure), "it was never started"
    put(home, ".claude.json", {})
    put(home, ".codex/config.toml", "")
    assert asked(home, name, f"{body} 0") == Login("its own account")
    assert asked(home, name, f"{body} 1") == Login("", cure)
    assert asked(home, name, f"{body} 2") is None, "what is no answer is not told as one"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("claude", "ANTHROPIC_API_KEY"),
        ("codex", "CODEX_API_KEY"),
        ("gemini", "GEMINI_API_KEY"),
        ("opencode", "OPENAI_API_KEY"),
        ("copilot", "COPILOT_PROVIDER_BASE_URL"),
    ],
)
def test_a_key_in_the_environment_is_a_login(home, name, key):
    assert asked(home, name, **{key: "x"}) == Login(key)


def test_of_other_programs_nothing_is_told(home):
    assert asked(home, "aider") is None


def test_trust_is_read_for_the_main_checkout(home):
    environ, root = {"HOME": str(home)}, Path("/src/shop")
    for name in ("claude", "codex", "copilot"):
        told = trust_of(name, root, environ)
        assert told is not None
        assert told.cure.startswith(f"start `{name}` once")
        assert str(root) in told.cure
    put(home, ".claude.json", {"projects": {str(root): {"hasTrustDialogAccepted": True}}})
    put(home, ".codex/config.toml", f'[projects."{root}"]\ntrust_level = "trusted"\n')
    put(home, ".copilot/config.json", f'// kept\n{{"trustedFolders": ["{root}"]}}')
    assert [trust_of(name, root, environ) for name in ("claude", "codex", "copilot")] == [None] * 3
    assert trust_of("claude", root / "below", environ) is not None
    put(home, ".codex/config.toml", f'[projects."{root}"]\ntrust_level = "untrusted"\n')
    told = trust_of("codex", root, environ)
    assert told is not None
    assert "is told not to trust" in told.text
    assert trust_of("gemini", root, environ) is None, "it takes fleet's word"
