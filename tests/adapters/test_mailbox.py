from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.adapters import mailbox
from fleet.adapters.mailbox import Mailbox, Waker
from fleet.errors import Rejected

POSTER = """
import sys
from pathlib import Path
from fleet.adapters.mailbox import Mailbox
box = Mailbox(Path(sys.argv[1]))
box.post({"n": 1}, id="a")
box.delete([mail.id for mail in box.take()])
"""


def test_mail_from_inside_a_sandbox_is_kept_apart(tmp_path):
    outer, inner = Mailbox(tmp_path), Mailbox(tmp_path, inside=True)
    inner.post({"kind": "x"}, id="a")
    assert outer.take() == []
    (mail,) = inner.take()
    assert (mail.id, mail.inside) == ("a", True)
    inner.delete(["a"])
    assert inner.take() == []


def test_folders_that_a_sandbox_has_put_links_for_lead_nowhere(tmp_path):
    """What lies there is neither read as mail, nor moved, nor deleted."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "key").write_text("secret")
    (theirs / "mail.json").write_text('{"id": "m", "command": {}}')
    inner = Mailbox(tmp_path, inside=True)
    inner.post({"kind": "x"}, id="a")
    assert [mail.id for mail in inner.take()] == ["a"]
    for name in ("new", "tmp", "bad"):
        folder = tmp_path / "mailbox-inside" / name
        folder.rename(folder.with_name(f"{name}.old"))
        folder.symlink_to(theirs)
    inner.delete(["a"])
    again = Mailbox(tmp_path, inside=True)
    for box in (inner, again):
        assert box.take() == []
        box.sweep(older_than_s=-1)
    assert sorted(path.name for path in theirs.iterdir()) == ["key", "mail.json"]


def test_what_is_no_mail_is_removed_from_a_sandbox_s_mailbox(tmp_path):
    inner = Mailbox(tmp_path, inside=True)
    new = tmp_path / "mailbox-inside/new"
    (new / "x.json").write_text("no")
    (new / "link").symlink_to("/etc/passwd")
    (new / "folder").mkdir()
    assert inner.take() == []
    assert len(inner.garbage) == 3
    assert [path.name for path in new.iterdir()] == ["folder"]
    inner.garbage.clear()
    assert inner.take() == []
    assert not inner.garbage


def test_mail_is_taken_in_order_and_stays_until_deleted(tmp_path):
    box = Mailbox(tmp_path)
    ids = [box.post({"n": n}, actor="me") for n in range(20)]
    assert [mail.id for mail in box.take(5)] == ids[:5]
    assert [mail.body["command"]["n"] for mail in Mailbox(tmp_path).take()] == list(range(20))
    box.delete([*ids[:5], "unknown"])
    assert [mail.id for mail in box.take()] == ids[5:]
    assert all(mail.path.stat().st_mode & 0o777 == 0o600 for mail in box.take())


def test_an_id_posted_twice_is_taken_once_and_deleted_with_its_twin(tmp_path):
    box = Mailbox(tmp_path)
    box.post({"n": 1}, id="a")
    box.post({"n": 1}, id="a")
    assert [mail.id for mail in box.take()] == ["a"]
    box.delete(["a"])
    assert box.take() == []


def test_garbage_is_set_aside_and_named(tmp_path):
    box = Mailbox(tmp_path)
    new = tmp_path / "mailbox/new"
    (new / "0").write_bytes(b"\xff")
    (new / "1").write_text("[" * 100_000)
    (new / "2").write_text('{"id": "x"}')
    (new / "3").write_text('{"id": "\\ud800", "command": {}}')
    (new / "4").write_text('{"id": "x", "command": {"n": NaN}}')
    (new / "5").symlink_to("/etc/passwd")
    (new / "6").mkdir()
    (new / "8").write_bytes(b" " * (mailbox.MAIL_BYTES + 1))
    os.mkfifo(new / "7")
    good = box.post({})
    assert [mail.id for mail in box.take()] == [good]
    assert [found.path.name for found in box.garbage] == list("012345678")
    assert all(found.why and found.path.parent.name == "bad" for found in box.garbage)


def test_too_long_a_command_is_refused(tmp_path):
    box = Mailbox(tmp_path)
    with pytest.raises(Rejected, match="bytes"):
        box.post({"text": "x" * mailbox.MAIL_BYTES})
    assert box.take() == []
    assert not list((tmp_path / "mailbox/tmp").iterdir())


@pytest.mark.parametrize("point", ["mailbox.after_rename", "mailbox.before_delete"])
def test_a_crash_leaves_the_mail_to_be_taken(tmp_path, point):
    source = str(Path(mailbox.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": source, "FLEET_CRASH_AT": point}
    argv = [sys.executable, "-c", POSTER, str(tmp_path)]
    assert subprocess.run(argv, env=environment, check=False).returncode == -signal.SIGKILL
    assert [mail.id for mail in Mailbox(tmp_path).take()] == ["a"]


def test_a_poke_wakes_once(tmp_path):
    waker = Waker(tmp_path)
    assert not waker.drain()
    Mailbox(tmp_path).post({})
    assert waker.drain()
    assert not waker.drain()
    waker.close()


def test_no_poke_blocks_without_a_listener(tmp_path):
    assert not Waker.poke(tmp_path)
    (tmp_path / "wake").write_text("no fifo")
    assert not Waker.poke(tmp_path)
    waker = Waker(tmp_path)
    waker.close()
    assert not Waker.poke(tmp_path)
    script = f'[ -p "{tmp_path}/wake" ] && echo 1<>"{tmp_path}/wake"'
    subprocess.run(["sh", "-c", script], check=True, timeout=20)


def test_ten_thousand_pokes_that_nobody_drains_do_not_block(tmp_path):
    waker = Waker(tmp_path)
    for _ in range(10_000):
        assert Waker.poke(tmp_path)
    os.write(os.open(tmp_path / "wake", os.O_RDWR | os.O_NONBLOCK), b"x" * 60_000)
    assert Waker.poke(tmp_path)
    script = f'i=0; while [ $i -lt 3000 ]; do echo 1<>"{tmp_path}/wake"; i=$((i+1)); done'
    subprocess.run(["sh", "-c", script], check=True, timeout=20)
    assert waker.drain()
    waker.close()
