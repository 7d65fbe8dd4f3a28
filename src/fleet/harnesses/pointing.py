"""How each agent program is pointed at a model on loopback, and what it is then asked to show.

Data only: variables, and files below a home of its own, in which `$URL` is the model's address
(without `/v1`), `$KEY` a key that opens nothing, `$ROOT` the main checkout and `$HOME` that home.
Nobody's own configuration is meant: it is what a program needs that has never been started. A
program without an entry cannot be tried without its model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Template
from typing import Final

KEY: Final = "dummy-key-000000000000000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointing:
    """One program's settings.

    `command` is what the model has it run first, under `permissions`; with `asks`, it then asks its
    hook for the permission, also without a terminal. `silencers` is who can keep its hooks from
    being called, as a cure says it.
    """

    env: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    permissions: str = "edits"
    command: str = ""
    asks: bool = False
    silencers: str = ""

    def settle(self, **places: str) -> tuple[dict[str, str], dict[str, str]]:
        """Returns variables, and files by their path below the home, with `URL`, `ROOT`, `HOME`
        put in.
        """
        told = {"KEY": KEY, "KEY_END": KEY[-20:], **places}
        return tuple(  # type: ignore[return-value]
            {name: Template(text).safe_substitute(told) for name, text in one.items()}
            for one in (self.env, self.files)
        )


_CLAUDE: Final = {
    "hasCompletedOnboarding": True,
    "hasSeenAutoDefaultNudge": True,
    "customApiKeyResponses": {"approved": ["$KEY_END"], "rejected": []},
    "projects": {"$ROOT": {"hasTrustDialogAccepted": True}},
}
_CODEX: Final = """\
model = "loopback"
check_for_update_on_startup = false
model_provider = "loopback"
[analytics]
enabled = false
[feedback]
enabled = false
[features]
plugins = false
apps = false
remote_plugin = false
[model_providers.loopback]
name = "loopback"
base_url = "$URL/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1
[projects."$ROOT"]
trust_level = "trusted"
"""
_OPENCODE: Final = {
    "autoupdate": False,
    "share": "disabled",
    "model": "loopback/model",
    "small_model": "loopback/model",
    "enabled_providers": ["loopback"],
    "provider": {
        "loopback": {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"apiKey": "$KEY", "baseURL": "$URL/v1"},
            "models": {"model": {"limit": {"context": 200_000, "output": 8_000}}},
        }
    },
}
_GEMINI: Final = {
    "general": {"maxAttempts": 1, "enableAutoUpdate": False},
    "privacy": {"usageStatisticsEnabled": False},
    "security": {"auth": {"selectedType": "gemini-api-key"}},
}

POINTINGS: Final[Mapping[str, Pointing]] = {
    "claude": Pointing(
        env={
            "ANTHROPIC_BASE_URL": "$URL",
            "ANTHROPIC_API_KEY": "$KEY",
            "CLAUDE_CODE_MAX_RETRIES": "1",
        },
        files={".claude.json": json.dumps(_CLAUDE)},
        permissions="ask",
        command="touch PERMITTED.md",
        asks=True,
        silencers="`disableAllHooks` or `allowManagedHooksOnly` in managed settings",
    ),
    "codex": Pointing(
        env={"CODEX_HOME": "$HOME/.codex", "OPENAI_API_KEY": "$KEY"},
        files={".codex/config.toml": _CODEX},
        silencers="`allow_managed_hooks_only` or `features.hooks` in managed settings",
    ),
    "gemini": Pointing(
        env={
            "GOOGLE_GEMINI_BASE_URL": "$URL",
            "GEMINI_API_KEY": "$KEY",
            "GEMINI_MODEL": "gemini-2.5-pro",
            "GEMINI_CLI_HOME": "$HOME",
        },
        files={".gemini/settings.json": json.dumps(_GEMINI)},
        permissions="ask",
        command="touch PERMITTED.md",
        asks=True,
        silencers="`hooksConfig` or `admin` in its settings",
    ),
    "opencode": Pointing(
        env={
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            "OPENCODE_CONFIG_CONTENT": "{}",
            "npm_config_registry": "$URL/",
        },
        files={".config/opencode/opencode.json": json.dumps(_OPENCODE)},
        permissions="ask",
        command="touch PERMITTED.md",
        asks=True,
    ),
    "copilot": Pointing(
        env={
            "COPILOT_PROVIDER_BASE_URL": "$URL/v1",
            "COPILOT_PROVIDER_API_KEY": "$KEY",
            "COPILOT_MODEL": "loopback",
            "COPILOT_OFFLINE": "true",
        },
        permissions="ask",
        command="touch PERMITTED.md",
        asks=True,
    ),
    "aider": Pointing(
        env={
            "OPENAI_API_BASE": "$URL/v1",
            "OPENAI_API_KEY": "$KEY",
            "AIDER_MODEL": "openai/loopback",
            "AIDER_EDIT_FORMAT": "whole",
        },
    ),
    "mini": Pointing(
        env={
            "OPENAI_API_BASE": "$URL/v1",
            "OPENAI_API_KEY": "$KEY",
            "MSWEA_MODEL_NAME": "openai/loopback",
            "MSWEA_COST_TRACKING": "ignore_errors",
            "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "1",
            "MSWEA_GLOBAL_CONFIG_DIR": "$HOME/mini",
        },
        permissions="yolo",
        command="echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo done",
    ),
}
