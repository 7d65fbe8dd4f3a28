from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.adapters.attempts import AttemptFolder, ExitRecord, Launch
from fleet.adapters.tmux import WRAPPER
from fleet.core.plan import Failure
from fleet.errors import NotFound, Rejected
from fleet.harnesses import HARNESSES, AgentFacts, Found, find_harness


@pytest.fixture
def place(tmp_path):
    brief = tmp_path / "brief.md"
    brief.write_text("Do $(this).\n{worktree}\n")
    tree = tmp_path / "tree"
    tree.mkdir()
    return brief, tmp_path / "attempt", tree


@pytest.fixture
def play(place):
    """Prepares an agent, runs it through the wrapper, returns what its harness makes of the end."""

    def run(agent, **env):
        brief, path, tree = place
        harness, folder = (
            find_harness(agent.harness),
            AttemptFolder(path / str(len(list(path.glob("*"))))),
        )
        ready = harness.prepare(agent, brief, folder.path, tree, None)
        folder.write_spec(
            Launch(
                key=("r", "s", 1),
                session="s",
                folder=folder.path,
                worktree=tree,
                argv=ready.argv,
                env={**os.environ, **ready.env, **env},
                stdin=ready.stdin,
                stdout=ready.stdout,
            )
        )
        subprocess.run(["/bin/sh", str(WRAPPER), str(folder.path)], check=False)
        return harness.outcome(folder.exit_record(), folder)

    return run


@pytest.fixture
def folder(tmp_path):
    made = AttemptFolder(tmp_path)

    def say(*events, log=""):
        made.stdout.write_text(
            "".join(e if isinstance(e, str) else json.dumps(e) + "\n" for e in events)
        )
        made.log.write_text(log)
        return made

    return say


def ended(code, reason="exited", signal=None):
    return ExitRecord(code, signal, reason, 1_000_000)


def test_the_table_is_names_and_an_unknown_one_is_refused():
    for name in HARNESSES:
        assert callable(find_harness(name).prepare)
    assert isinstance(find_harness("shell").check(os.environ), Found)
    with pytest.raises(NotFound) as refused:
        find_harness("shel")
    assert "shell" in refused.value.hint
    code = (
        "import sys, fleet.harnesses;"
        "print([name for name in sys.modules if name.startswith('fleet.harnesses.')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


@pytest.mark.parametrize(
    ("permissions", "mode", "sandbox", "policy"),
    [
        ("edits", "headless", "danger-full-access", "never"),
        ("ask", "interactive", "danger-full-access", "untrusted"),
        ("plan", "headless", "read-only", "never"),
    ],
)
def test_codex_in_a_sandbox_of_fleet_leaves_writing_to_it(
    place, permissions, mode, sandbox, policy
):
    """But never what it holds back itself: reading only stays so, and who asks still asks."""
    brief, path, tree = place
    told = {"permissions": permissions, "mode": mode, "sandboxed": True}
    facts = AgentFacts(id="a", harness="codex", **told)
    ready = find_harness("codex").prepare(facts, brief, path, tree, None)
    assert f'sandbox_mode="{sandbox}"' in ready.argv
    assert f'approval_policy="{policy}"' in ready.argv


@pytest.mark.parametrize(
    ("args", "ok", "failure", "output"),
    [
        ('cat "$FLEET_BRIEF"; echo no >&2', True, None, "Do $(this).\n{worktree}"),
        (["printf", "%s|", "$(id)", "a b"], True, None, "$(id)|a b|"),
        ("echo x; exit 3", False, Failure.TASK, "x"),
        ("exit 127", False, Failure.AGENT, None),
        (["no-such-program"], False, Failure.AGENT, None),
        ("kill -9 $$", False, Failure.AGENT, ""),
        ("cat; exit 0", True, None, ""),
    ],
)
def test_shell(play, args, ok, failure, output):
    report = play(AgentFacts(id="a", args=args))
    assert (report.ok, report.failure, report.output) == (ok, failure, output)


def test_shell_without_a_command_is_refused(play):
    with pytest.raises(Rejected):
        play(AgentFacts(id="a"))


def test_custom_fills_each_place_with_one_argument(play, place):
    agent = AgentFacts(
        id="a",
        harness=["printf", "%s|", "{prompt}", "{worktree}", "--b={brief}", "{x}"],
        args=["z"],
    )
    brief, _, tree = place
    assert play(agent).output == f"{brief.read_text()}|{tree}|--b={brief}|{{x}}|z|"


SCRIPT = """
attempts:
  - - write: {path: sub/a.txt, text: one}
    - commit: first
    - expect_brief: {contains: "Do $(this)"}
    - fail: not yet
  - - append: {path: sub/a.txt, text: two}
    - write: {path: other, text: x}
    - commit: {message: second, paths: [sub]}
    - tag: v1
    - remove: other
    - sleep: 0.01
    - write: {path: near.py, text: ""}
    - run: [python3, -c, "import near; print('ran')"]
    - say: done
"""


def test_script_plays_another_list_on_another_attempt(play, place):
    tree = place[2]
    (tree / "play.yaml").write_text(SCRIPT)
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    agent = AgentFacts(id="a", harness="script", args=["play.yaml"])
    first = play(agent, FLEET_ATTEMPT="1")
    assert (first.ok, first.failure) == (False, Failure.TASK)
    assert "not yet" in first.text or first.text
    second = play(agent, FLEET_ATTEMPT="2")
    assert (second.ok, second.output) == (True, "ran\ndone")
    git = ["git", "-C", str(tree)]
    assert subprocess.check_output([*git, "log", "--format=%s"], text=True) == "second\nfirst\n"
    assert subprocess.check_output([*git, "show", "v1:sub/a.txt"], text=True) == "onetwo"
    assert not (tree / "other").exists()


def test_a_script_answers_what_its_brief_asks_first(play, place):
    (place[2] / "s.yaml").write_text("- answer: {this: no, Do: {answer: yes, reason: it must}}")
    told = play(AgentFacts(id="a", harness="script", args=["s.yaml"]))
    assert json.loads(told.output) == {"answer": True, "reason": "it must"}


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("steps: [{exit: 9}]", 9),
        ("steps: [{dance: 1}]", 2),
        ("steps: [a]", 2),
        ("[", 2),
        ("steps: [{expect_brief: {contains: zzz}}]", 1),
        ("steps: [{answer: {zzz: 1}}]", 1),
        ("steps: [{run: 'exit 4'}]", 1),
        ("- say: x", 0),
        ("rounds: [[{exit: 5}]]", 5),
        ("1", 2),
    ],
)
def test_player_codes(place, script, code):
    file = place[2] / "s.yaml"
    file.write_text(script)
    argv = [sys.executable, "-m", "fleet.harnesses.player", str(file)]
    env = {**os.environ, "FLEET_BRIEF": str(place[0]), "FLEET_ATTEMPT": "3"}
    assert subprocess.run(argv, env=env, check=False, capture_output=True).returncode == code


