"""The way out of a sandbox, asked as programs ask a proxy, over real sockets on this machine."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from fleet.adapters.warden.outlet import NOTES, Notes, Outlet, public

CONNECT = "CONNECT {} HTTP/1.1\r\nHost: {}\r\n\r\n"


class Server:
    """Answers each connection with what it was told, after a line; keeps what it heard."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.heard: list[bytes] = []
        self.socket = socket.create_server((host, 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                caller = self.socket.accept()[0]
            except OSError:
                return
            with caller:
                self.heard.append(caller.recv(65_536))
                caller.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.socket.close()


@pytest.fixture
def ask(tmp_path):
    """Returns what asks a proxy, for which some places are declared, and returns its answer."""

    def made(request: str | bytes, *declared: str) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        outlet = Outlet(frozenset(declared), Notes(str(tmp_path / "refused.jsonl")))
        threading.Thread(target=outlet.serve, args=(listener, None), daemon=True).start()
        with socket.create_connection(listener.getsockname(), 20) as caller:
            caller.sendall(request.encode("latin-1") if isinstance(request, str) else request)
            caller.settimeout(20)
            answer = b""
            while more := caller.recv(65_536):
                answer += more
                if b"200 Connection" in answer and b"hello" not in answer:
                    caller.sendall(b"through the tunnel")
        return answer.decode("latin-1")

    return made


def test_what_is_declared_is_connected_and_carried(ask, server):
    place = f"127.0.0.1:{server.port}"
    answer = ask(CONNECT.format(place, place), place)
    assert answer.startswith("HTTP/1.1 200 ")
    assert answer.endswith("hello")
    assert server.heard == [b"through the tunnel"]


def test_what_is_sent_with_the_request_is_not_lost(ask, server):
    place = f"127.0.0.1:{server.port}"
    ask(CONNECT.format(place, place) + "early", place)
    assert server.heard[0].startswith(b"early")


def test_a_plain_request_goes_to_the_host_that_was_looked_at(ask, server):
    """Whatever else it says it is for; and alone, so that what follows is looked at again."""
    place = f"127.0.0.1:{server.port}"
    head = (
        f"GET http://{place}/a?b HTTP/1.1\r\nHost: elsewhere.example\r\nX: y\r\n"
        "Proxy-Authorization: z\r\nConnection: keep-alive\r\n\r\n"
    )
    assert ask(head, place).endswith("hello")
    (heard,) = server.heard
    assert (
        heard == f"GET /a?b HTTP/1.1\r\nHost: {place}\r\nX: y\r\nConnection: close\r\n\r\n".encode()
    )


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1:{other}",
        "127.0.0.2:{port}",
        "127.1:{port}",
        "2130706433:{port}",
        "0x7f000001:{port}",
        "[::ffff:127.0.0.1]:{port}",
        "localhost:{port}",
        "example.org:443",
        "other.example.net:{port}",
        "example.com:{port}",
        "example.com.evil.test:{port}",
        "evilexample.com:{port}",
    ],
)
def test_all_else_is_refused_and_noted(ask, server, tmp_path, name):
    place = name.format(port=server.port, other=server.port + 1 if server.port < 65_535 else 1)
    answer = ask(
        CONNECT.format(place, place), f"127.0.0.1:{server.port}", f"*.example.com:{server.port}"
    )
    assert answer.startswith("HTTP/1.1 403 ")
    assert "is not in the `network` of this agent's sandbox" in answer
    (note,) = map(json.loads, (tmp_path / "refused.jsonl").read_text().splitlines())
    assert note["why"] == "not declared"
    assert server.heard == []


@pytest.mark.parametrize(
    "request_",
    [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET https://localhost/ HTTP/1.1\r\n\r\n",
        "GET http://user@localhost:1/ HTTP/1.1\r\n\r\n",
        "CONNECT localhost HTTP/1.1\r\n\r\n",
        "CONNECT localhost:0 HTTP/1.1\r\n\r\n",
        "CONNECT localhost:99999 HTTP/1.1\r\n\r\n",
        "CONNECT local\x00host:1 HTTP/1.1\r\n\r\n",
        "nonsense\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
        "GET " + "x" * 70_000,
    ],
)
def test_what_is_no_request_is_answered_so(ask, request_):
    assert ask(request_, "localhost:1").startswith("HTTP/1.1 400 ")


def lead(monkeypatch, **names: str) -> None:
    """Has names lead to addresses, as a name server of others might."""

    def found(host, port, *_words, **_told):
        address = names.get(host.replace(".", "_"), host)
        if not address:
            raise socket.gaierror("no such name")
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 0, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "0.0.0.0"]
)
def test_a_declared_name_that_leads_into_a_private_network_is_refused(
    ask, server, tmp_path, monkeypatch, address
):
    lead(monkeypatch, api_example_org=address)
    place = f"api.example.org:{server.port}"
    answer = ask(CONNECT.format(place, place), place)
    assert answer.startswith("HTTP/1.1 403 ")
    assert "which is not public; declare" in answer
    assert "not public" in (tmp_path / "refused.jsonl").read_text()
    assert server.heard == []


def test_it_is_reached_when_its_address_is_declared_too(ask, server, monkeypatch):
    lead(monkeypatch, api_example_org="127.0.0.1", a_b_example_org="127.0.0.1")
    declared = [f"{one}:{server.port}" for one in ("*.example.org", "127.0.0.1")]
    for name in ("api.example.org", "API.example.org.", "a.b.example.org"):
        place = f"{name}:{server.port}"
        assert ask(CONNECT.format(place, place), *declared).endswith("hello")


def test_a_name_that_is_not_found_and_a_port_where_nobody_listens_are_told(ask, monkeypatch):
    lead(monkeypatch, api_example_org="")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        place = f"127.0.0.1:{port}"
        assert ask(CONNECT.format(place, place), place).startswith("HTTP/1.1 502 ")
    place = "api.example.org:443"
    assert ask(CONNECT.format(place, place), place).startswith("HTTP/1.1 502 ")


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("64:ff9b::93.184.216.34", True),
        ("64:ff9b::127.0.0.1", False),
        ("64:ff9b:1::1", False),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::ffff:127.0.0.1", False),
        ("fe80::1%lo", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("2002:7f00:1::1", False),
        ("ff02::1", False),
    ],
)
def test_an_address_is_public_only_if_it_stands_for_no_other(address, wanted):
    assert public(address) is wanted


def test_refusals_are_kept_once_each_and_not_without_end(tmp_path):
    notes = Notes(str(tmp_path / "refused.jsonl"))
    for _ in range(2):
        for number in range(3 * NOTES):
            notes.add("x\x1b[2J" * 200, number, "not declared")
    lines = (tmp_path / "refused.jsonl").read_text().splitlines()
    assert len(lines) == NOTES + 1
    assert "\x1b" not in lines[0]
    assert len(lines[0]) < 2_000
    assert json.loads(lines[-1]) == {"more": True}
