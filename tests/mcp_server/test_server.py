"""The server's own: who may come in, tokens, forms, and text that a terminal does not obey."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fleet.app.serving import Settings, token_of
from fleet.errors import FleetError, Rejected
from fleet.mcp import forms
from fleet.mcp.http import Guard, names_of
from fleet.mcp.server import safe_json
from fleet.mcp.tools import TOOLS
from fleet.views.findings import SEVERITIES

TOKEN = "a-token-of-this-test"


def guard(**more):
    names = names_of("127.0.0.1", 80, more.pop("hosts", ()))
    return Guard(None, TOKEN, names, frozenset(more.pop("origins", ())))


def asked(**headers):
    told = {"host": "127.0.0.1:80", "authorization": f"Bearer {TOKEN}", **headers}
    return [(name.encode(), value.encode()) for name, value in told.items()]


@pytest.mark.parametrize("host", ["127.0.0.1:80", "LOCALHOST:80", "[::1]:80", "fleet.test:80"])
def test_a_known_name_is_let_in(host):
    assert guard(hosts=["Fleet.test"]).refusal("POST", asked(host=host)) is None


@pytest.mark.parametrize(
    "host", ["", "127.0.0.1", "127.0.0.1:81", "127.0.0.1:80.evil", "evil:80", "localhost:80@evil"]
)
def test_any_other_name_is_not(host):
    assert guard().refusal("POST", asked(host=host))[0] == 421


def test_names_tokens_and_origins_stand_once():
    twice = [*asked(), (b"host", b"evil")]
    assert guard().refusal("POST", twice)[0] == 421
    assert guard().refusal("POST", [*asked(), (b"authorization", b"Bearer x")])[0] == 401
    assert guard().refusal("POST", asked(authorization=f"bearer {TOKEN}")) is None
    assert guard().refusal("POST", asked(authorization="Bearer \u00e4"))[0] == 401
    assert guard(origins=["http://a"]).refusal("POST", asked(origin="http://a")) is None
    assert (
        guard(origins=["http://a"]).refusal("POST", [*asked(), (b"origin", b"http://b")])[0] == 403
    )


def test_a_browsers_question_before_its_request_needs_no_token_but_an_allowed_origin():
    told = {"host": "127.0.0.1:80", "access-control-request-method": "POST"}
    door = guard(origins=["http://a"])
    asks = [(name.encode(), value.encode()) for name, value in told.items()]
    assert door.refusal("OPTIONS", [*asks, (b"origin", b"http://a")]) is None
    assert door.refusal("OPTIONS", [*asks, (b"origin", b"http://b")])[0] == 403
    assert door.refusal("OPTIONS", asks)[0] == 401
    assert door.refusal("POST", [*asks, (b"origin", b"http://a")])[0] == 401
    assert door.refusal("OPTIONS", [(b"host", b"127.0.0.1:80"), (b"origin", b"http://a")])[0] == 401


def test_a_token_is_made_once_and_nobody_else_can_read_it(tmp_path):
    settings = Settings(root=str(tmp_path))
    made, where = token_of(settings)
    assert stat.S_IMODE(Path(where).stat().st_mode) == 0o600
    assert token_of(settings) == (made, where)

    Path(where).chmod(0o644)
    fresh, _ = token_of(settings)
    assert fresh != made
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("x" * 40)
    elsewhere.chmod(0o600)
    Path(where).unlink()
    Path(where).symlink_to(elsewhere)
    assert token_of(settings)[0] not in ("x" * 40, fresh)
    assert elsewhere.read_text() == "x" * 40


def test_a_token_may_be_a_secret_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("A_TOKEN", TOKEN)
    assert token_of(Settings(root=str(tmp_path), token="env:A_TOKEN")) == (TOKEN, "env:A_TOKEN")
    for weak in ("short", "with a\nline of its own", "\u00e4" * 40):
        monkeypatch.setenv("A_TOKEN", weak)
        with pytest.raises(Rejected, match="no token"):
            token_of(Settings(root=str(tmp_path), token="env:A_TOKEN"))
    with pytest.raises(Rejected, match="no variable"):
        token_of(Settings(root=str(tmp_path), token="env:NOBODY_HAS_SET_THIS"))


@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_says_what_it_does_and_takes_nothing_else(name):
    form = TOOLS[name].form
    schema = forms.schema_of(form)
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert len(forms.description_of(form)) > 20
    for key, told in schema["properties"].items():
        assert {"type", "anyOf", "$ref", "enum"} & told.keys(), key
        assert "title" not in told, "a schema repeats no names"
    with pytest.raises(FleetError, match="no argument 'nonsense'"):
        forms.read(form, name, {"nonsense": 1})


def test_all_that_is_wrong_with_a_call_is_said_at_once():
    with pytest.raises(FleetError) as refused:
        forms.read(forms.GetNextStep, "get_next_step", {"lease_s": -1, "roles": [5], "rolls": 1})
    for problem in ("lease_s: ", "roles.0: ", "no argument 'rolls', did you mean 'roles'?"):
        assert problem in refused.value.text
    assert refused.value.hint == "it takes: roles, lease_s, lease"


def test_severities_are_those_of_findings():
    told = forms.schema_of(forms.Finding)["properties"]["severity"]
    assert tuple(told["enum"]) == SEVERITIES


def test_json_is_the_same_and_no_terminal_obeys_it():
    hostile = {"a": "\x1b[2J\x9b2J\u202e\u2028\ud800 \x7f gr\u00fcn \u6f22"}
    text = safe_json(hostile)
    assert json.loads(text) == hostile
    assert "gr\u00fcn \u6f22" in text
    assert all(sign.isprintable() for sign in text)
