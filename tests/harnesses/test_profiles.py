"""Profiles: what is printed of a program drives it in the very same way, and what their
placeholders and readings mean.
"""

from __future__ import annotations

import json
from dataclasses import fields
from itertools import product

import jsonschema
import pytest

from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.core.plan import Failure
from fleet.errors import Rejected
from fleet.files import harness_forms as forms
from fleet.files import source
from fleet.files.harnesses import HANDED, PLACEHOLDERS, harness_of, harnesses_hold
from fleet.files.load import load
from fleet.files.schema import schema
from fleet.files.validate import normal_form
from fleet.files.writing import harness_text
from fleet.harnesses import HARNESSES, TESTED, AgentFacts, chosen_session, find_harness
from fleet.harnesses import profile as profiles
from fleet.harnesses.profile import filling
from fleet.harnesses.profile.reading import reset_ms

PROFILED = sorted(name for name in HARNESSES if hasattr(find_harness(name), "profile"))
PERMISSIONS = ("ask", "edits", "auto", "plan", "deny", "yolo")
ENDED_AT_MS = 1_000_000
RICH = {
    "model": "m{x}",
    "prompt": "-be {brief}\ngood",
    "args": ["--x", "{brief}"],
    "env": {"A": "{b}"},
    "limits": {"usd": 2.5},
}


def printed(name):
    return harness_text(name, profiles.plain(find_harness(name).profile), own=False)


def copied(name):
    """Returns the harness that a saved copy of what is printed is driven by."""
    values = source.read_yaml(printed(name), "mine.yaml").values
    return find_harness("mine", harness_of("mine", normal_form("harness", values)).profile)


@pytest.mark.parametrize("name", PROFILED)
def test_a_printed_harness_is_the_harness(name, tmp_path, monkeypatch):
    monkeypatch.setattr("fleet.harnesses.gemini.token_hex", str)  # else each time another
    brief, tree = tmp_path / "brief.md", tmp_path / "tree"
    tree.mkdir()
    (tree / ".git").write_text("gitdir: /r/.git/worktrees/w\n")
    brief.write_text("# Do $(this)\n\n{worktree} {text} ü\n")
    known, mine = find_harness(name), copied(name)
    assert mine.profile == known.profile
    for permission, mode, resume, more in product(
        PERMISSIONS, ("headless", "interactive"), (None, "S"), ({}, RICH)
    ):
        agent = AgentFacts(id="a", harness="mine", permissions=permission, mode=mode, **more)
        told = (agent, brief, tmp_path / "attempt", tree, resume)
        if permission in known.profile.permitted(mode):
            assert mine.prepare(*told) == known.prepare(*told)
        else:
            with pytest.raises(Rejected) as refused:
                mine.prepare(*told)
            assert f"cannot keep to permissions '{permission}' {mode}" in refused.value.text