@pytest.mark.parametrize("name", sorted(set(HARNESSES) - {"script"}))
@pytest.mark.parametrize(
    ("end", "failure"),
    [
        (None, Failure.INFRA),
        (ended(97, "wrong-place"), Failure.INFRA),
        (ended(124, "timeout"), Failure.TASK),
        (ended(127, "not-found"), Failure.AGENT),
    ],
)
def test_an_end_that_means_the_same_for_all(folder, name, end, failure):
    report = find_harness(name).outcome(end, folder())
    assert (report.ok, report.failure) == (False, failure)


def test_claude_is_started_headless_with_a_chosen_session_and_the_brief_on_stdin(place):
    brief, path, tree = place
    agent = AgentFacts(
        id="a", harness="claude", model="m", permissions="yolo", prompt="-be good", args=["--x"]
    )
    claude = find_harness("claude")
    ready = claude.prepare(agent, brief, path, tree, None)
    argv = list(ready.argv)
    assert argv[:5] == ["claude", "-p", "--output-format", "stream-json", "--verbose"]
    assert argv[argv.index("--permission-mode") + 1] == "bypassPermissions"
    assert ready.stdin == brief
    edits = claude.prepare(AgentFacts(id="a", harness="claude"), brief, path, tree, None).argv
    assert any(word.startswith("--allowedTools=Bash(git add *)") for word in edits)
    assert not any(word.startswith("--allowedTools") for word in argv)
    assert argv == list(claude.prepare(agent, brief, path, tree, None).argv)
    again = list(claude.prepare(agent, brief, path, tree, "ID").argv)
    assert again[again.index("--resume") + 1] == "ID"
    assert "--session-id" not in again
    shown = claude.prepare(
        AgentFacts(id="a", harness="claude", mode="interactive"), brief, path, tree, None
    )
    assert (shown.stdout, shown.stdin, shown.argv[-2]) == ("pane", None, "--")


INIT = {"type": "system", "subtype": "init", "session_id": "S"}
RESULT = {
    "subtype": "success",
    "is_error": False,
    "result": "All done.",
    "session_id": "S",
    "num_turns": 3,
    "type": "result",
    "total_cost_usd": 0.25,
    "usage": {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 7},
}


