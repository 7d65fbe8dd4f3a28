"""The programs that tell their end themselves: how they are started, and what their recorded
words mean.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml

from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.core.plan import Failure
from fleet.errors import Rejected
from fleet.harnesses import OPENING_CHARS, AgentFacts, chosen_session, find_harness, wait_ms
from fleet.harnesses.opencode import PLUGIN

PERMISSIONS = ("ask", "edits", "auto", "plan", "deny", "yolo")
ENDED_AT_MS = 1_000_000


@pytest.fixture
def place(tmp_path):
    brief = tmp_path / "brief.md"
    brief.write_text("# Do $(this)\n\n{worktree}\n")
    return brief, tmp_path / "attempt", tmp_path / "tree"


@pytest.fixture
def prepared(place):
    """Prepares an agent; returns the preparation, with its argv as one text."""

    def prepare(name, resume=None, **told):
        ready = find_harness(name).prepare(AgentFacts(id="a", harness=name, **told), *place, resume)
        return ready, " ".join(ready.argv)

    return prepare


@pytest.fixture
def outcome(tmp_path):
    """Returns what a harness makes of recorded events and an exit code."""

    def judged(name, events, code=0, log="", files=None):
        made = AttemptFolder(tmp_path)
        made.stdout.write_text("not json\n" + "".join(json.dumps(e) + "\n" for e in events))
        made.log.write_text(log)
        for file, text in (files or {}).items():
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).write_text(text)
        return find_harness(name).outcome(ExitRecord(code, None, "exited", ENDED_AT_MS), made)

    return judged


@pytest.mark.parametrize("name", ["opencode", "gemini", "copilot"])
@pytest.mark.parametrize("permissions", PERMISSIONS)
def test_headless_reads_the_brief_and_touches_only_the_attempts_folder(
    prepared, place, name, permissions
):
    ready, argv = prepared(name, permissions=permissions, model="m/x", args=["--more"])
    assert (ready.stdin, ready.stdout) == (place[0], "file")
    assert "json" in argv
    assert "m/x" in argv
    assert "--more" in ready.argv
    assert all(path.is_relative_to(place[1]) for path in (*ready.files, *ready.links))
    assert ready.env["FLEET_BRIEF"] == str(place[0])


@pytest.mark.parametrize("name", ["opencode", "gemini", "copilot"])
def test_in_a_terminal_the_brief_is_the_first_prompt(prepared, place, name):
    ready, _ = prepared(name, mode="interactive", resume="S")
    assert (ready.stdin, ready.stdout) == (None, "pane")
    assert ready.argv[-1].partition("=")[2] == place[0].read_text()
    assert not {"run", "stream-json", "--output-format=json"} & set(ready.argv)
    again = any("S" in word.split("=") for word in ready.argv)
    assert again != (name == "opencode"), "it would be asked nothing"
    place[0].write_text("x" * (OPENING_CHARS + 1))
    ready, _ = prepared(name, mode="interactive")
    assert ready.argv[-1].endswith(f"=Read {place[0]} and do what it asks.")


@pytest.mark.parametrize(
    ("name", "new", "again"),
    [
        ("opencode", "opencode run --format json", "--session S"),
        ("gemini", "--session-id {id}", "--resume S"),
        ("copilot", "--session-id={id}", "--resume=S"),
    ],
)
def test_a_session_is_begun_or_gone_on_with(prepared, place, name, new, again):
    assert new.format(id=chosen_session(place[1])) in prepared(name)[1]
    _, argv = prepared(name, resume="S")
    assert again in argv
    assert "--session-id" not in argv


def test_opencode_is_told_what_it_may_do_by_a_variable(prepared):
    def rules(mode):
        return {
            one: json.loads(
                prepared("opencode", permissions=one, mode=mode)[0].env["OPENCODE_PERMISSION"]
            )
            for one in PERMISSIONS
        }

    away = "external_directory"  # asked for headless, it would end its turn
    assert rules("headless")["ask"][away] == rules("headless")["edits"][away] == "deny"
    told = rules("interactive")
    assert told["edits"]["edit"] == "allow"
    assert told["edits"]["bash"]["*"] == "ask"
    assert told["edits"]["bash"]["git commit *"] == "allow"
    assert told["auto"] == told["edits"]
    assert told["ask"]["edit"] == told["ask"]["bash"] == "ask"
    assert told["plan"] == told["deny"]
    assert (told["deny"]["*"], told["deny"]["read"]) == ("deny", "allow")
    assert told["yolo"] == {"*": "allow"}
    assert (
        next(iter(told["edits"]["bash"])) == "*"
    )  # the last rule that fits is the one that counts


def test_opencodes_plugin_stands_beside_what_the_user_hands_over(prepared):
    name = "OPENCODE_CONFIG_CONTENT"
    told = {"share": "auto", "plugin": ["mine"]}
    ready, _ = prepared("opencode", resume="S", model="m/x", env={name: json.dumps(told)})
    made = json.loads(ready.env[name])
    mine, [plugin, options] = made["plugin"]
    assert (made["share"], mine) == ("auto", "mine")
    assert plugin.startswith("file://")
    assert options["words"] == ["--model", "m/x"], "it names the session itself"
    assert options["hook"][-1].endswith("hook.py")
    assert prepared("opencode", env={name: "nonsense"})[0].env[name]


def test_geminis_home_leads_to_the_persons_own_and_holds_the_hooks_besides(
    prepared, place, tmp_path
):
    own = tmp_path / "own/.gemini"
    (own / "extensions/mine").mkdir(parents=True)
    (own / "settings.json").write_text("{}")
    ready, _ = prepared("gemini", mode="interactive", env={"HOME": str(tmp_path / "own")})
    home = place[1] / "session/gemini"
    assert ready.env["GEMINI_CLI_HOME"] == str(home)
    assert ready.links == {
        home / ".gemini/settings.json": own / "settings.json",
        home / ".gemini/extensions/mine": own / "extensions/mine",
    }
    hooked = json.loads(ready.files[home / ".gemini/extensions/fleet/hooks/hooks.json"])["hooks"]
    assert {"BeforeAgent", "AfterAgent", "Notification"} < set(hooked)
    assert hooked["AfterAgent"][0]["hooks"][0]["timeout"] > 3_600_000, "milliseconds"
    told = prepared("gemini", permissions="yolo")[0].files
    headless = told[home / ".gemini/extensions/fleet/hooks/hooks.json"]
    assert set(json.loads(headless)["hooks"]) == {"AfterAgent"}


def test_only_geminis_hook_lets_through_what_gemini_would_ask_about(prepared, place):
    def hooked(**told):
        ready, _ = prepared("gemini", **told)
        home = place[1] / "session/gemini/.gemini/extensions/fleet/hooks/hooks.json"
        (before,) = json.loads(ready.files[home])["hooks"]["BeforeTool"]
        return ready, before

    ready, before = hooked(permissions="ask")
    wishes = json.loads(ready.files[place[1] / "hooks.json"])
    word = wishes["grant"]["word"]
    rule = tomllib.loads(ready.files[place[1] / "granted.toml"])["rule"][0]
    assert (rule["argsPattern"], rule["decision"]) == (word, "allow")
    assert str(place[1] / "granted.toml") in ready.argv
    assert rule["toolName"] == list(wishes["grant"]["tools"])
    assert re.search(before["matcher"], "run_shell_command")
    assert not re.search(before["matcher"], "read_file"), "it costs a process each time"
    again = json.loads(hooked(permissions="ask")[0].files[place[1] / "hooks.json"])
    assert word != again["grant"]["word"]
    command = before["hooks"][0]["command"].replace("hook.py", "no-hook.py")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["decision"] == "deny", "a hook that does not even start"
    guarded, before = hooked(permissions="yolo", guards=("PreToolUse",))
    assert "matcher" not in before, "anything may be denied"
    assert place[1] / "granted.toml" not in guarded.files
    assert "grant" not in guarded.files[place[1] / "hooks.json"]


def test_gemini_goes_on_with_the_sessions_of_the_attempt_before(tmp_path):
    first, second = tmp_path / "work/1", tmp_path / "work/2"
    (first / "session/gemini/.gemini/tmp").mkdir(parents=True)
    brief = tmp_path / "brief.md"
    brief.write_text("Do.")
    told = AgentFacts(id="a", harness="gemini", env={"HOME": str(tmp_path)})
    ready = find_harness("gemini").prepare(told, brief, second, tmp_path, "S")
    kept = second / "session/gemini/.gemini/tmp"
    assert ready.links == {kept: (first / "session/gemini/.gemini/tmp").resolve()}


def test_gemini_is_told_what_it_may_do_by_mode_and_policy(prepared, place):
    policy = place[1] / "policy.toml"
    modes = {}
    for one in PERMISSIONS:
        ready, _ = prepared("gemini", permissions=one)
        mode = ready.argv[ready.argv.index("--approval-mode") + 1]
        modes[one] = (mode, ready.files.get(policy, ""))
        granted = str(place[1] / "granted.toml")
        told = [granted] if one in ("ask", "edits", "auto") else []
        told += [str(policy)] if modes[one][1] else []
        assert {*told} == {word for word in ready.argv if word.endswith(".toml")}
        assert ready.argv.count("--policy") == len(told)
    assert 'commandPrefix = ["git add", "git commit", "fleet"]' in modes["edits"][1]
    assert modes["edits"][0] == modes["auto"][0] == "auto_edit"
    assert 'decision = "deny"' in modes["deny"][1]
    assert [modes[one][0] for one in ("ask", "plan", "deny", "yolo")] == [
        *("default", "plan", "default", "yolo")
    ]


def test_copilot_is_told_what_it_may_do_by_rules(prepared):
    edits = prepared("copilot")[0]
    assert "--allow-tool=shell(git commit:*)" in edits.argv
    assert edits.env["COPILOT_ALLOW_ALL"] == "false"
    for one in ("plan", "deny"):
        assert "--deny-tool=shell" in prepared("copilot", permissions=one)[0].argv
    assert "--allow" not in prepared("copilot", permissions="ask")[1]
    assert "--allow-all" in prepared("copilot", permissions="yolo")[0].argv


def test_copilot_is_hooked_by_a_plugin_for_what_may_be_asked(prepared, place):
    def hooked(**told):
        files = prepared("copilot", **told)[0].files
        assert json.loads(files[place[1] / "plugin/plugin.json"])["hooks"] == "hooks.json"
        return set(json.loads(files[place[1] / "plugin/hooks.json"])["hooks"])

    assert hooked() == {"PermissionRequest", "Stop"}
    assert hooked(permissions="yolo") == {"Stop"}
    assert hooked(mode="interactive") > {"Notification", "SessionStart", "UserPromptSubmit"}
    unasked = json.loads(prepared("copilot")[0].files[place[1] / "hooks.json"])["unasked"]
    assert unasked["tools"] == ["edit"]
    assert "git commit" in unasked["commands"]
    asked = json.loads(prepared("copilot", permissions="ask")[0].files[place[1] / "hooks.json"])
    assert not asked["unasked"]["tools"]
    assert "git commit" not in asked["unasked"]["commands"]


STEP = {
    "type": "step_finish",
    "sessionID": "ses_1",
    "part": {
        "reason": "tool-calls",
        "tokens": {"input": 10, "output": 2, "reasoning": 0, "cache": {"write": 0, "read": 4}},
        "cost": 0.5,
    },
}
LAST = {**STEP, "part": {**STEP["part"], "reason": "stop"}}
SAID = {"type": "text", "sessionID": "ses_1", "part": {"type": "text", "text": "It is written."}}


def opencode_error(message, status):
    told = {"message": message, "statusCode": status, "isRetryable": False}
    return {"type": "error", "sessionID": "ses_1", "error": {"name": "APIError", "data": told}}


@pytest.mark.parametrize(
    ("events", "code", "failure", "resume_at_ms"),
    [
        ([STEP, SAID, LAST], 0, None, None),
        ([STEP], 0, Failure.TASK, None),
        ([STEP, opencode_error("no", 500)], 1, Failure.AGENT, None),
        ([STEP, LAST, opencode_error("no", 500)], 0, Failure.AGENT, None),
        ([opencode_error("too much", 429)], 1, Failure.ACCOUNT, None),
        ([opencode_error("This is too much.", 529)], 1, Failure.ACCOUNT, None),
        (
            [opencode_error("Monthly usage limit reached. It will reset in 1 day 2 hours", 402)],
            1,
            Failure.ACCOUNT,
            ENDED_AT_MS + 93_600_000,
        ),
        ([], 0, Failure.AGENT, None),
    ],
)
def test_opencode_is_judged_by_its_last_step(outcome, events, code, failure, resume_at_ms):
    report = outcome("opencode", events, code)
    assert (report.ok, report.failure, report.resume_at_ms) == (
        failure is None,
        failure,
        resume_at_ms,
    )
    assert report.session == ("ses_1" if events else None)
    if report.ok:
        assert report.output == "It is written."
        assert report.usage == {
            "input_tokens": 20,
            "cached_tokens": 8,
            "output_tokens": 4,
            "usd": 1.0,
            "turns": 2,
        }


INIT = {"type": "init", "session_id": "S", "model": "gemini-2.5-pro"}
TOOL = {"type": "tool_use", "tool_name": "write_file", "tool_id": "w", "parameters": {}}
PIECES = [
    {"type": "message", "role": "assistant", "content": text, "delta": True}
    for text in ("It is ", "written.")
]
STATS = {"total_tokens": 48, "input_tokens": 42, "output_tokens": 6, "cached": 12, "input": 30}
WENT_WELL = {"type": "result", "status": "success", "stats": STATS}


def gemini_error(message):
    error = {"type": "unknown", "message": f"[API Error: {message}]"}
    return {"type": "result", "status": "error", "error": error, "stats": {}}


QUOTA = (
    "You have exhausted your capacity on this model. Your quota will reset after 1h2m3s.\n"
    "Please wait and try again later."
)


@pytest.mark.parametrize(
    ("events", "code", "failure", "resume_at_ms"),
    [
        ([INIT, *PIECES[:1], TOOL, *PIECES, WENT_WELL], 0, None, None),
        ([INIT, TOOL], 0, Failure.TASK, None),  # ended by a signal: it exits with 0
        ([INIT, gemini_error('{"error":{"code":529,"message":"x"}}')], 17, Failure.ACCOUNT, None),
        ([INIT, gemini_error(QUOTA)], 173, Failure.ACCOUNT, ENDED_AT_MS + 3_723_000),
        ([INIT, gemini_error('{"error":{"code":401,"message":"x"}}')], 145, Failure.AGENT, None),
        ([], 41, Failure.AGENT, None),
    ],
)
def test_gemini_is_judged_by_its_result(outcome, events, code, failure, resume_at_ms):
    report = outcome("gemini", events, code, log="Invalid auth method selected.\n")
    assert (report.ok, report.failure, report.resume_at_ms) == (
        failure is None,
        failure,
        resume_at_ms,
    )
    assert report.session == ("S" if events else None)
    if report.ok:
        assert report.output == "It is written."
        assert report.usage == {"input_tokens": 30, "cached_tokens": 12, "output_tokens": 6}
    if not events:
        assert "Invalid auth method" in report.text


ANSWER = {"type": "assistant.message", "data": {"content": "It is written.", "toolRequests": []}}
CALL = {"type": "assistant.message", "data": {"content": "", "toolRequests": [{"name": "bash"}]}}
USAGE = {
    "modelMetrics": {
        "m": {
            "requests": {"count": 3, "cost": 0},
            "usage": {"inputTokens": 42, "outputTokens": 6, "cacheReadTokens": 12},
        }
    }
}


def copilot_end(code):
    return {"type": "result", "sessionId": "S", "exitCode": code, "usage": {}}


def copilot_error(message, status):
    return {"type": "session.error", "data": {"message": message, "statusCode": status}}


@pytest.mark.parametrize(
    ("events", "code", "failure", "resume_at_ms"),
    [
        ([ANSWER, CALL, copilot_end(0)], 0, None, None),
        ([CALL], 0, Failure.TASK, None),  # ended by a signal: it exits with 0
        (
            [
                copilot_error("Failed to get response; Last error: 529 too much", 529),
                copilot_end(1),
            ],
            1,
            Failure.ACCOUNT,
            None,
        ),
        (
            [copilot_error("You hit a rate limit. Please try again in 2 hours.", 400)],
            1,
            Failure.ACCOUNT,
            ENDED_AT_MS + 7_200_000,
        ),
        (
            [copilot_error("Authentication failed (HTTP 401).", 401), copilot_end(1)],
            1,
            Failure.AGENT,
            None,
        ),
    ],
)
@pytest.mark.parametrize("usage", [json.dumps(USAGE), '{"modelMetrics": {"m": {}}}', "[]", "no"])
def test_copilot_is_judged_by_its_result(outcome, events, code, failure, resume_at_ms, usage):
    report = outcome("copilot", events, code, files={"usage.json": usage})
    assert (report.ok, report.failure, report.resume_at_ms) == (
        failure is None,
        failure,
        resume_at_ms,
    )
    counted = {"input_tokens": 30, "cached_tokens": 12, "output_tokens": 6, "turns": 3}
    assert report.usage == (counted if "requests" in usage else {})
    if report.ok:
        assert (report.output, report.session) == ("It is written.", "S")


AIDER_HEAD = """\
Aider v0.86.2
Model: openai/fake-model with whole edit format
Git repo: ../repo/.git/worktrees/wt with 0 files
Repo-map: disabled

