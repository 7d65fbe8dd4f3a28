"""The scripted model by itself: each protocol plays, streams, fails and records."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from urllib.parse import urlsplit

import pytest

from fleet.adapters.model.calls import Call, Tool, translate
from support.model_server import ModelServer, Turn

FILE = {"type": "object", "properties": {"file_path": {"type": "string"}, "content": {}},
        "required": ["file_path", "content"]}  # fmt: skip
SHELL = {"type": "object", "properties": {"command": {"type": "string"}, "why": {"type": "string"}},
         "required": ["command", "why"]}  # fmt: skip
DIALECTS = {
    "anthropic": ("/v1/messages", lambda stream: {
        "model": "m", "stream": stream, "messages": [{"role": "user", "content": "hello there"}],
        "tools": [{"name": "Write", "input_schema": FILE}, {"name": "Bash", "input_schema": SHELL}],
    }),
    "responses": ("/v1/responses", lambda stream: {
        "model": "m", "stream": stream, "input": "hello there",
        "tools": [{"type": "function", "name": "write", "parameters": FILE},
                  {"type": "function", "name": "shell", "parameters": SHELL}],
    }),
    "chat": ("/v1/chat/completions", lambda stream: {
        "model": "m", "stream": stream, "messages": [{"role": "user", "content": "hello there"}],
        "tools": [{"type": "function", "function": {"name": "write", "parameters": FILE}},
                  {"type": "function", "function": {"name": "bash", "parameters": SHELL}}],
    }),
    "gemini": ("/v1beta/models/m", lambda stream: {
        "contents": [{"role": "user", "parts": [{"text": "hello there"}]}],
        "tools": [{"functionDeclarations": [
            {"name": "write_file", "parametersJsonSchema": FILE},
            {"name": "run_shell_command", "parameters": SHELL}]}],
    }),
}  # fmt: skip


def ask(script, dialect, *, stream=False, toolless=False):
    """Returns (status, headers, body) of one request in a dialect."""
    path, body = DIALECTS[dialect]
    if dialect == "gemini":
        path += ":streamGenerateContent?alt=sse" if stream else ":generateContent"
    told = body(stream)
    if toolless:
        told.pop("tools")
    at = urlsplit(script.url)
    line = http.client.HTTPConnection(at.hostname, at.port, timeout=10)
    try:
        line.request("POST", at.path + path, json.dumps(told), {"X-Told": "yes"})
        answer = line.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        line.close()


@pytest.fixture
def server():
    with ModelServer() as made:
        yield made


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_script_of_text_and_calls_is_played_in_each_dialect(server, dialect, stream):
    turns = [Turn.write("{cwd}/a.txt", "hi"), Turn.run("git add ."), Turn("All done.")]
    script = server.play("ada", turns, cwd="/there")
    first, second, third = (ask(script, dialect, stream=stream)[2] for _ in turns)
    plain = first.replace("\\", "")
    assert '"/there/a.txt"' in plain
    assert '"content": "hi"' in plain
    assert '"git add ."' in second.replace("\\", "")
    assert "why" in second
    assert "All done." in third
    if stream:
        assert all(line.startswith(("data: ", "event: ")) for line in third.split("\n") if line)
    else:
        assert isinstance(json.loads(third), dict)
    assert [one.turn for one in script.requests] == [0, 1, 2]
    assert "hello there" in script.asked(1)
    assert script.requests[0].headers["x-told"] == "yes"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", [401, 429, 500, 529])
def test_an_error_for_good_is_told_with_its_headers_again_and_again(server, dialect, status):
    turn = Turn("no more", status=status, headers={"Retry-After": "7"}, detail={"resets_at": 9},
                for_good=True)  # fmt: skip
    script = server.play("ada", [turn])
    for _ in range(2):
        code, headers, body = ask(script, dialect, stream=True)
        error = json.loads(body)["error"]
        assert (code, headers["Retry-After"]) == (status, "7")
        assert (error["message"], error["resets_at"]) == ("no more", 9)
    assert [one.turn for one in script.requests] == [0, 0]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_broken_answer_is_seen_to_be_broken(server, dialect, stream):
    script = server.play("ada", [Turn("long words", fault="cut"), Turn("x", fault="malformed")])
    with pytest.raises(http.client.IncompleteRead):
        ask(script, dialect, stream=stream)
    body = ask(script, dialect, stream=stream)[2]
    assert "nonsense" in body
    with pytest.raises(ValueError):
        json.loads(body.rpartition("data: ")[2])


def test_a_hanging_model_says_nothing_until_the_program_leaves(server):
    script = server.play("ada", [Turn(fault="hang"), Turn("back")])
    at = urlsplit(script.url)
    with socket.create_connection((at.hostname, at.port)) as line:
        body = json.dumps(DIALECTS["chat"][1](False)).encode()
        line.sendall(b"POST /ada/v1/chat/completions HTTP/1.1\r\nHost: x\r\n")
        line.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        line.settimeout(0.2)
        with pytest.raises(TimeoutError):
            line.recv(1)
    assert "back" in ask(script, "chat")[2]


def test_the_end_of_the_server_ends_what_hangs_and_what_never_asked():
    with ModelServer() as server:
        script = server.play("ada", [Turn(fault="hang")])
        failed = []

        def wait():
            try:
                ask(script, "chat")
            except (OSError, http.client.HTTPException) as gone:
                failed.append(gone)

        waiting = threading.Thread(target=wait)
        waiting.start()
        idle = socket.create_connection(("127.0.0.1", urlsplit(server.url).port))
        while not script.requests:
            waiting.join(0.01)
    waiting.join(10)
    idle.close()
    assert failed


def test_an_aside_uses_up_no_turn_unless_the_program_has_no_tools(server):
    script = server.play("ada", [Turn("the turn")])
    assert "the turn" not in ask(script, "chat", toolless=True)[2]
    assert "the turn" in ask(script, "chat")[2]
    bare = server.play("bob", [Turn("the turn")], toolless=True)
    assert "the turn" in ask(bare, "chat", toolless=True)[2]
    assert [one.turn for one in script.requests] == [None, 0]


@pytest.mark.parametrize(
    "turns", [[], [Turn.write("{cwd}/a", "x")], [Turn.run("ls")]], ids=["end", "cwd", "tool"]
)
def test_what_a_script_cannot_answer_is_a_problem(turns):
    with pytest.raises(AssertionError, match="ada"), ModelServer() as server:  # noqa: PT012
        script = server.play("ada", turns)
        path, body = DIALECTS["chat"]
        at = urlsplit(script.url)
        line = http.client.HTTPConnection(at.hostname, at.port, timeout=10)
        told = {**body(False), "tools": [{"type": "function", "function": {"name": "dance"}}]}
        line.request("POST", at.path + path, json.dumps(told))
        line.getresponse().read()
        line.close()


def test_a_program_without_a_tool_for_files_writes_by_its_shell():
    schema = {"properties": {"command": {"type": "array"}}, "required": ["command"]}
    call = Call("write_file", {"path": "a b", "text": "it's"})
    name, told = translate(call, [Tool("shell", schema), Tool("apply_patch", free=True)])
    assert (name, told["command"][:2]) == ("shell", ["sh", "-c"])
    assert told["command"][2] == """printf %s 'it'"'"'s' > 'a b'"""
