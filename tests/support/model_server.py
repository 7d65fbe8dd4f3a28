"""A model that replies from a script, on loopback: what real agent programs are tested against.

    with ModelServer() as server:
        model = server.play("ada", [Turn.write("a", "hi"), Turn.run("git add ."), Turn("Done.")])
        ... a program whose base URL is model.url ...
        assert model.asked(0) mentions the brief

The first part of a request's path names its script, so that one server plays to many agents. Turns
are played in their order; one that is `for_good` is played again for ever. A request that offers no
tools is a program's aside (titles, summaries): it is answered, and uses up no turn unless the
script is `toolless`. Everything that is asked is recorded. What a script cannot answer is a
problem, and leaving the `with` raises it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

from fleet.adapters.model.calls import Answer, Call, NoTool, Usage, translate
from fleet.adapters.model.wire import Wire, beside, find_wire

CODEX_CONFIG = """\
model = "scripted"
check_for_update_on_startup = false
model_provider = "scripted"
[analytics]
enabled = false
[feedback]
enabled = false
[features]
plugins = false
apps = false
remote_plugin = false
[model_providers.scripted]
name = "scripted"
base_url = "{url}/v1"
env_key = "SCRIPTED_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1
[projects."{root}"]
trust_level = "trusted"
"""
"""What points codex at a script's `url`, and has it trust the repository at `root`."""