@pytest.mark.parametrize("name", PROFILED)
def test_a_printed_harness_is_a_document_that_holds(name, tmp_path):
    jsonschema.validate(
        source.resolved(source.read_yaml(printed(name), "x").values), schema("harness")
    )
    for path, text in {
        "coordination.md": "---\nbase: main\n---\n",
        "agents/a.yaml": "harness: mine\n",
        "tasks/a.md": "---\nagent: a\n---\nDo it.\n",
        "harnesses/mine.yaml": printed(name),
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    fleet = load(tmp_path, use_cache=False)
    assert list(harnesses_hold(fleet)) == []
    assert fleet.agents["a"].profile == fleet.harnesses["mine"]


def test_what_else_the_code_of_a_program_offers_a_copy_offers_too():
    assert copied("claude").hook_up is profiles.code_of("claude").hook_up
    assert not hasattr(copied("claude"), "nonsense")
    assert not hasattr(find_harness("mine", MINE), "hook_up")


def test_documents_and_profiles_are_one_format():
    """Each side is written down once in its own layer; here they are held together."""

    def keys(form):
        return {
            str(one.serialization_alias or name)
            for name, one in form.model_fields.items()
            if name != "id"
        }

    pairs = {
        forms.HarnessForm: profiles.Profile,
        forms.ModeForm: profiles.Mode,
        forms.VersionForm: profiles.Version,
        forms.AbsentForm: profiles.Absent,
        forms.FindForm: profiles.Find,
        forms.UsageForm: profiles.Usage,
    }
    for form, kind in pairs.items():
        assert keys(form) == {one.name for one in fields(kind)}, form
    assert keys(forms.ReadingForm) == {"like", *(one.name for one in fields(profiles.Reading))}


def test_the_names_that_documents_know_are_those_that_there_are(tmp_path):
    codes = {name: profiles.code_of(name) for name in TESTED}
    assert set(forms.Coded.__args__) == set(codes)
    hooked = {name for name, code in codes.items() if hasattr(code, "hook_up")}
    assert set(forms.Hooked.__args__) == hooked
    asked = profiles.Asked(events=["Stop"], agent=AgentFacts(id="a"), folder=tmp_path)
    fills = {name: codes[name].hook_up(asked).fill for name in hooked}
    kinds = {name: "text" if isinstance(one, str) else "list" for name, one in fills.items() if one}
    assert kinds == HANDED
    told = filling.__doc__
    for name in PLACEHOLDERS:
        assert f"{{{name}}}" in told


TOLD = {
    "model": "m",
    "none": "",
    "args": ["-a", "b c"],
    "empty": [],
    "dash": "-x",
    "text": 'say "{model}"\n',
}


@pytest.mark.parametrize(
    ("template", "argv"),
    [
        (["--model", "{model}"], ["--model", "m"]),
        (["--model={model}", "{model}.{model}"], ["--model=m", "m.m"]),
        (["-v", "--model", "{none}", "x"], ["-v", "x"]),
        (["-v", "--model={none}", "x"], ["-v", "x"]),
        (["-c", "model={none}", "-c", "x=1"], ["-c", "x=1"]),
        (["--a", "{dash}", "{none}"], ["--a", "-x"]),  # what was filled in is no flag
        (["--verbose", "{args}"], ["--verbose", "-a", "b c"]),
        (["--verbose", "{empty}", "{none}"], ["--verbose"]),
        (["{args:json}", "{text:json}"], ['["-a", "b c"]', '"say \\"{model}\\"\\n"']),
        (["{text}", "{{model}}", "{ model }", "{}"], [TOLD["text"], "{model}", "{ model }", "{}"]),
        (["{words}", "x"], ["--w", "m", "x"]),
    ],
)
def test_placeholders_fill_one_argument_each(template, argv):
    assert filling.words_of(template, ["--w", "{model}", "-q", "{none}"], TOLD) == argv


def test_lines_whose_values_are_not_set_are_left_out():
    template = 'model = {model:json}\nother = "{none}"\n\n[x]\n'
    assert filling.text_of(template, TOLD) == 'model = "m"\n\n[x]\n'
    assert filling.text_of("{none}\n", TOLD) == ""


READS = {
    "done": {"type": "end", "ok": True},
    "output": {"key": "said.text", "where": {"type": "said"}},
    "error": {"key": "text", "where": {"type": "error"}},
    "status": {"key": "status", "where": {"type": "error"}},
    "usage": {
        "where": {"type": "usage"},
        "add": True,
        "keys": {"input_tokens": "in", "usd": "cost"},
    },
    "limited": ["allowance"],
    "resets": [r"again in (?P<wait>[\w ]+)"],
}
MINE = {
    "program": "mine",
    "headless": {"start": ["--id", "{session}"], "resume": ["--again", "{session}"]},
    "permissions": {"edits": {}},
    "reads": READS,
}
SAID = {"type": "said", "said": {"text": "It is written."}}
USED = {"type": "usage", "in": 3, "cost": 0.5, "other": None}
END = {"type": "end", "ok": True}
OVER = {"type": "error", "text": "Over your allowance, again in 90 s."}


@pytest.mark.parametrize(
    ("events", "code", "failure", "resume_at_ms"),
    [
        ([SAID, USED, USED, END], 0, None, None),
        ([SAID, END], 1, Failure.TASK, None),
        ([SAID, {**END, "ok": False}], 0, Failure.TASK, None),
        ([SAID, END, {"type": "error", "text": "no"}], 0, Failure.AGENT, None),
        ([{"type": "error", "text": "once"}, SAID, END], 0, None, None),
        ([], 0, Failure.AGENT, None),
        ([OVER], 1, Failure.ACCOUNT, ENDED_AT_MS + 90_000),
        ([{"type": "error", "text": "no", "status": 429}], 1, Failure.ACCOUNT, None),
        (["[1]", '{"said"', "null"], 0, Failure.AGENT, None),
    ],
)
def test_json_lines_are_read_as_the_profile_says(tmp_path, events, code, failure, resume_at_ms):
    made = AttemptFolder(tmp_path)
    lines = [one if isinstance(one, str) else json.dumps(one) for one in events]
    made.stdout.write_text("noise\n" + "".join(f"{line}\n" for line in lines))
    report = find_harness("mine", MINE).outcome(ExitRecord(code, None, "exited", ENDED_AT_MS), made)
    assert (report.ok, report.failure, report.resume_at_ms) == (
        failure is None,
        failure,
        resume_at_ms,
    )
    spoke = any(isinstance(one, dict) for one in events)
    assert report.session == (chosen_session(tmp_path) if spoke else None)
    (tmp_path / "resumed").write_text("S-1")
    report = find_harness("mine", MINE).outcome(ExitRecord(code, None, "exited", ENDED_AT_MS), made)
    assert report.session == ("S-1" if spoke else None), "it went on with another's"
    if USED in events:
        assert report.output == "It is written."
        assert report.usage == {"input_tokens": 6, "usd": 1.0}
        seen = find_harness("mine", MINE).meter(AgentFacts(id="a"), tmp_path).look()
        assert seen == report.usage, "it tells while it runs, too"


def test_without_a_word_of_its_own_the_exit_code_tells(tmp_path):
    made = AttemptFolder(tmp_path)
    reads = {"output": "text"}
    for told in ({**MINE, "reads": reads}, {**MINE, "reads": "exit"}):
        for code, ok in ((0, True), (1, False)):
            made.stdout.write_text('{"text": "hello"}\n')
            end = ExitRecord(code, None, "exited", ENDED_AT_MS)
            assert find_harness("mine", told).outcome(end, made).ok is ok
    assert find_harness("mine", MINE).outcome(None, made).failure is Failure.INFRA


@pytest.mark.parametrize(
    ("expression", "said", "at_ms"),
    [
        (r"in (?P<wait>\d+) s", "in 20 s", ENDED_AT_MS + 20_000),
        (r"in (?P<wait>.+)", "in 1 day 2 hours", ENDED_AT_MS + 93_600_000),
        (r"at (?P<epoch>\d+)", "resets at 1795300000", 1_795_300_000_000),
        (r"at (?P<at>\S+)", "opens at 1970-01-02T00:00:00Z", 86_400_000),
        (r"at (?P<at>\S+)", "opens at noon", None),
        (r"in (?P<wait>.+)", "in a while", None),
        (r"in (?P<wait>.+)", "later", None),
    ],
)
def test_a_reset_is_read_by_an_expression(expression, said, at_ms):
    assert reset_ms([expression], said, ENDED_AT_MS) == at_ms


def test_a_program_without_a_version_is_only_looked_for(tmp_path):
    (tmp_path / "mine").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "mine").chmod(0o755)
    found = find_harness("mine", MINE).check({"PATH": str(tmp_path)})
    assert (found.version, found.path) == ("", str(tmp_path / "mine"))
    asked = find_harness("mine", {**MINE, "version": {"tested": "1.0"}})
    assert "failed with 3" in asked.check({"PATH": str(tmp_path)})
    assert "mine is not on PATH: install mine" in asked.check({"PATH": "/nowhere"})