"""
AIDER_SAID = """\
ada.md

```
good

```

It is written.
"""
AIDER_END = """\

Tokens: 1.2k sent, 1,024 cache hit, 345 received. Cost: $0.01 message, $0.02 session.
Applied edit to ada.md
Commit 30c367e feat: ada
"""
AIDER_LIMITED = """\
litellm.RateLimitError: RateLimitError: OpenAIException - too much
The API provider has rate limited you. Try again later or check your quotas.
Retrying in 0.2 seconds...
litellm.RateLimitError: RateLimitError: OpenAIException - too much
The API provider has rate limited you. Try again later or check your quotas.
"""
AIDER_OVERLOADED = """\
litellm.InternalServerError: AnthropicException - {"error": "no more"}
The API provider's servers are down or overloaded.
"""
AIDER_REFUSED = "litellm.AuthenticationError: OpenAIException - no such key\n"


@pytest.mark.parametrize(
    ("text", "code", "failure"),
    [
        (AIDER_HEAD + AIDER_SAID + AIDER_END, 0, None),
        (AIDER_HEAD + AIDER_LIMITED + AIDER_SAID + AIDER_END, 0, None),
        (AIDER_HEAD + AIDER_LIMITED, 0, Failure.ACCOUNT),
        (AIDER_HEAD + AIDER_OVERLOADED, 0, Failure.ACCOUNT),
        (AIDER_HEAD + AIDER_SAID + AIDER_END + AIDER_LIMITED, 0, Failure.ACCOUNT),
        (AIDER_HEAD + AIDER_REFUSED, 0, Failure.AGENT),
        (AIDER_HEAD, 0, Failure.AGENT),
        ("", 1, Failure.AGENT),
    ],
)
def test_aider_is_judged_by_its_counts_and_errors(tmp_path, text, code, failure):
    made = AttemptFolder(tmp_path)
    made.stdout.write_text(text)
    end = ExitRecord(code, None, "exited", ENDED_AT_MS)
    report = find_harness("aider").outcome(end, made)
    assert (report.ok, report.failure) == (failure is None, failure)
    if report.ok:
        assert report.output.endswith("It is written.")
        assert "Aider" not in report.output
        assert report.usage == {
            "input_tokens": 1_200,
            "cached_tokens": 1_024,
            "output_tokens": 345,
            "usd": 0.02,
            "turns": 1,
        }


def test_aider_writes_nothing_into_the_worktree_and_runs_no_commands(prepared, place):
    for one in PERMISSIONS:
        ready, argv = prepared("aider", permissions=one)
        assert f"--message-file {place[0]}" in argv
        assert f"--chat-history-file {place[1]}/" in argv
        assert f"--input-history-file {place[1]}/" in argv
        assert "--map-tokens 0" in argv
        assert "--no-suggest-shell-commands" in ready.argv
        assert ("--chat-mode ask" in argv) == (one in {"ask", "plan", "deny"})
        assert ready.env["AIDER_GITIGNORE"] == "false"
    shown, argv = prepared("aider", mode="interactive", permissions="ask")
    assert (shown.stdout, shown.stdin) == ("pane", None)
    assert "--yes-always" not in shown.argv
    assert f"--read {place[0]}" in argv
    assert "--chat-mode" not in argv


def mini_run(status, content, submission="", trace=""):
    usage = {
        "prompt_tokens": 14,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    return json.dumps(
        {
            "info": {
                "exit_status": status,
                "submission": submission,
                "model_stats": {"instance_cost": 0.25, "api_calls": 2},
            },
            "messages": [
                {"role": "system", "content": "You are helpful."},
                {"role": "assistant", "content": None, "extra": {"response": {"usage": usage}}},
                {"role": "user", "content": "No call.", "extra": {"response": {"usage": usage}}},
                {
                    "role": "exit",
                    "content": content,
                    "extra": {"exit_status": status, "traceback": trace},
                },
            ],
        }
    )


TRACE = """\
Traceback (most recent call last):
openai.InternalServerError: Error code: 529 - {'error': {'message': 'no'}}

