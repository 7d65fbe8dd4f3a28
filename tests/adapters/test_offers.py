"""Offers: of many who take one gets it, a lease ends by the clock, a result counts once."""

from __future__ import annotations

import json
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from fleet.adapters import offers
from fleet.adapters.offers import Offer, handed
from fleet.errors import Rejected


@pytest.fixture
def offer(tmp_path):
    return Offer(tmp_path / "attempts" / "1")


@pytest.fixture
def clock(monkeypatch):
    """The clock of this boot, as the test sets it."""
    now = [1_000.0]
    monkeypatch.setattr(offers.time, "monotonic", lambda: now[0])
    return now


def test_of_many_who_take_at_once_one_gets_it(offer, monkeypatch):
    together, real = Barrier(16), offers.secrets.token_hex

    def slow(size):  # between the look and the write, where another could come
        time.sleep(0.02)
        return real(size)

    monkeypatch.setattr(offers.secrets, "token_hex", slow)

    def take(number):
        together.wait()
        return Offer(offer.folder).take(f"client {number}", 60)

    with ThreadPoolExecutor(16) as pool:
        got = [lease for lease in pool.map(take, range(16)) if lease is not None]

    assert len(got) == 1
    assert offer.lease() == got[0]
    assert stat.S_IMODE((offer.folder / "lease").stat().st_mode) == 0o600


def test_a_lease_ends_by_the_clock_and_goes_to_another(offer, clock):
    first = offer.take("ada", 10)
    assert offer.take("bob", 10) is None
    clock[0] += 9
    first = offer.renew(first.key, 10)
    clock[0] += 9.5
    assert offer.lease().holder == "ada"
    clock[0] += 0.5

    with pytest.raises(Rejected, match="its time was over"):
        offer.hand_in(first.key, {"output": "late"})
    second = offer.take("bob", 10)
    with pytest.raises(Rejected, match="bob has the step now"):
        offer.hand_in(first.key, {"output": "late"})
    offer.hand_in(second.key, {"output": "in time"})

    assert handed(offer.folder) == {"output": "in time"}


def test_a_result_counts_once_and_ends_the_offer(offer):
    lease = offer.take("ada", 60)
    offer.hand_in(lease.key, {"output": "one"})

    with pytest.raises(Rejected, match="handed in already"):
        offer.hand_in(lease.key, {"output": "two"})
    assert offer.take("bob", 60) is None
    assert handed(offer.folder) == {"output": "one"}


def test_what_is_given_back_is_had_by_the_next(offer):
    lease = offer.take("ada", 60)
    with pytest.raises(Rejected, match="ada has the step now"):
        offer.give_back("guessed")
    offer.give_back(lease.key)

    assert offer.lease() is None
    assert offer.take("bob", 60) is not None
    with pytest.raises(Rejected, match="bob has the step now"):
        offer.give_back(lease.key)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": "k"}', '{"key": 1, "until_s": "x"}'])
def test_a_damaged_lease_is_nobodys(offer, text):
    offer.folder.mkdir(parents=True)
    (offer.folder / "lease").write_text(text)

    assert offer.take("ada", 60) is not None


def test_a_lease_of_another_boot_is_nobodys(offer):
    lease = offer.take("ada", 60)
    told = json.loads((offer.folder / "lease").read_text())
    (offer.folder / "lease").write_text(json.dumps({**told, "boot": "another"}))

    with pytest.raises(Rejected, match="the lease has gone"):
        offer.renew(lease.key, 60)
    assert offer.take("bob", 60) is not None


def test_who_waits_is_woken(offer):
    lease = offer.take("ada", 60)
    os.mkfifo(offer.folder / "handed")
    waits = os.open(offer.folder / "handed", os.O_RDWR | os.O_NONBLOCK)

    offer.hand_in(lease.key, {"output": "x"})

    assert os.read(waits, 8) == b"\n"
    os.close(waits)
