"""What programs have used so far, read from what they write: once each, bounded, never astray."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

import pytest

from fleet.harnesses import AgentFacts, chosen_session, find_harness
from fleet.harnesses.meters import LOOK_BYTES, home_of

THREAD = "01a227d6-0ed4-7571-a109-0650ca90b016"


def facts(name, home, mode="headless"):
    return AgentFacts(id="a", harness=name, mode=mode, env={"HOME": str(home)})


def moment(at_ms):
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def said(name, tokens, *, at_ms=None, model="m"):
    usage = {"input_tokens": tokens, "output_tokens": 1, "cache_read_input_tokens": 2}
    told = {"type": "assistant", "message": {"id": name, "model": model, "usage": usage}}
    return told | ({} if at_ms is None else {"timestamp": moment(at_ms)})


def counted(total, *, at_ms=None):
    used = {"input_tokens": total, "cached_input_tokens": 40, "output_tokens": 10}
    info = {
        "total_token_usage": used,
        "last_token_usage": {"total_tokens": 50},
        "model_context_window": 200,
    }
    told = {"type": "event_msg", "payload": {"type": "token_count", "info": info}}
    return told | ({} if at_ms is None else {"timestamp": moment(at_ms)})


def write(path, *events, end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("".join(json.dumps(one) + end for one in events))


@pytest.fixture
def place(tmp_path):
    """A home, and an attempt's folder that was launched at 1,000 s."""
    folder = tmp_path / "attempt"
    folder.mkdir()
    (folder / "spec").touch()
    os.utime(folder / "spec", (1_000, 1_000))
    return tmp_path / "home", folder


def test_claude_counts_each_answer_once_as_it_comes(place):
    home, folder = place
    meter = find_harness("claude").meter(facts("claude", home), folder)
    assert meter.look() == {}
    log = folder / "stdout.log"
    write(log, said("one", 5), said("one", 7), said("no", 99, model="<synthetic>"))
    first = {"input_tokens": 7, "output_tokens": 1, "cached_tokens": 2, "turns": 1}
    assert meter.look() == meter.look() == first
    write(log, said("two", 10), end="")
    assert meter.look() == first, "half a line is waited for"
    with log.open("a") as file:
        file.write("\nnot json\n{broken\n")
    assert meter.look()["input_tokens"] == 17
    write(log, {"type": "result", "usage": {"input_tokens": 20}, "total_cost_usd": 0.5})
    assert (meter.look()["input_tokens"], meter.look()["usd"]) == (20, 0.5)


def test_claude_in_its_terminal_is_counted_from_its_transcript_since_the_attempt_began(place):
    home, folder = place
    meter = find_harness("claude").meter(facts("claude", home, "interactive"), folder)
    transcript = home / ".claude/projects/-some-place/S-1.jsonl"
    write(transcript, said("old", 50, at_ms=900_000), said("new", 3, at_ms=1_100_000))
    assert meter.look() == {}, "its session is not known yet"
    write(folder / "session/turn.json", {"turn": "working", "at_ms": 1, "session": "S-1"})
    assert meter.look()["input_tokens"] == 3


def test_codex_counts_what_its_thread_grew_by_since_the_attempt_began(place):
    home, folder = place
    meter = find_harness("codex").meter(facts("codex", home), folder)
    write(folder / "stdout.log", {"type": "thread.started", "thread_id": THREAD})
    rollout = home / f".codex/sessions/2026/11/29/rollout-2026-{THREAD}.jsonl"
    write(rollout, counted(140, at_ms=900_000), counted(340, at_ms=1_200_000))
    assert meter.look() == {
        "input_tokens": 200, "cached_tokens": 0, "output_tokens": 0, "context_share": 0.25,
    }  # fmt: skip
    assert meter.exact, "at its end it tells the whole thread"


def test_opencode_sums_its_steps(place):
    home, folder = place
    meter = find_harness("opencode").meter(facts("opencode", home), folder)
    part = {"tokens": {"input": 4, "output": 2, "cache": {"read": 1}}, "cost": 0.25}
    write(folder / "stdout.log", *[{"type": "step_finish", "part": part}] * 2)
    assert meter.look() == {
        "input_tokens": 8, "cached_tokens": 2, "output_tokens": 4, "usd": 0.5, "turns": 2,
    }  # fmt: skip


def test_opencode_in_its_terminal_is_counted_by_the_plugin(place):
    home, folder = place
    meter = find_harness("opencode").meter(facts("opencode", home, "interactive"), folder)
    assert meter.look() == {}
    counts = {
        "input_tokens": 5010,
        "output_tokens": 202,
        "cached_tokens": 104,
        "usd": 0,
        "turns": 2,
    }
    write(folder / "session/usage.json", {**counts, "more": "?"})
    assert meter.look() == counts


def gemini_said(name, read, *, at_ms):
    tokens = {
        "input": read,
        "output": 20,
        "cached": 10,
        "thoughts": 5,
        "tool": 0,
        "total": read + 25,
    }
    told = {"id": name, "timestamp": moment(at_ms), "type": "gemini", "content": ""}
    return {**told, "thoughts": [], "tokens": tokens, "model": "gemini-2.5-pro"}