Fault = Literal["", "hang", "cut", "malformed"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer: what is said and called; or an error status with its headers; or a fault.

    `pause_s` passes before each event of a stream (or before the whole). `hang` says nothing until
    the program goes away, `cut` ends half way, `malformed` is no JSON. `detail` joins the error.
    """

    text: str = ""
    calls: Sequence[Call] = ()
    status: int = 200
    kind: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
    pause_s: float = 0.0
    fault: Fault = ""
    for_good: bool = False
    usage: Usage = field(default_factory=Usage)

    @classmethod
    def write(cls, path: str, text: str) -> Turn:
        """Returns a turn that has the program write a file."""
        return cls(calls=(Call("write_file", {"path": path, "text": text}),))

    @classmethod
    def run(cls, command: str) -> Turn:
        """Returns a turn that has the program run a shell command."""
        return cls(calls=(Call("run_command", {"command": command}),))


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came; `turn` is the number of the turn that answered it, None for asides."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    turn: int | None

    @property
    def text(self) -> str:
        """All strings of the body, one a line: what the model was told, in any protocol."""
        return "\n".join(_strings(self.body))


class Script:
    """One agent's turns, and all that was asked of it; `cwd` is what `{cwd}` stands for."""

    def __init__(self, url: str, turns: Sequence[Turn], cwd: str | None, *, toolless: bool) -> None:
        self.url, self.cwd, self.toolless = url, cwd, toolless
        self.turns = list(turns)
        self.requests: list[Asked] = []
        self._played = 0
        self._lock = threading.Lock()

    @property
    def played(self) -> list[Asked]:
        """The requests that were answered by a turn, in their order."""
        return [one for one in self.requests if one.turn is not None]

    def asked(self, number: int) -> str:
        """Returns all text of the request that turn `number` (from 0) answered."""
        return next(one.text for one in self.requests if one.turn == number)

    def take(self, request: Asked, *, aside: bool) -> tuple[int, Turn] | None:
        """Records the request and returns the turn that answers it; None when there is none."""
        with self._lock:
            number = self._played
            if aside or number >= len(self.turns):
                self.requests.append(request)
                return None
            self.requests.append(replace(request, turn=number))
            self._played += not self.turns[number].for_good
            return number, self.turns[number]


class ModelServer:
    """The server; a port of the kernel's choice on 127.0.0.1."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.problems: list[str] = []
        self._gone, self._going = os.pipe()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """The address without a script's name."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def play(
        self, name: str, turns: Sequence[Turn], *, cwd: object = None, toolless: bool = False
    ) -> Script:
        """Gives agent `name` a script; returns it, with the base URL (without `/v1`) to be used."""
        place = None if cwd is None else str(cwd)
        self.scripts[name] = Script(f"{self.url}/{name}", turns, place, toolless=toolless)
        return self.scripts[name]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        os.write(self._going, b"x")
        self._http.shutdown()
        for connection in list(self._http.live):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._http.server_close()
        for end in (self._gone, self._going):
            os.close(end)
        if kind is None and self.problems:
            raise AssertionError("; ".join(self.problems))

    def wait(self, pause_s: float) -> None:
        """Returns after `pause_s`, or when the server ends."""
        if pause_s:
            select.select([self._gone], [], [], pause_s)

    def wait_until_left(self, connection: Any) -> None:
        """Returns when the program has closed its connection, or the server ends."""
        while True:
            ready, _, _ = select.select([connection, self._gone], [], [])
            if self._gone in ready:
                return
            with contextlib.suppress(OSError):
                if connection.recv(65_536):
                    continue
            return


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # joined at the end: nothing outlives the test
    owner: ModelServer

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.live: set[socket.socket] = set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a program that went away in the middle."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.live.add(self.connection)

    def finish(self) -> None:
        self.server.live.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        """Writes no log: everything is recorded."""

    def do_HEAD(self) -> None:
        self._send(200, b"", {})

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        owner, request = self.server.owner, self._read()
        script = owner.scripts.get(request.path.split("/")[1])
        if script is None:
            owner.problems.append(f"nobody plays to {request.method} {request.path}")
            self._json(404, {"error": {"message": "no such script"}})
            return
        wire = find_wire(request.path)
        if wire is None or request.method != "POST":
            script.take(request, aside=True)
            self._json(*beside(request.path))
            return
        aside = not script.toolless and not wire.tools(request.body)
        taken = script.take(request, aside=aside)
        if taken is None and not aside:
            owner.problems.append(f"{script.url}: asked once more than the script has turns")
        number, turn = taken or (len(script.requests), Turn("ok" if aside else "The end."))
        self._answer(script, wire, request, number, turn)

    def _read(self) -> Asked:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        try:
            body = json.loads(raw or b"{}")
        except ValueError:
            body = {"raw": raw.decode("utf-8", "replace")}
        told = {name.lower(): value for name, value in self.headers.items()}
        return Asked(self.command, self.path, told, body, None)

    def _answer(self, script: Script, wire: Wire, asked: Asked, number: int, turn: Turn) -> None:
        if turn.fault == "hang":
            self.server.owner.wait_until_left(self.connection)
            self.close_connection = True
            return
        if turn.status != 200:
            told = wire.error(turn.status, turn.kind, turn.text, turn.detail)
            self._json(turn.status, told, turn.headers)
            return
        try:
            calls = [
                translate(_placed(call, script.cwd), wire.tools(asked.body)) for call in turn.calls
            ]
        except (NoTool, ValueError) as problem:
            self.server.owner.problems.append(f"{script.url}: turn {number}: {problem}")
            self._json(400, wire.error(400, "", str(problem), {}))
            return
        model = str(asked.body.get("model") or "scripted")
        answer = Answer(f"{number:04}", model, turn.text, calls, turn.usage)
        if wire.streams(asked.body, asked.path):
            self._stream(wire.stream(answer), turn)
            return
        self.server.owner.wait(turn.pause_s)
        raw = json.dumps(wire.whole(answer)).encode()
        if turn.fault == "malformed":
            raw = b'{"id": nonsense'
        self._send(
            200, raw, {"Content-Type": "application/json", **turn.headers}, cut=turn.fault == "cut"
        )

    def _stream(self, events: Sequence[tuple[str, Any]], turn: Turn) -> None:
        self.send_response(200)
        for name, value in {
            **turn.headers,
            "Content-Type": "text/event-stream",
            "Transfer-Encoding": "chunked",
            "Connection": "close",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if turn.fault == "malformed":
            events = [(events[0][0], "{nonsense")]
        if turn.fault == "cut":
            events = events[: (len(events) + 1) // 2]
        for name, told in events:
            self.server.owner.wait(turn.pause_s)
            text = told if isinstance(told, str) else json.dumps(told)
            head = f"event: {name}\n" if name else ""
            chunk = f"{head}data: {text}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        if turn.fault != "cut":
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def _json(self, status: int, told: Any, headers: Mapping[str, str] | None = None) -> None:
        self._send(
            status,
            json.dumps(told).encode(),
            {"Content-Type": "application/json", **(headers or {})},
        )

    def _send(
        self, status: int, raw: bytes, headers: Mapping[str, str], *, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in {
            **headers,
            "Content-Length": str(len(raw)),
            "Connection": "close",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw[: len(raw) // 2] if cut else raw)
        self.close_connection = True


def _placed(call: Call, cwd: str | None) -> Call:
    told = dict(call.arguments)
    if cwd is None and any("{cwd}" in text for text in told.values()):
        raise ValueError("the script says {cwd}, and the test has not said where that is")
    return Call(call.tool, {name: text.replace("{cwd}", cwd or "") for name, text in told.items()})


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, Sequence):
        for one in value:
            yield from _strings(one)
