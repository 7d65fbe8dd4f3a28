from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fleet import codec
from fleet.core import messages as m
from fleet.core.plan import Ask, Failure, NeedsChange, Patch, Retry, Revise, Route, Swap
from support.plans import needs, plan, step

ROUTES = (
    Route(whom="lead", topic="auth", steps=(step("w", "b", uses={"box": 1}),), limit_ms=5),
    Route(whom="person", kind="choice", severity="high"),
)
PATCH = Patch(
    put=(step("x", "a", uses={"box": 1}),), drop=("y",), stop=("z",), limits={"box": 2},
    needs={"j": NeedsChange(add=needs("x", on="settled"), remove=("y",))}, about={"k": [1]},
    routes=ROUTES, reason="because",
)  # fmt: skip
LADDER = (
    Retry(times=2, backoff_ms=5, on=frozenset({Failure.AGENT, Failure.INFRA})),
    Swap(params={"model": "m"}),
    Revise(patch=PATCH),
    Ask(message="?", choices=("a", "b"), whom="lead"),
)
PLAN = replace(
    plan(step("a", ladder=LADDER, params={"is": "retry", "deep": {"n": [None, 1.5]}}), box=1),
    routes=ROUTES,
)
QUESTION = m.Question(
    message="?", choices=("a",), refusals=("b",), then=m.Then.SETTLE, expires_at_ms=0, default=""
)
OUTCOME = m.Outcome(
    ending=m.Ending.DEFERRED, failure=Failure.ACCOUNT, account="max", until_ms=0, hold=True,
    patch=PATCH, question=QUESTION, output=False, label="left", evidence={"checks": []},
)  # fmt: skip
TOLD = {"at_ms": 7, "by": "ann"}
MESSAGES = [
    m.StartRun(run="r", plan=PLAN, parent=("q", "s", 1), **TOLD),
    m.RevisePlan(patch=PATCH, **TOLD),
    m.ReleaseStep(steps=("a", "b"), **TOLD),
    m.HoldStep(step="a", reason="x", stop=True, **TOLD),
    m.PauseRun(reason="x", **TOLD),
    m.ResumeRun(**TOLD),
    m.CancelRun(reason="x", **TOLD),
    m.RetryStep(step="a", **TOLD),
    m.SkipStep(steps=("a",), reason="x", **TOLD),
    m.RaiseQuestion(question=QUESTION, step="a", **TOLD),
    m.AnswerQuestion(id="r.q1", value="a", note="n", patch=PATCH, **TOLD),
    m.EscalateQuestion(id="r.q1", reason="x", **TOLD),
    m.CheckIn(step="a", done="d", next="n", blockers=("b",), **TOLD),
    m.SendNote(step="a", text="t", **TOLD),
    m.ReportProgress(step="a", attempt=1, facts={"head": "c"}, delivered=(1, 2), **TOLD),
    m.ReportOutcome(step="a", attempt=1, outcome=OUTCOME, **TOLD),
    m.Tick(grants=("a",), **TOLD),
    m.RunStarted(run="r", plan=PLAN, parent=("q", "s", 1), **TOLD),
    m.PlanRevised(revision=2, patch=PATCH, **TOLD),
    m.StepReleased(step="a", **TOLD),
    m.StepHeld(step="a", reason="x", **TOLD),
    m.RunPaused(reason="x", **TOLD),
    m.RunResumed(**TOLD),
    m.CancelRequested(reason="x", **TOLD),
    m.AttemptStarted(step="a", attempt=1, **TOLD),
    m.AttemptProgressed(step="a", attempt=1, facts={"x": 0}, delivered=(1,), **TOLD),
    m.StopRequested(step="a", attempt=1, why="hold", **TOLD),
    m.AttemptEnded(step="a", attempt=1, outcome=OUTCOME, **TOLD),
    m.RetryScheduled(step="a", rung=-1, retry_at_ms=9, **TOLD),
    m.ParamsSwapped(step="a", rung=1, params={"model": "m"}, **TOLD),
    m.QuestionRaised(id="r.q1", question=QUESTION, step="a", **TOLD),
    m.QuestionRouted(id="r.q1", whom="lead", steps=("r.q1/w",), climbs_at_ms=9, **TOLD),
    m.QuestionAnswered(id="r.q1", value="a", note="n", **TOLD),
    m.CheckedIn(step="a", done="d", next="n", blockers=("b",), **TOLD),
    m.NoteSent(note=1, step="a", text="t", **TOLD),
    m.StepSettled(step="a", standing="skipped", text="t", output=0, label="l", **TOLD),
    m.RunEnded(standing="failed", **TOLD),
    *LADDER,
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_as_it_went(message):
    assert codec.decode(json.loads(codec.dumps(message))) == message


def test_every_tag_is_shown_here_once():
    assert sorted(map(type, MESSAGES), key=str) == sorted(codec.TAGS.values(), key=str)


def test_tags_are_for_ever():
    shown = " ".join(sorted(codec.TAGS))
    assert shown == (
        "answer-question ask attempt-ended attempt-progressed attempt-started "
        "cancel-requested cancel-run check-in checked-in escalate-question hold-step "
        "note-sent params-swapped pause-run plan-revised question-answered question-raised "
        "question-routed raise-question release-step report-outcome report-progress "
        "resume-run retry retry-scheduled retry-step revise revise-plan run-ended run-paused "
        "run-resumed run-started send-note skip-step start-run step-held step-released "
        "step-settled stop-requested swap tick"
    )


def test_an_old_shape_is_cast_up(monkeypatch):
    monkeypatch.setitem(codec.UPCASTS, "note-sent", lambda old: {**old, "note": old.pop("number")})
    found = codec.loads_event('{"is":"note-sent","number":3,"step":"a","text":"t"}')
    assert found == m.NoteSent(note=3, step="a", text="t")


@pytest.mark.parametrize(
    "text", ["half \ud800 a pair", "ü 漢 🚀", "\x00\x1b[31m\u2028", "x" * 100_000]
)
def test_any_text_becomes_bytes_on_one_line(text):
    line = codec.dumps(m.SendNote(step="a", text=text))
    assert "\n" not in line
    assert codec.loads_command(line.encode()) == m.SendNote(step="a", text=text)


@pytest.mark.parametrize(
    "line",
    [
        "", "{", "[]", "5", "null", '"tick"', "{}", '{"is":"nothing"}', '{"is":[]}',
        '{"is":"retry-step"}', '{"is":"tick","grants":5}', '{"is":"run-paused"}',
        '{"is":"retry","times":1}',
        '{"is":"tick","at_ms":"x"}', '{"is":"tick","grants":"abc"}', '{"is":"tick","grants":[1]}',
        '{"is":"retry-step","step":5}', '{"is":"check-in","step":"a","blockers":"b"}',
        '{"is":"report-outcome","step":"a","attempt":"1","outcome":{"ending":"succeeded"}}',
        '{"is":"report-outcome","step":"a","attempt":1,"outcome":{"ending":"odd"}}',
        '{"is":"report-outcome","step":"a","attempt":1,"outcome":{"ending":"failed","until_ms":"9"}}',
        '{"is":"report-outcome","step":"a","attempt":1,"outcome":{"ending":"asked","question":{"message":1}}}',
        '{"is":"report-progress","step":"a","attempt":1,"facts":[]}',
        '{"is":"report-progress","step":"a","attempt":true}',
        '{"is":"hold-step","step":"a","stop":"yes"}',
        '{"is":"revise-plan","patch":{"put":[{"id":"a"}]}}',
        '{"is":"revise-plan","patch":{"put":[{"id":"a","kind":"k","uses":{"box":"1"}}]}}',
        '{"is":"revise-plan","patch":{"put":[{"id":"a","kind":"k","ladder":[{"is":"tick"}]}]}}',
        '{"is":"revise-plan","patch":{"needs":{"a":[]}}}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_command_is_refused_as_a_value_error(line):
    with pytest.raises(ValueError, match=r"."):
        codec.loads_command(line)


@pytest.mark.parametrize(
    "command",
    [one for one in MESSAGES if isinstance(one, m.Command)],
    ids=lambda one: type(one).__name__,
)
def test_every_command_passes_the_door(command):
    assert codec.loads_command(codec.dumps(command)) == command
