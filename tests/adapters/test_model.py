"""The model on loopback: one command, then sentences, in each dialect; the network around it."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fleet.adapters.model import SENTENCE, LoopbackModel, enclosure

SHELL = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
DIALECTS = {
    "anthropic": ("/v1/messages", {"tools": [{"name": "Bash", "input_schema": SHELL}]}),
    "responses": (
        "/v1/responses",
        {"tools": [{"type": "function", "name": "shell", "parameters": SHELL}]},
    ),
    "chat": (
        "/v1/chat/completions",
        {"tools": [{"type": "function", "function": {"name": "bash", "parameters": SHELL}}]},
    ),
    "gemini": (
        "/v1beta/models/m",
        {"tools": [{"functionDeclarations": [{"name": "run_shell_command", "parameters": SHELL}]}]},
    ),
}


def ask(model: LoopbackModel, path: str, body: object, method: str = "POST") -> tuple[int, str]:
    at = urlsplit(model.url)
    line = http.client.HTTPConnection(at.hostname, at.port, timeout=10)
    try:
        line.request(method, path, json.dumps(body))
        answer = line.getresponse()
        return answer.status, answer.read().decode()
    finally:
        line.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_command_is_called_once_and_then_sentences_are_said(dialect, stream):
    path, tools = DIALECTS[dialect]
    if dialect == "gemini":
        path += ":streamGenerateContent?alt=sse" if stream else ":generateContent"
    with LoopbackModel(command="touch it") as model:
        aside = ask(model, path, {"stream": stream})[1]
        first, second = (ask(model, path, {"stream": stream, **tools})[1] for _ in range(2))
        assert SENTENCE in aside, "what offers no tool is answered with a sentence"
        assert "touch it" in first
        assert SENTENCE in second
        assert "touch it" not in second
        assert model.commanded
        assert model.turns == 3
        assert model.heard("tools")
        assert not model.heard("nonsense")
    if not stream:
        assert json.loads(first)


def test_other_hosts_are_refused_and_remembered():
    with LoopbackModel() as model:
        assert ask(model, "http://fleet.invalid/a", {}, "GET")[0] == 403
        assert ask(model, "there.invalid:443", {}, "CONNECT")[0] == 403
        assert ask(model, "http://fleet.invalid/b", {})[0] == 403
        assert model.refused == ["fleet.invalid", "there.invalid"]
        assert model.turns == 0


def test_nothing_is_heard_after_its_end():
    with ExitStack() as stack:
        with LoopbackModel() as model:
            at = urlsplit(model.url)
            line = stack.enter_context(socket.create_connection((at.hostname, at.port)))
        # An idle connection does not hold it; one that it had not come to yet is reset.
        with suppress(ConnectionResetError):
            assert line.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((at.hostname, at.port))


def test_a_program_in_a_network_of_its_own_reaches_the_model_and_nothing_else(tmp_path: Path):
    if not enclosure.possible():
        pytest.skip("no network of its own is to be had here")
    outside = socket.create_server(("127.0.0.1", 0))
    code = f"""
import socket, urllib.request
print(urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open("{enclosure.URL}/v1/models").status)
try:
    socket.create_connection(("127.0.0.1", {outside.getsockname()[1]}), timeout=5)
except OSError as refused:
    print(type(refused).__name__)
"""
    path = tmp_path / ("deep" * 20) / "gate"  # longer than a socket's address holds
    path.parent.mkdir()
    with enclosure.gate(path) as waiting:
        argv = enclosure.argv(path, [sys.executable, "-c", code])
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as program:
            listener = enclosure.receive(waiting, 30)
            assert listener is not None
            with LoopbackModel(listener=listener) as model:
                assert model.url == enclosure.URL
                said = program.communicate(timeout=30)[0]
    outside.close()
    assert said.split() == ["200", "ConnectionRefusedError"], (
        "the machine's own loopback is another"
    )


def test_what_never_comes_up_is_waited_for_in_vain(tmp_path: Path):
    with enclosure.gate(tmp_path / "gate") as waiting:
        assert enclosure.receive(waiting, 0.05) is None
