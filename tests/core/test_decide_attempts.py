from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fleet.core import messages as m
from fleet.core import state as states
from fleet.core.decide import attempts
from fleet.core.evolve import replay
from fleet.core.plan import Ask, Failure, Need, Patch, Retry, Revise, Swap
from fleet.views.inputs import inputs_of, output_of
from support.plans import join, plan, step
from support.playbook import (
    AttemptEnded,
    AttemptProgressed,
    AttemptStarted,
    CancelRequested,
    CheckedIn,
    NoteSent,
    ParamsSwapped,
    PlanRevised,
    QuestionAnswered,
    QuestionRaised,
    RetryScheduled,
    RunEnded,
    RunPaused,
    RunResumed,
    StepHeld,
    StepReleased,
    StepSettled,
    StopRequested,
    answered,
    asked,
    deferred,
    ended,
    failed,
    granted,
    play,
    stopped,
)

A = AttemptStarted("a", 1)
OVER = RunEnded("succeeded")


def test_a_chain_of_steps_starts_one_after_the_other():
    with play(plan(step("a"), step("b", "a"))) as run:
        run.expect(A).wants(states.RunAttempt("a", 1))
        run.tell(ended("a")).expect(AttemptEnded("a"), AttemptStarted("b", 1))
        run.tell(ended("b")).expect(AttemptEnded("b"), OVER).wants()


def test_an_empty_plan_ends_at_once():
    play(plan()).expect(OVER).done()


def test_steps_that_start_together_start_longest_tail_first_then_by_id():
    with play(plan(step("b"), step("a"), step("z", span_ms=5))) as run:
        run.expect(AttemptStarted("z"), AttemptStarted("a"), AttemptStarted("b"))


def test_retries_double_their_backoff_up_to_the_cap_and_then_the_next_rung_comes(monkeypatch):
    monkeypatch.setattr(attempts, "_scatter", lambda wait_ms, *_: wait_ms)
    ladder = (
        Retry(times=3, backoff_ms=100, cap_ms=250),
        Swap(params={"model": "other"}),
        Ask(message="how on?"),
    )
    with play(plan(step("a", ladder=ladder))) as run:
        run.expect(A)
        for attempt, (now, wait) in enumerate([(1000, 100), (2000, 200), (3000, 250)], 1):
            run.at(now).tell(failed("a", attempt))
            run.expect(AttemptEnded("a"), RetryScheduled("a", now + wait, 0)).stands(
                a="backing-off"
            )
            assert states.next_wakeup(run.state, now) == now + wait
            run.at(now + wait - 1).tell(granted()).expect()
            run.at(now + wait).tell(granted()).expect(AttemptStarted("a", attempt + 1))
        run.tell(failed("a", 4)).expect(
            AttemptEnded("a"), ParamsSwapped("a", rung=1), RetryScheduled("a", run.now, 1),
            AttemptStarted("a", 5),
        )  # fmt: skip
        assert run.state.steps["a"].step.params == {"model": "other"}
        run.tell(failed("a", 5, text="no")).expect(AttemptEnded("a"), QuestionRaised("r.q1", "a"))
        assert run.state.questions["r.q1"].question.message == "how on?\nno"
        run.tell(answered(1, "retry")).expect(QuestionAnswered("r.q1"), AttemptStarted("a", 6))
        run.tell(failed("a", 6)).expect(AttemptEnded("a"), QuestionRaised("r.q2"))
        run.tell(answered(2, "fail")).expect(
            QuestionAnswered("r.q2"), StepSettled("a", "failed"), RunEnded("failed")
        )
        assert run.state.steps["a"].tries == 6


def test_a_rung_is_only_for_its_failures_and_only_task_failures_are_tries():
    ladder = (Retry(times=1), Retry(times=2, on=frozenset({Failure.AGENT, Failure.INFRA})))
    with play(plan(step("a", ladder=ladder))) as run:
        run.expect(A)
        run.tell(failed("a", 1, Failure.AGENT))
        run.expect(AttemptEnded("a"), RetryScheduled("a", run.now, 1), AttemptStarted("a", 2))
        run.tell(failed("a", 2, Failure.INFRA))
        run.expect(AttemptEnded("a"), RetryScheduled("a", run.now, 1), AttemptStarted("a", 3))
        run.tell(failed("a", 3))
        run.expect(AttemptEnded("a"), RetryScheduled("a", run.now, 0), AttemptStarted("a", 4))
        assert run.state.steps["a"].tries == 1
        run.tell(failed("a", 4, Failure.INFRA))
        run.expect(AttemptEnded("a"), StepSettled("a", "failed"), RunEnded("failed"))