@pytest.fixture
def prepared(tmp_path):
    (tmp_path / "brief.md").write_text("Do it.\n")

    def prepare(name, profile=None, **told):
        agent = AgentFacts(id="a", harness=name, **told)
        place = (tmp_path / "brief.md", tmp_path / "attempt", tmp_path)
        return find_harness(name, profile).prepare(agent, *place, None)

    return prepare


def test_where_fleet_shuts_it_in_a_permission_may_fill_otherwise(prepared):
    def settings(**told):
        return [word for word in prepared("codex", **told).argv if "hooks" not in word]

    assert 'sandbox_mode="danger-full-access"' in settings(sandboxed=True)
    assert 'sandbox_mode="workspace-write"' in settings()
    assert 'sandbox_mode="read-only"' in settings(sandboxed=True, permissions="plan")
    asked = {"mode": "interactive", "permissions": "ask"}
    assert 'approval_policy="untrusted"' in settings(sandboxed=True, **asked)
    assert 'approval_policy="on-request"' in settings(**asked)


def test_a_session_is_hooked_for_what_its_mode_and_its_permission_name(prepared, tmp_path):
    told = {
        **MINE,
        "headless": {"start": ["{hooks:json}"], "events": ["Stop", "{asks}"]},
        "permissions": {"edits": {"asks": "PermissionRequest"}, "yolo": {}},
        "hooks": "codex",
    }
    for permission, guards, events in (
        ("edits", (), ["Stop", "PermissionRequest"]),
        ("yolo", (), ["Stop"]),
        ("yolo", ("PreToolUse",), ["Stop", "PreToolUse"]),
    ):
        ready = prepared("mine", told, permissions=permission, guards=guards)
        words = json.loads(ready.argv[-1])
        assert [word.split("=")[0] for word in words[1::2]] == [f"hooks.{one}" for one in events]
        assert tmp_path / "attempt/hooks.json" in ready.files
    settings = prepared("claude", guards=("PreToolUse",)).files[tmp_path / "attempt/settings.json"]
    assert "PreToolUse" in json.loads(settings)["hooks"]
