from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest

from fleet.adapters import ports as ports_module
from fleet.adapters.ports import Ports, is_free, is_open, listener
from fleet.errors import Rejected


@pytest.fixture
def listening():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("told", ["by netlink", "by its tables"])
def test_what_is_listened_on_is_told_without_what_is_only_connected(
    listening, free, monkeypatch, told
):
    if told == "by its tables":

        def refuse(family):
            raise OSError(family)

        monkeypatch.setattr(ports_module, "_diagnosed", refuse)
    with (
        socket.create_connection(("127.0.0.1", listening)) as client,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as other,
    ):
        found = ports_module.listening()
        assert {listening, other.getsockname()[1]} <= found
        assert {client.getsockname()[1], free} & found == set()


def test_a_task_keeps_its_port_until_it_is_released(tmp_path, free):
    ports = Ports(tmp_path, free, free + 50)
    first = ports.reserve("a")
    assert ports.reserve("b") != first
    assert Ports(tmp_path, free, free + 50).reserve("a") == first
    assert ports.reserve("a", first) == first
    assert ports.release("a") == first
    assert ports.release("a") is None
    assert ports.reserve("c") == first
    assert ports.reserved().keys() == {"b", "c"}


def test_a_port_in_use_is_refused_with_who_uses_it(tmp_path, listening):
    with pytest.raises(
        Rejected, match=rf"port {listening} of a is in use by pid {os.getpid()}: .*python"
    ):
        Ports(tmp_path).reserve("a", listening)
    assert Ports(tmp_path).reserved() == {}
    assert is_open(listening)
    assert not is_free(listening)
    assert listener(listening)[0] == os.getpid()


def test_a_port_in_use_is_not_allocated(tmp_path, listening):
    with pytest.raises(Rejected, match="no port from"):
        Ports(tmp_path, listening, listening).reserve("a")


def test_two_tasks_never_share_a_port(tmp_path, free):
    ports = Ports(tmp_path)
    assert ports.reserve("a", free) == free
    with pytest.raises(Rejected, match="is reserved for a"):
        ports.reserve("b", free)
    with pytest.raises(Rejected, match="is no port"):
        ports.reserve("b", 70_000)


def test_many_at_once_get_different_ports(tmp_path, free):
    got = []
    low = min(free, 65_000)

    def ask(n):
        got.append(Ports(tmp_path, low, low + 400).reserve(f"t{n}"))

    script = (
        "from pathlib import Path; from fleet.adapters.ports import Ports;"
        f"ports = Ports(Path({str(tmp_path)!r}), {low}, {low + 400});"
        "[ports.reserve(f'p{n}') for n in range(20)]"
    )
    other = subprocess.Popen([sys.executable, "-c", script])
    threads = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.wait() == 0
    held = Ports(tmp_path).reserved()
    assert len(held) == len(set(held.values())) == 40
    assert len(set(got)) == 20


def test_nobody_listens_on_a_free_port(free):
    assert not is_open(free)
    assert is_free(free)
    assert listener(free) is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": "x"}'])
def test_a_spoiled_file_reads_as_no_reservations(tmp_path, text, free):
    (tmp_path / "ports.json").write_text(text)
    assert Ports(tmp_path).reserved() == {}
    assert Ports(tmp_path).reserve("a", free) == free
