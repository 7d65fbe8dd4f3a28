"""What points each real agent program at a scripted model, and the turns in which it does a task:
what the tests with real programs and the bench of agents share.

    env = point("codex", home, root, model.url)      files are in its home, `env` is for it
    turns = working("codex", "ada")                  it writes ada.md, commits it and says so
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from support.model_server import CODEX_CONFIG, Turn

KEY = "dummy-key-000000000000000000000000"
SAID = "It is written."
KEYS: Mapping[str, str] = {
    "claude": "ANTHROPIC_API_KEY",
    "codex": "SCRIPTED_KEY",
    "gemini": "GEMINI_API_KEY",
    "opencode": "MODEL_KEY",
    "copilot": "COPILOT_PROVIDER_API_KEY",
    "aider": "OPENAI_API_KEY",
    "mini": "OPENAI_API_KEY",
}
"""The variable in which each program looks for its key."""

BINARIES: Mapping[str, str] = {
    "claude": "node_modules/@anthropic-ai/claude-code-linux-*/claude",
    "codex": "node_modules/@openai/codex/vendor/*/bin/codex",
    "gemini": "node_modules/@google/gemini-cli/bundle/gemini.js",
    "opencode": "node_modules/opencode-linux-*/bin/opencode",
    "copilot": "node_modules/@github/copilot-linux-*/copilot",
    "aider": "bin/aider",
    "mini": "bin/mini",
    "inspector": "node_modules/.bin/mcp-inspector",
}
"""Where each lies in the folder that it was installed into."""

OPENCODE_CONFIG = {
    "share": "disabled",
    "model": "scripted/model",
    "small_model": "scripted/model",
    "enabled_providers": ["scripted"],
    "provider": {
        "scripted": {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"apiKey": "{env:MODEL_KEY}"},
            "models": {"model": {"limit": {"context": 200_000, "output": 8_000}}},
        }
    },
}
GEMINI_CONFIG = {
    "general": {"maxAttempts": 1, "enableAutoUpdate": False},
    "privacy": {"usageStatisticsEnabled": False},
    "security": {"auth": {"selectedType": "gemini-api-key"}},
}


def point(name: str, home: Path, root: Path, url: str) -> dict[str, str]:
    """Returns the variables with which a program asks the model at `url`; its files are put into
    its home, and the repository at `root` is trusted where it would ask.
    """
    return {"HOME": str(home), **_POINTING[name](home, root, url)}


def working(name: str, task: str) -> list[Turn]:
    """Returns turns in which a program writes TASK.md, commits it and says so."""
    if name == "aider":  # it asks for no tools, and for the message of its commit apart
        return [Turn(f"{task}.md\n```\ngood\n```\n\n{SAID}"), Turn(f"feat: {task}")]
    done = f"echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo {SAID}"
    return [
        Turn.write(f"{{cwd}}/{task}.md", "good"),
        Turn.run(f"git add {task}.md && git commit -qm {task}"),
        Turn.run(done) if name == "mini" else Turn(SAID),
    ]


def _put(home: Path, name: str, text: str) -> None:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _claude(home: Path, root: Path, url: str) -> dict[str, str]:
    accepted = {"approved": [KEY[-20:]], "rejected": []}
    trusted = {str(root): {"hasTrustDialogAccepted": True}}
    told_once = {"hasCompletedOnboarding": True, "hasSeenAutoDefaultNudge": True}
    told = {**told_once, "customApiKeyResponses": accepted, "projects": trusted}
    _put(home, ".claude.json", json.dumps(told))
    return {"ANTHROPIC_BASE_URL": url, "CLAUDE_CODE_MAX_RETRIES": "1"}


def _codex(home: Path, root: Path, url: str) -> dict[str, str]:
    _put(home, ".codex/config.toml", CODEX_CONFIG.format(url=url, root=root))
    return {}


def _opencode(home: Path, root: Path, url: str) -> dict[str, str]:
    told = json.loads(json.dumps(OPENCODE_CONFIG))
    told["provider"]["scripted"]["options"]["baseURL"] = f"{url}/v1"
    _put(home, ".config/opencode/opencode.json", json.dumps(told))
    # Offline, or with each new home it would fetch what plugins are written with.
    config = {"XDG_CONFIG_HOME": str(home / ".config"), "npm_config_offline": "true"}
    return {**config, "OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1"}


def _gemini(home: Path, root: Path, url: str) -> dict[str, str]:
    _put(home, ".gemini/settings.json", json.dumps(GEMINI_CONFIG))
    return {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_MODEL": "gemini-2.5-pro"}


def _copilot(home: Path, root: Path, url: str) -> dict[str, str]:
    _put(home, ".copilot/config.json", json.dumps({"trustedFolders": [str(root)]}))
    model = {"COPILOT_PROVIDER_BASE_URL": f"{url}/v1", "COPILOT_MODEL": "scripted"}
    return {**model, "COPILOT_OFFLINE": "true"}


def _aider(home: Path, root: Path, url: str) -> dict[str, str]:
    return {
        "OPENAI_API_BASE": f"{url}/v1",
        "AIDER_MODEL": "openai/scripted",
        "AIDER_EDIT_FORMAT": "whole",
    }


def _mini(home: Path, root: Path, url: str) -> dict[str, str]:
    return {
        "OPENAI_API_BASE": f"{url}/v1",
        "MSWEA_MODEL_NAME": "openai/scripted",
        "MSWEA_COST_TRACKING": "ignore_errors",
        "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "1",
        "MSWEA_GLOBAL_CONFIG_DIR": str(home / "mini"),
    }


_POINTING: Mapping[str, Callable[[Path, Path, str], dict[str, str]]] = {
    "claude": _claude,
    "codex": _codex,
    "opencode": _opencode,
    "gemini": _gemini,
    "copilot": _copilot,
    "aider": _aider,
    "mini": _mini,
}
