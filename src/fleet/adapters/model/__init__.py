"""A model on loopback that answers whatever an agent program asks it: one command, then one
sentence, for ever. Nothing is thought and nothing leaves the machine.

    with LoopbackModel(command="touch a") as model:
        ... a program whose base URL is model.url ...
        model.turns, model.heard("words"), model.refused

Law: the standard library only; alive inside the `with` and no longer. The same port plays the
proxy for whatever a program wants of other hosts: it refuses them, and remembers their names.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Final, Self
from urllib.parse import urlsplit

from fleet.adapters.model.calls import Answer, Call, NoTool, Tool, Usage, translate
from fleet.adapters.model.wire import Events, Wire, beside, find_wire

__all__ = ["LoopbackModel"]

SENTENCE: Final = "This is a sentence."
POLL_S: Final = 0.05
BODY_BYTES: Final = 16 << 20
HOSTS: Final = 20
"""Names of other hosts that are remembered; a program may try for ever."""

_HOST = re.compile(r"[A-Za-z0-9.:_\[\]-]{1,255}")


class LoopbackModel:
    """The model; `command` is what it has the program run first, once it offers a tool for that.

    It listens on a port of the kernel's choice on 127.0.0.1, or on a `listener` that is handed to
    it.
    """

    def __init__(self, *, command: str = "", listener: socket.socket | None = None) -> None:
        self.turns = 0
        """Requests that were answered with a sentence or the command."""
        self.commanded = False
        self.refused: list[str] = []
        """Other hosts that were asked for, in their order, each once."""
        self._command = command
        self._said: list[bytes] = []
        self._lock = threading.Lock()
        self._server = _Server(self, listener or socket.create_server(("127.0.0.1", 0)))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_S,))

    @property
    def url(self) -> str:
        """The base URL, without `/v1`."""
        return f"http://127.0.0.1:{self._server.socket.getsockname()[1]}"

    def heard(self, words: str) -> bool:
        """Returns whether a program has told the model these words (plain ASCII, no quotes)."""
        return any(words.encode() in body for body in self._said)

    def answer(self, tools: list[Tool], model: str) -> Answer:
        """Returns what is said to a request that offers these tools."""
        with self._lock:
            self.turns += 1
            number, calls = self.turns, []
            if self._command and not self.commanded:
                with contextlib.suppress(NoTool):
                    calls = [translate(Call("run_command", {"command": self._command}), tools)]
                    self.commanded = True
        return Answer(f"{number:04}", model, "" if calls else SENTENCE, calls, Usage())

    def hear(self, body: bytes) -> None:
        """Remembers what a program told the model."""
        self._said.append(body)

    def refuse(self, host: str) -> None:
        """Remembers another host that was asked for."""
        with self._lock:
            if _HOST.fullmatch(host) and host not in self.refused and len(self.refused) < HOSTS:
                self.refused.append(host)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        for connection in list(self._server.live):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()


class _Server(ThreadingTCPServer):
    daemon_threads = False  # joined at the end: nothing outlives the `with`

    def __init__(self, model: LoopbackModel, listener: socket.socket) -> None:
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.model = model
        self.live: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers in a thread of its own; known before that, so that the end finds it."""
        self.live.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Closes what has been answered."""
        self.live.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a program that went away in the middle."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        """Writes no log."""

    def do_CONNECT(self) -> None:
        self._refuse(self.path.rpartition(":")[0])

    def do_HEAD(self) -> None:
        self._send(200, b"", "application/json")

    def do_GET(self) -> None:
        self._reply(b"")

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length") or 0), BODY_BYTES)
        self._reply(self.rfile.read(length))

    def _reply(self, raw: bytes) -> None:
        if not self.path.startswith("/"):  # as one asks a proxy
            self._refuse(urlsplit(self.path).hostname or "")
            return
        wire = find_wire(self.path)
        if wire is None or self.command != "POST":
            status, told = beside(self.path)
            self._json(status, told)
            return
        try:
            asked = json.loads(raw)
        except ValueError:
            self._json(400, wire.error(400, "", "this is no JSON", {}))
            return
        self.server.model.hear(raw)
        self._say(wire, asked if isinstance(asked, dict) else {})

    def _say(self, wire: Wire, asked: dict[str, Any]) -> None:
        model = str(asked.get("model") or "loopback")
        answer = self.server.model.answer(wire.tools(asked), model)
        if wire.streams(asked, self.path):
            self._send(200, _events(wire.stream(answer)), "text/event-stream")
        else:
            self._json(200, wire.whole(answer))

    def _refuse(self, host: str) -> None:
        self.server.model.refuse(host)
        self._json(403, {"error": {"message": "nothing but loopback is reached from here"}})

    def _json(self, status: int, told: Any) -> None:
        self._send(status, json.dumps(told).encode(), "application/json")

    def _send(self, status: int, raw: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(raw)
        self.close_connection = True


def _events(told: Events) -> bytes:
    """Returns events as they stand in a stream; it is short enough to be sent at once."""
    parts = []
    for name, one in told:
        head = f"event: {name}\n" if name else ""
        text = one if isinstance(one, str) else json.dumps(one)
        parts.append(f"{head}data: {text}\n\n")
    return "".join(parts).encode()