def test_an_account_limit_spends_no_retry_and_waits_until_it_opens():
    with play(plan(step("a"))) as run:
        run.expect(A).at(10).tell(failed("a", 1, Failure.ACCOUNT, account="max", until_ms=500))
        run.expect(AttemptEnded("a"), RetryScheduled("a", 500, -1))
        assert run.state.accounts == {"max": 500}
        run.at(500).tell(granted()).expect(AttemptStarted("a", 2))
        run.at(600).tell(failed("a", 2, Failure.ACCOUNT))
        run.expect(AttemptEnded("a"), RetryScheduled("a", rung=-1))


def test_a_revise_rung_adds_the_fallback_and_the_step_counts_as_failed():
    fallback = step("b", needs=(Need(step="a", on="failed"),))
    ladder = (Revise(patch=Patch(put=(fallback,))),)
    with play(plan(step("a", ladder=ladder))) as run:
        run.expect(A).tell(failed("a"))
        run.expect(
            AttemptEnded("a"), PlanRevised(2), StepSettled("a", "failed"), AttemptStarted("b", 1)
        )
        run.tell(ended("b")).expect(AttemptEnded("b"), OVER)


def test_conditions_pick_the_branch_and_the_other_is_unreached():
    steps = [
        step("a"),
        step("ok", "a"),
        step("no", needs=(Need(step="a", on="failed"),)),
        step("left", needs=(Need(step="a", on="left"),)),
        step("clean", needs=(Need(step="a", on="settled"),)),
        step("behind", "no"),
        join("all", needs=(Need(step="ok"), Need(step="behind", on="settled"))),
    ]
    with play(plan(*steps)) as run:
        run.expect(A).tell(ended("a", label="left"))
        run.expect(AttemptEnded("a"), *[AttemptStarted(n, 1) for n in ("clean", "left", "ok")])
        run.stands(no="unreached", behind="unreached", all="waiting")
        run.quietly(ended("clean"), ended("left"), ended("ok")).stands(all="succeeded")
        assert run.state.ended == "succeeded"


def test_a_join_of_joins_settles_with_its_last_part_and_hands_its_output_on():
    with play(
        plan(step("a"), step("b"), join("one", "a"), join("all", "one", "b"), step("c", "all"))
    ) as run:
        run.quietly(ended("a", output=1)).stands(one="succeeded", all="waiting")
        run.quietly(ended("b", output=2)).stands(all="succeeded", c="running")
        assert output_of(run.state, "all") == [1, 2]
        assert set(inputs_of(run.state, "c")) == {"all", "one", "a", "b"}