@pytest.mark.parametrize(
    ("events", "code", "failure", "resume_at_ms"),
    [
        ([INIT, "not json\n", RESULT], 0, None, None),
        (
            [
                INIT,
                {
                    **RESULT,
                    "is_error": True,
                    "terminal_reason": "api_error",
                    "result": "API Error: 500",
                },
            ],
            1,
            Failure.AGENT,
            None,
        ),
        (
            [INIT, {**RESULT, "is_error": True, "result": "API Error: 529 overloaded_error"}],
            1,
            Failure.ACCOUNT,
            None,
        ),
        (
            [
                INIT,
                {**RESULT, "is_error": True, "result": "Claude AI usage limit reached|1795300000"},
            ],
            1,
            Failure.ACCOUNT,
            1_795_300_000_000,
        ),
        (
            [
                INIT,
                {
                    "type": "rate_limit_event",
                    "rate_limit_info": {"status": "rejected", "resetsAt": 1795300000},
                },
                {**RESULT, "is_error": True, "result": "You've hit your session limit"},
            ],
            1,
            Failure.ACCOUNT,
            1_795_300_000_000,
        ),
        ([INIT, {**RESULT, "subtype": "error_max_turns", "is_error": True}], 1, Failure.TASK, None),
        ([INIT], 0, Failure.AGENT, None),
    ],
)
def test_claude_is_judged_by_its_result(folder, events, code, failure, resume_at_ms):
    report = find_harness("claude").outcome(ended(code), folder(*events))
    assert (report.ok, report.failure, report.resume_at_ms) == (
        failure is None,
        failure,
        resume_at_ms,
    )
    assert report.session == "S"
    if report.ok:
        assert report.output == "All done."
        assert report.usage == {
            "input_tokens": 10,
            "output_tokens": 5,
            "cached_tokens": 7,
            "usd": 0.25,
            "turns": 3,
        }


def test_claude_tells_how_full_its_context_is(folder):
    used = {"input_tokens": 3, "cache_read_input_tokens": 40, "output_tokens": 7}
    said = [{"type": "assistant", "message": {"usage": told}} for told in ({}, used)]
    models = {"m": {"contextWindow": 200}, "small": {"contextWindow": 100}, "odd": None}
    report = find_harness("claude").outcome(
        ended(0), folder(INIT, *said, {**RESULT, "modelUsage": models})
    )
    assert report.usage["context_share"] == 0.25
    assert report.spent["tokens"] == 15


def test_codex_may_write_gits_folders_of_a_linked_worktree(place):
    brief, path, tree = place
    (tree / ".git").write_text("gitdir: /r/.git/worktrees/w\n")
    codex = find_harness("codex")
    ready = codex.prepare(AgentFacts(id="a", harness="codex"), brief, path, tree, None)
    assert 'sandbox_workspace_write.writable_roots=["/r/.git", "/r/.git/worktrees/w"]' in ready.argv
    assert ready.argv[:3] == ["codex", "exec", "--json"]
    assert (ready.argv[-1], ready.stdin) == ("-", brief)
    again = codex.prepare(
        AgentFacts(id="a", harness="codex", prompt="Be good."), brief, path, tree, "T"
    )
    assert list(again.argv[-3:]) == ["resume", "T", "-"]
    assert again.files[path / "prompt.md"].startswith("Be good.\n\nDo $(this)")


START = [{"type": "thread.started", "thread_id": "T"}, {"type": "turn.started"}]
SAID = {"type": "item.completed", "item": {"type": "agent_message", "text": "Done."}}
WARNING = {
    "type": "item.completed",
    "item": {"type": "error", "message": "Model metadata not found"},
}
TURN = {
    "type": "turn.completed",
    "usage": {"input_tokens": 10, "cached_input_tokens": 4, "output_tokens": 2},
}
AT = "You\u2019ve hit your usage limit. Upgrade to Pro or try again at Jan 3rd, 1970 6:21 AM."
CLOCK = "You\u2019ve hit your usage limit. Try again at 12:10 AM."
LIMIT = "You've hit your usage limit. Try again in 1 day 2 hours 3 minutes."


@pytest.mark.parametrize(
    ("events", "code", "failure", "resume_at_ms"),
    [
        ([*START, WARNING, SAID, TURN], 0, None, None),
        ([*START, SAID], 0, Failure.TASK, None),
        (
            [*START, {"type": "turn.failed", "error": {"message": "stream disconnected"}}],
            1,
            Failure.AGENT,
            None,
        ),
        (
            [*START, {"type": "turn.failed", "error": {"message": LIMIT}}],
            1,
            Failure.ACCOUNT,
            1_000_000 + 93_780_000,
        ),
        (
            [
                *START,
                {
                    "type": "error",
                    "message": "exceeded retry limit, last status: 429 Too Many Requests",
                },
            ],
            1,
            Failure.ACCOUNT,
            None,
        ),
    ],
)
def test_codex_is_judged_by_its_last_turn(folder, events, code, failure, resume_at_ms):
    report = find_harness("codex").outcome(ended(code), folder(*events))
    assert (report.ok, report.failure, report.resume_at_ms) == (
        failure is None,
        failure,
        resume_at_ms,
    )
    assert report.session == "T"
    if report.ok:
        assert report.output == "Done."
        assert report.usage == {
            "input_tokens": 6,
            "cached_tokens": 4,
            "output_tokens": 2,
            "turns": 1,
        }


def test_a_missing_program_is_a_problem_with_its_cure():
    for name in sorted(set(HARNESSES) - {"mcp", "script", "shell"}):
        said = find_harness(name).check({"PATH": "/nowhere"})
        assert f"{name} is not on PATH" in said
        assert " install " in said
    assert Path(WRAPPER).is_file()