GEMINI_OPENS = (
    {"sessionId": "SESSION", "startTime": "2026-11-29T17:51:57.597Z", "kind": "main"},
    {"$set": {"messages": [{"id": "d0", "type": "user", "content": [{"text": "Do."}]}]}},
)


@pytest.mark.parametrize("kept", [False, True])
def test_gemini_counts_each_answer_once_though_it_is_told_again(place, kept):
    """With the sessions that its person has kept, to which the home that is made for it leads."""
    home, folder = place
    tmp = folder / "session/gemini/.gemini/tmp"
    tmp.parent.mkdir(parents=True)
    if kept:
        (home / ".gemini/tmp").mkdir(parents=True)
        tmp.symlink_to(home / ".gemini/tmp")
    meter = find_harness("gemini").meter(facts("gemini", home), folder)
    assert meter.look() == {}
    decoy = tmp / f"ada/chats/session-2026-11-29T17-58-{chosen_session(folder)[:8]}.jsonl"
    write(decoy, *GEMINI_OPENS)
    chat = tmp / f"ada/chats/session-2026-11-29T17-51-{chosen_session(folder)[:8]}.jsonl"
    old, one = gemini_said("old", 900, at_ms=900_000), gemini_said("one", 110, at_ms=1_100_000)
    write(chat, *GEMINI_OPENS, old, one, {"$set": {"lastUpdated": "2026-11-29T17:51:58.486Z"}})
    first = {"input_tokens": 100, "cached_tokens": 10, "output_tokens": 25}
    assert meter.look() == first
    write(chat, {**one, "toolCalls": [{"id": "w", "name": "write_file"}]})
    assert meter.look() == first
    write(chat, gemini_said("two", 110, at_ms=1_200_000))
    assert meter.look() == {name: 2 * count for name, count in first.items()}


def test_gemini_follows_no_link_that_its_session_has_made(place, tmp_path):
    home, folder = place
    chats = tmp_path / "else/ada/chats"
    name = f"session-2026-11-29T17-51-{chosen_session(folder)[:8]}.jsonl"
    write(chats / name, gemini_said("one", 110, at_ms=1_100_000))
    own = folder / "session/gemini/.gemini"
    own.mkdir(parents=True)
    (own / "tmp").symlink_to(tmp_path / "else")
    meter = find_harness("gemini").meter(facts("gemini", home), folder)
    assert meter.look() == {}
    (own / "tmp").unlink()
    own.rmdir()
    own.symlink_to(tmp_path)
    (tmp_path / "else").rename(tmp_path / "tmp")
    assert meter.look() == {}


def copilot_event(kind, *, at_ms, **told):
    return {"type": kind, "data": told, "id": "6db6", "timestamp": moment(at_ms), "parentId": None}


def copilot_used(read, *, at_ms):
    used = {"model": "scripted", "inputTokens": read, "outputTokens": 200, "cacheReadTokens": 100}
    return copilot_event("session.usage_record", at_ms=at_ms, usage={**used, "cost": 0.0})


def copilot_said(text, *, at_ms):
    return copilot_event("assistant.message", at_ms=at_ms, content=text, toolRequests=[])


@pytest.mark.parametrize("resumed", [False, True])
def test_copilot_counts_the_answers_of_its_transcript_since_the_attempt_began(place, resumed):
    home, folder = place
    if resumed:
        (folder / "resumed").write_text("before")
    session = "before" if resumed else chosen_session(folder)
    meter = find_harness("copilot").meter(facts("copilot", home), folder)
    assert meter.look() == {}
    write(
        home / f".copilot/session-state/{session}/events.jsonl",
        copilot_used(9_100, at_ms=900_000),
        copilot_used(5_100, at_ms=1_100_000),
        copilot_said("", at_ms=1_100_001),
        copilot_used(14, at_ms=1_200_000) | {"data": None},
        copilot_used(1_100, at_ms=1_300_000),
    )
    assert meter.look() == {
        "input_tokens": 6_000, "cached_tokens": 200, "output_tokens": 400, "turns": 2,
    }  # fmt: skip
    assert meter.exact, "at its end it tells the whole session"


def test_copilots_last_words_are_those_since_it_was_asked_last(place):
    home, folder = place
    path = home / f".copilot/session-state/{chosen_session(folder)}/events.jsonl"

    def heard(since_ms=0):
        return find_harness("copilot").said(facts("copilot", home, "interactive"), folder, since_ms)

    assert heard() is None
    asked = copilot_event("user.message", at_ms=1_000_000, content="Do.")
    write(path, asked, copilot_said("Not yet.", at_ms=1_100_000))
    write(path, copilot_event("assistant.turn_end", at_ms=1_100_001, turnId="0"))
    assert heard() == "Not yet."
    assert heard(1_100_002) is None, "it was sent back since, and that is not written yet"
    write(path, {**asked, "timestamp": moment(1_200_000)}, copilot_said("", at_ms=1_200_001))
    assert heard() is None
    write(path, copilot_said("It is written.", at_ms=1_300_000))
    assert heard(1_100_002) == "It is written."