def test_those_that_fail_together_do_not_come_back_together_and_a_replay_is_exact():
    names = [f"t{number}/work" for number in range(50)]
    ladder = (Retry(times=4, backoff_ms=10_000, on=frozenset(Failure)),)
    run = play(plan(*[step(name, uses={"box": 1}, ladder=ladder) for name in names]))
    run.quietly(granted(*names))
    run.quietly(*[replace(failed(name, 1, Failure.AGENT), at_ms=1_000) for name in names])
    alarms = [run.state.alarms[name] for name in names]
    assert all(8_500 <= at_ms < 13_500 for at_ms in alarms)
    seconds = Counter(at_ms // 1000 for at_ms in alarms)
    assert len(seconds) >= 5
    assert max(seconds.values()) <= 20, "no second sees half of them"
    assert replay(run.log).alarms == run.state.alarms


def test_late_doubled_and_forged_reports_are_not_believed():
    with play(plan(step("a", ladder=(Retry(times=1),)))) as run:
        run.expect(A).refuse(ended("a", 2), "late")
        run.tell(failed("a")).expect(AttemptEnded("a"), RetryScheduled("a"), AttemptStarted("a", 2))
        run.refuse(ended("a", 1), "late").refuse(ended("b"), "no step")
        run.tell(ended("a", 2)).expect(AttemptEnded("a"), OVER)
        run.refuse(ended("a", 2), "late")


def test_a_hold_with_stop_spends_no_retry_and_a_release_starts_it_again():
    with play(plan(step("a"))) as run:
        run.expect(A).tell(m.HoldStep(step="a", stop=True))
        run.expect(StepHeld("a"), StopRequested("a", "hold")).wants(
            states.StopAttempt("a", 1, "hold")
        )
        run.tell(m.HoldStep(step="a", stop=True)).expect()
        run.tell(failed("a")).expect(AttemptEnded("a")).stands(a="ready")
        run.tell(m.ReleaseStep(steps=("a",))).expect(StepReleased("a"), AttemptStarted("a", 2))
        assert run.state.steps["a"].tries == 0
        run.tell(ended("a", 2)).expect(AttemptEnded("a"), OVER)


def test_success_that_wins_the_race_with_a_stop_stays_success():
    for command in (m.HoldStep(step="a", stop=True), m.SkipStep(steps=("a",))):
        run = play(plan(step("a"))).expect(A).quietly(command)
        run.tell(ended("a")).expect(AttemptEnded("a"), OVER).stands(a="succeeded")


def test_a_step_that_is_skipped_counts_as_succeeded_also_while_it_runs():
    with play(plan(step("a"), step("b", "a"), step("c", "b"))) as run:
        run.expect(A).tell(m.SkipStep(steps=("a", "b"), by="ann"))
        run.expect(
            StopRequested("a", "skip"),
            StepSettled("b", "skipped", by="ann"),
            AttemptStarted("c", 1),
        )
        run.tell(stopped("a")).expect(AttemptEnded("a"), StepSettled("a", "skipped"))
        run.refuse(m.SkipStep(steps=("c", "b")), "skipped already")
        run.tell(ended("c")).expect(AttemptEnded("c"), OVER)


def test_a_stopped_attempt_changes_no_plan():
    patch = Patch(put=(step("x", needs=(Need(step="a", on="failed"),)),))
    with play(plan(step("a"))) as run:
        run.expect(A).quietly(m.SkipStep(steps=("a",)))
        run.tell(failed("a", patch=patch)).expect(
            AttemptEnded("a"), StepSettled("a", "skipped"), OVER
        )


def test_an_attempt_that_nobody_stopped_is_lost():
    with play(plan(step("a", ladder=(Retry(times=1, on=frozenset({Failure.INFRA})),)))) as run:
        run.expect(A).tell(stopped("a"))
        run.expect(AttemptEnded("a"), RetryScheduled("a", run.now, 0), AttemptStarted("a", 2))
        run.tell(stopped("a", 2)).expect(
            AttemptEnded("a"), StepSettled("a", "failed"), RunEnded("failed")
        )


def test_a_paused_run_starts_nothing_and_goes_on_where_it_stood():
    ladder = (Retry(times=1, backoff_ms=10),)
    with play(plan(step("a"), step("b", "a"), step("c", ladder=ladder))) as run:
        run.expect(A, AttemptStarted("c", 1)).at(100).tell(failed("c"))
        run.expect(AttemptEnded("c"), RetryScheduled("c", 110, 0))
        run.tell(m.PauseRun()).expect(RunPaused()).tell(m.PauseRun()).expect()
        run.tell(ended("a")).expect(AttemptEnded("a")).at(200).tell(granted()).expect()
        assert states.next_wakeup(run.state, 0) is None
        run.tell(m.ResumeRun())
        run.expect(RunResumed(), AttemptStarted("b", 1), AttemptStarted("c", 2))
        run.quietly(ended("b"), ended("c", 2))
        assert run.state.ended == "succeeded"


def test_cancelling_stops_what_lives_and_then_ends_the_run():
    with play(plan(step("a"), step("b", "a"))) as run:
        run.expect(A).tell(m.CancelRun()).expect(CancelRequested())
        run.tell(m.CancelRun()).expect().wants(states.StopAttempt("a", 1, "cancel"))
        run.refuse(m.ResumeRun(), "cancelled").refuse(m.SkipStep(steps=("b",)), "cancelled")
        run.tell(ended("a")).expect(AttemptEnded("a"), RunEnded("cancelled")).wants()
        run.refuse(m.CancelRun(), "cancelled already").refuse(answered(1, "x"), "cancelled")


def test_limits_need_a_grant_and_a_doubled_grant_starts_once():
    with play(plan(step("a", uses={"box": 1}), step("b"), box=1)) as run:
        run.expect(AttemptStarted("b", 1))
        assert states.wants(run.state, 1) == {(("box", 1),): [(0, "a")]}
        run.tell(granted("a", "a", "b", "nobody")).expect(A)
        assert states.wants(run.state, 1) == {}


def test_unreleased_steps_wait_for_a_person():
    with play(plan(step("a", released=False))) as run:
        run.expect().tell(m.ReleaseStep(steps=("a",))).expect(StepReleased("a"), A)
        run.tell(m.ReleaseStep(steps=("a",))).expect().refuse(
            m.ReleaseStep(steps=("b",)), "no step"
        )


def test_a_step_released_after_its_backoff_starts_at_once():
    with play(plan(step("a", ladder=(Retry(times=1, backoff_ms=10),)))) as run:
        run.expect(A).at(100).quietly(failed("a"), m.HoldStep(step="a"))
        run.at(500).tell(granted()).expect()
        run.tell(m.ReleaseStep(steps=("a",))).expect(StepReleased("a"), AttemptStarted("a", 2))


def test_retry_now_is_for_what_backs_off_or_asks():
    ladder = (Retry(times=1, backoff_ms=10_000), Ask(message="?"))
    with play(plan(step("a", ladder=ladder))) as run:
        run.expect(A).refuse(m.RetryStep(step="a"), "running").quietly(failed("a"))
        run.tell(m.RetryStep(step="a")).expect(
            RetryScheduled("a", run.now, -1), AttemptStarted("a", 2)
        )
        run.tell(failed("a", 2)).expect(AttemptEnded("a"), QuestionRaised("r.q1"))
        run.tell(m.RetryStep(step="a")).expect(
            QuestionAnswered("r.q1", "retry"), AttemptStarted("a", 3)
        )


def test_deferred_steps_wait_for_a_time_or_for_a_person():
    with play(plan(step("a"))) as run:
        run.expect(A).at(10).tell(deferred("a", until_ms=90)).expect(AttemptEnded("a"))
        run.stands(a="backing-off").at(90).tell(granted()).expect(AttemptStarted("a", 2))
        run.tell(deferred("a", 2, hold=True)).expect(AttemptEnded("a")).stands(a="ready")
        run.tell(m.ReleaseStep(steps=("a",))).expect(StepReleased("a"), AttemptStarted("a", 3))


def test_questions_of_every_sort():
    again, settle, note = m.Then.AGAIN, m.Then.SETTLE, m.Then.NOTE
    with play(plan(step("a"), step("b", "a"), step("c", "b"))) as run:
        run.expect(A).tell(asked("a", then=again, choices=("yes", "no")))
        run.expect(AttemptEnded("a"), QuestionRaised("r.q1", "a")).stands(a="asking")
        run.refuse(answered(1, "perhaps"), "no answer", "yes, no").refuse(
            answered(7, "x"), "not open"
        )
        run.tell(answered(1, "yes")).expect(QuestionAnswered("r.q1"), AttemptStarted("a", 2))
        run.refuse(answered(1, "yes"), "answered already")
        run.tell(asked("a", 2, then=note)).expect(AttemptEnded("a"), QuestionRaised("r.q2"))
        run.tell(answered(2, "fine")).expect(QuestionAnswered("r.q2"), AttemptStarted("a", 3))
        assert [one.value for one in states.answers_to(run.state, "a")] == ["yes", "fine"]
        run.quietly(ended("a", 3))
        run.tell(asked("b", then=settle)).expect(AttemptEnded("b"), QuestionRaised("r.q3"))
        run.tell(answered(3, "green")).expect(
            QuestionAnswered("r.q3"),
            StepSettled("b", "succeeded", label="green"),
            AttemptStarted("c", 1),
        )
        run.tell(m.RaiseQuestion(question=m.Question(message="which?"), step="c"))
        run.expect(QuestionRaised("r.q4", "c")).tell(answered(4, "this"))
        run.expect(
            QuestionAnswered("r.q4"), NoteSent("c", "Answer to your question 'which?': this")
        )
        run.wants(
            states.RunAttempt("c", 1),
            states.DeliverNote(
                "c", 1, 1, "Answer to your question 'which?': this", {"value": "this", "note": ""}
            ),
        )
        run.tell(m.ReportProgress(step="c", attempt=1, delivered=(1,))).expect(
            AttemptProgressed("c")
        )
        run.tell(m.ReportProgress(step="c", attempt=1, delivered=(1,))).expect()
        run.tell(ended("c")).expect(AttemptEnded("c"), OVER)
        run.refuse(m.RaiseQuestion(question=m.Question(message="?")), "succeeded already")


def test_who_waits_for_a_reply_names_its_request_and_the_question_ends_with_its_attempt():
    allow = m.Question(
        message="May I?",
        choices=("allow", "deny"),
        then=m.Then.REPLY,
        about={"request": "r1"},
        expires_at_ms=90,
        default="deny",
    )
    with play(plan(step("a", ladder=(Retry(times=1),)), step("b", "a"))) as run:
        run.expect(A).refuse(m.RaiseQuestion(question=allow, step="b"), "nobody waits")
        run.tell(m.RaiseQuestion(question=allow, step="a")).expect(QuestionRaised("r.q1", "a"))
        run.refuse(m.AnswerQuestion(id="r2", value="allow"), "not open")
        run.tell(m.AnswerQuestion(id="r1", value="allow", note="once"))
        run.expect(QuestionAnswered("r.q1"), NoteSent("a"))
        about = {"request": "r1", "value": "allow", "note": "once"}
        said = "Answer to your question 'May I?': allow\nonce"
        run.wants(states.RunAttempt("a", 1), states.DeliverNote("a", 1, 1, said, about))
        run.tell(m.RaiseQuestion(question=allow, step="a")).expect(QuestionRaised("r.q2", "a"))
        run.quietly(failed("a")).stands(a="running")
        assert not run.state.questions
        run.at(90).tell(granted()).expect()
        run.quietly(
            m.ReportProgress(step="a", attempt=2, delivered=(1,)), ended("a", 2), ended("b")
        )


def test_an_answer_that_refuses_fails_the_step_and_so_does_silence():
    for value, told in (("no", answered(1, "no")), ("", None)):
        run = play(plan(step("a"))).expect(A)
        run.tell(
            asked(
                "a", then=m.Then.SETTLE, choices=("yes", "no"), refusals=("no",), expires_at_ms=50
            )
        )
        run.expect(AttemptEnded("a"), QuestionRaised("r.q1"))
        assert states.next_wakeup(run.state, 3) == 50
        run.at(50).tell(told or granted())
        run.expect(QuestionAnswered("r.q1", value), StepSettled("a", "failed"), RunEnded("failed"))


def test_a_question_that_expires_takes_its_default():
    run = play(plan(step("a"))).expect(A)
    run.quietly(asked("a", choices=("yes", "no"), expires_at_ms=50, default="yes"))
    run.at(49).tell(granted()).expect()
    run.at(50).tell(granted()).expect(QuestionAnswered("r.q1", "yes"), AttemptStarted("a", 2))


def test_an_attempt_that_asks_nothing_has_failed():
    outcome = m.Outcome(ending=m.Ending.ASKED)
    run = play(plan(step("a"))).expect(A)
    run.tell(m.ReportOutcome(step="a", attempt=1, outcome=outcome))
    run.expect(AttemptEnded("a"), StepSettled("a", "failed"), RunEnded("failed")).done()


def test_an_open_question_keeps_the_run_open():
    run = play(plan(step("a"))).expect(A).quietly(m.RaiseQuestion(question=m.Question(message="?")))
    run.tell(ended("a")).expect(AttemptEnded("a"))
    run.tell(answered(1, "x")).expect(QuestionAnswered("r.q1"), OVER)


def test_check_ins_notes_and_facts_are_kept():
    with play(plan(step("a"))) as run:
        run.expect(A).tell(m.CheckIn(step="a", done="x", next="y", blockers=("z",), by="a"))
        run.expect(CheckedIn("a", done="x")).tell(m.SendNote(step="a", text="hurry"))
        run.expect(NoteSent("a", "hurry"))
        run.tell(m.ReportProgress(step="a", attempt=1, facts={"head": "c0"})).expect(
            AttemptProgressed("a")
        )
        run.tell(m.ReportProgress(step="a", attempt=1, facts={"head": "c0"})).expect()
        run.refuse(m.ReportProgress(step="a", attempt=2), "not its latest")
        assert run.state.steps["a"].facts == {"head": "c0"}
        run.quietly(ended("a")).refuse(m.SendNote(step="a", text="x"), "not running")


def test_a_clock_that_is_set_back_does_not_turn_the_journal_back():
    run = play(plan(step("a"), step("b", "a"))).at(1000).quietly(m.CheckIn(step="a"))
    run.at(5).quietly(ended("a"))
    assert [event.at_ms for event in run.log] == sorted(event.at_ms for event in run.log)


def test_a_child_run_knows_its_parent():
    run = play(plan(step("a")), parent=("r0", "map", 2), by="ann")
    run.quietly(ended("a"))
    assert run.state.parent == ("r0", "map", 2)
    assert run.log[0].by == "ann"
    run.refuse(m.StartRun(run="r", plan=plan()), "started already")