litellm.exceptions.APIError: litellm.APIError: APIError: OpenAIException - no
"""
RATE = "litellm.RateLimitError: RateLimitError: OpenAIException - Please try again in 20s"


@pytest.mark.parametrize(
    ("text", "code", "failure", "resume_at_ms"),
    [
        (mini_run("Submitted", "It is written.", "It is written.\n"), 0, None, None),
        (mini_run("LimitsExceeded", "LimitsExceeded"), 0, Failure.TASK, None),
        (mini_run("RateLimitError", RATE), 1, Failure.ACCOUNT, ENDED_AT_MS + 20_000),
        (mini_run("APIError", "litellm.APIError: no", trace=TRACE), 1, Failure.ACCOUNT, None),
        (mini_run("BadRequestError", "litellm.BadRequestError: no"), 1, Failure.AGENT, None),
        ('{"info": {"exit_status": "X"}}', 1, Failure.AGENT, None),
        ('{"info": [], "messages": 3}', 1, Failure.AGENT, None),
        ("[]", 0, Failure.AGENT, None),
        ("", 1, Failure.AGENT, None),
    ],
)
def test_mini_is_judged_by_its_trajectory(outcome, text, code, failure, resume_at_ms):
    report = outcome("mini", [], code, files={"session/trajectory.json": text})
    assert (report.ok, report.failure, report.resume_at_ms) == (
        failure is None,
        failure,
        resume_at_ms,
    )
    if report.ok:
        assert report.output == "It is written."
        assert report.usage == {
            "input_tokens": 20,
            "cached_tokens": 8,
            "output_tokens": 4,
            "usd": 0.25,
            "turns": 2,
        }


def test_mini_refuses_permissions_that_it_cannot_keep_to(prepared, place):
    for one in PERMISSIONS[:-1]:
        with pytest.raises(Rejected) as refused:
            prepared("mini", permissions=one)
        assert "yolo" in refused.value.hint
    run = place[1] / "run.yaml"
    ready, argv = prepared("mini", permissions="yolo")
    assert f"-c mini.yaml -c {run}" in argv
    told = yaml.safe_load(ready.files[run])
    assert told["run"]["task"] == place[0].read_text()
    assert told["agent"] == {"mode": "yolo", "confirm_exit": False}
    shown, _ = prepared("mini", mode="interactive")
    assert yaml.safe_load(shown.files[run])["agent"] == {"mode": "confirm", "confirm_exit": True}
    with pytest.raises(Rejected):
        prepared("mini", mode="interactive", permissions="deny")


@pytest.mark.parametrize("name", ["opencode", "gemini", "copilot", "aider", "mini"])
def test_in_a_terminal_the_exit_code_is_all_there_is(tmp_path, name):
    made = AttemptFolder(tmp_path)
    for code, ok in ((0, True), (1, False)):
        end = ExitRecord(code, None, "exited", ENDED_AT_MS)
        assert find_harness(name).outcome(end, made).ok is ok


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("Try again in 1 day 2 hours 3 minutes.", 93_780_000),
        ("try again in 2 hours, 5 seconds", 7_205_000),
        ("Please retry in 12.5s.", 12_500),
        ("quota will reset after 1h5m", 3_900_000),
        ("retry after 250ms", 250),
        ("It resets in 3 days and 1 min", 259_260_000),
        ("try again later", None),
        ("try again in 2 seats", None),
        ("please wait 5 minutes", None),
    ],
)
def test_a_wait_is_read_from_words(text, wait):
    assert wait_ms(text) == wait


PLUGGED = """
const { fleet } = await import(process.argv[1])
const options = { hook: JSON.parse(process.argv[2]), guards: true, asks: false, interactive: false }
const { "tool.execute.before": before } = await fleet({ client: {} }, options)
const tool = { tool: "bash", sessionID: "S", callID: "1" }
await before(tool, { args: { command: "make" } }).then(
  () => console.log("used"), ({ message }) => console.log(message))
"""
"""OpenCode's part: it calls the plugin before a tool, which it uses unless the plugin throws."""

DENIED = {"permissionDecision": "deny", "permissionDecisionReason": "No."}


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (["true"], "used"),
        (["false"], "It cannot be judged."),
        (["/no/such/hook"], "It cannot be judged."),
        (["echo", "nonsense"], "It cannot be judged."),
        (["sh", "-c", "kill -9 $$"], "It cannot be judged."),
        (["echo", '{"hookSpecificOutput": {"permissionDecision": "allow"}}'], "used"),
        (["echo", json.dumps({"hookSpecificOutput": DENIED})], "No."),
    ],
)
def test_opencodes_plugin_lets_no_tool_be_used_unjudged(hook, said):
    words = ["node", "--input-type=module", "-e", PLUGGED, PLUGIN.as_uri(), json.dumps(hook)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said