AIDER = """\
Aider v0.86.2
Tokens: none of these.

It is written.

{mark}Tokens: 5.1k sent, 200 received.{end}
{mark}Tokens: 1.2k sent, 1,024 cache hit, 13 received. Cost: $0.02 message, $0.05 session.{end}
"""


@pytest.mark.parametrize(
    ("mode", "name", "mark"),
    [("headless", "stdout.log", ""), ("interactive", "session/aider.chat.md", "> ")],
)
def test_aider_adds_up_what_it_prints(place, mode, name, mark):
    home, folder = place
    meter = find_harness("aider").meter(facts("aider", home, mode), folder)
    assert meter.look() == {}
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(AIDER.format(mark=mark, end="  " if mark else ""))
    assert meter.look() == {
        "input_tokens": 6_300, "output_tokens": 213, "cached_tokens": 1_024, "turns": 2,
        "usd": 0.05,
    }  # fmt: skip


def mini_trajectory(answers):
    used = {"completion_tokens": 200, "prompt_tokens": 5_100, "total_tokens": 5_300,
            "prompt_tokens_details": {"audio_tokens": None, "cached_tokens": 100}}  # fmt: skip
    said = {"role": "assistant", "content": None, "extra": {"response": {"usage": used}}}
    stats = {"instance_cost": 0.0, "api_calls": answers}
    info = {"model_stats": stats, "mini_version": "2.4.6", "exit_status": "", "submission": ""}
    asked = {"role": "user", "content": "Do."}
    return json.dumps({"info": info, "messages": [asked, *[said] * answers]}, indent=2)


def test_mini_is_read_anew_when_its_trajectory_has_changed(place):
    home, folder = place
    meter = find_harness("mini").meter(facts("mini", home), folder)
    path = folder / "session/trajectory.json"
    path.parent.mkdir()
    assert not meter.has_news()
    assert meter.look() == {}
    path.write_text(mini_trajectory(1))
    assert meter.has_news()
    first = meter.look()
    assert first == {
        "input_tokens": 5_000, "cached_tokens": 100, "output_tokens": 200, "usd": 0, "turns": 1,
    }  # fmt: skip
    assert not meter.has_news()
    path.write_text(mini_trajectory(2)[:-40])
    assert meter.has_news()
    assert meter.look() == first, "half a file is waited for"
    path.write_text(mini_trajectory(2))
    assert meter.look()["output_tokens"] == 400
    path.unlink()
    path.symlink_to(place[0])
    assert meter.look()["output_tokens"] == 400


def test_who_is_shut_in_is_looked_for_where_its_home_lies_outside(place, tmp_path):
    home, _ = place
    told = AgentFacts(
        id="a",
        env={"HOME": str(home), "CODEX_HOME": str(home / "mine/codex")},
        moved={home: tmp_path / "inside", home / "mine": home / "mine"},
    )
    assert home_of(told, "NONE", ".claude") == tmp_path / "inside/.claude"
    assert home_of(told, "CODEX_HOME", ".codex") == home / "mine/codex", "it may be written there"
    assert home_of(facts("codex", home), "NONE", ".codex") == home / ".codex"


@pytest.mark.parametrize("astray", ["link", "folder", "pipe", "name", "two"])
def test_a_transcript_that_is_none_is_not_read(place, tmp_path, astray):
    home, folder = place
    meter = find_harness("claude").meter(facts("claude", home, "interactive"), folder)
    session = "../../S-1" if astray == "name" else "S-1"
    write(folder / "session/turn.json", {"turn": "working", "at_ms": 1, "session": session})
    real, projects = tmp_path / "else/S-1.jsonl", home / ".claude/projects"
    write(real, said("one", 5, at_ms=1_100_000))
    (projects / "p").mkdir(parents=True)
    match astray:
        case "link":
            (projects / "p/S-1.jsonl").symlink_to(real)
        case "folder":
            (projects / "q").symlink_to(real.parent)
        case "pipe":
            os.mkfifo(projects / "p/S-1.jsonl")
        case "name":
            write(home / ".claude/S-1.jsonl", said("one", 5))
        case "two":
            for name in ("p", "q"):
                write(projects / name / "S-1.jsonl", said("one", 5))
    assert meter.look() == {}


def test_a_look_at_a_file_that_is_behind_is_bounded_and_the_next_goes_on(place):
    home, folder = place
    meter = find_harness("claude").meter(facts("claude", home), folder)
    lines = [said(f"m{number}", 1) for number in range(20_000)]
    write(folder / "stdout.log", *lines)
    assert (folder / "stdout.log").stat().st_size > 2 * LOOK_BYTES
    assert 0 < meter.look()["turns"] < 20_000
    while meter.look()["turns"] < 20_000:
        pass
    assert meter.look()["input_tokens"] == 20_000
