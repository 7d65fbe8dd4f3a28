from __future__ import annotations

import json
import logging

from fleet.adapters.log import Bridge, Log


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_carry_what_was_bound_and_obey_the_level(tmp_path):
    log = Log(tmp_path / "logs/c.jsonl", "info")
    log.debug("unseen")
    log.bind(run="r", step="s", attempt=1, correlation="c").info("started", pid=7)
    (line,) = lines(tmp_path / "logs/c.jsonl")
    assert line.pop("at").endswith("Z")
    told = {"run": "r", "step": "s", "attempt": 1, "correlation": "c", "pid": 7}
    assert line == {"level": "info", "text": "started", **told}
    assert (tmp_path / "logs/c.jsonl").stat().st_mode & 0o777 == 0o600


def test_secrets_are_masked_however_json_writes_them(tmp_path):
    log = Log(tmp_path / "c", secrets=['pa"ss\\word'])
    log.mask(["token-1234"])
    log.bind(env={"A": "xtoken-1234x"}).error('got pa"ss\\word')
    text = (tmp_path / "c").read_text()
    assert "token-1234" not in text
    assert "word" not in text
    assert lines(tmp_path / "c")[0]["text"] == "got ***"


def test_the_log_turns_over_by_size_and_keeps_so_many(tmp_path):
    log = Log(tmp_path / "c", max_bytes=400, kept=2)
    for n in range(40):
        log.info("line", n=n)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "c.1", "c.2"]
    assert all(path.stat().st_size <= 400 for path in tmp_path.iterdir())
    assert lines(tmp_path / "c")[-1]["n"] == 39


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "c").mkdir()
    log = Log(tmp_path / "c")
    log.info("lost")
    assert log.dropped == 1


def test_what_libraries_say_is_in_it(tmp_path):
    logger = logging.getLogger("fleet.tests.lib")
    bridge = Bridge(Log(tmp_path / "c"))
    logger.addHandler(bridge)
    logger.warning("odd %s", 1)
    logger.removeHandler(bridge)
    assert lines(tmp_path / "c")[0] | {"at": ""} == {
        "at": "",
        "level": "warning",
        "text": "odd 1",
        "logger": "fleet.tests.lib",
    }
