"""What programs have used so far, read from what they write: once each, bounded, never astray."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

import pytest

from fleet.harnesses import AgentFacts, find_harness
from fleet.harnesses.meters import LOOK_BYTES

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
