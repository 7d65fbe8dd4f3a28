"""An attempt of an agent, from its brief to what its end means: real tmux, real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fleet.adapters.offers import Offer
from fleet.core import messages as m
from fleet.core.plan import Failure, Retry
from fleet.runtimes.runs import now_ms
from support.kind_world import KindWorld, standings
from support.scripted_fleet import until

COMMIT = "echo hi > OUT.md && git add OUT.md && git commit -qm out"


def test_an_agent_that_delivers_is_verified_at_its_commit(world: KindWorld):
    state = world.play(
        world.plan(*world.task("a", f"{COMMIT}; echo finished", deliverables=["OUT.md"]))
    )
    assert standings(state)["a"] == "succeeded"
    work = state.steps["a/work"]
    assert work.output["said"] == "finished"
    assert work.output["head"] == world.repo.rev("refs/heads/fleet/a")
    assert state.steps["a/check"].output["commit"] == world.repo.rev("refs/fleet/verified/a")
    assert {"session", "pid", "worktree", "started"} <= set(work.facts)


def test_its_environment_and_brief_say_where_it_works(world: KindWorld):
    command = "env > OUT.md; cat $FLEET_BRIEF >> OUT.md; git add -A; git commit -qm out"
    steps = world.task(
        "a", command, deliverables=["OUT.md"], checks=["true"], brief="Build the thing."
    )
    state = world.play(world.plan(*steps))
    seen = (world.tree("a") / "OUT.md").read_text()
    for line in (
        f"FLEET_ROOT={world.root}",
        "FLEET_RUN=plan",
        "FLEET_TASK=a",
        "FLEET_ATTEMPT=1",
        "FLEET_AGENT=ada",
        "FLEET_BRANCH=fleet/a",
        f"FLEET_WORKTREE={world.tree('a')}",
        "GIT_CEILING_DIRECTORIES=",
    ):
        assert line in seen
    assert "\nTMUX=" not in seen
    for said in ("Build the thing.", "Be kind.", "- OUT.md", "- true", "fleet checkin"):
        assert said in seen
    assert standings(state)["a"] == "succeeded"


def test_an_agent_that_exits_0_without_its_deliverable_reworks_with_the_evidence(world: KindWorld):
    command = "[ $FLEET_ATTEMPT = 1 ] || { cp $FLEET_BRIEF OUT.md; git add .; git commit -qm out; }"
    state = world.play(world.plan(*world.task("a", command, deliverables=["OUT.md"], attempts=3)))
    assert standings(state) == {
        "a/worktree": "succeeded",
        "a/work": "succeeded",
        "a/check": "failed",
        "a/work.2": "succeeded",
        "a/check.2": "succeeded",
        "a": "succeeded",
    }
    brief = (world.tree("a") / "OUT.md").read_text()
    assert "deliverable `OUT.md`: no file OUT.md is committed" in brief
    assert "attempt 2" in brief


def test_rework_is_capped_and_then_asked_about(world: KindWorld):
    state = world.play(world.plan(*world.task("a", "true", deliverables=["OUT.md"], attempts=2)))
    assert standings(state)["a/check.2"] == "asking"
    assert "a/work.3" not in state.steps
    assert "no file OUT.md is committed" in next(iter(state.questions.values())).question.message


def test_a_failed_attempt_is_tried_again_and_told_why(world: KindWorld):
    command = (
        f"[ $FLEET_ATTEMPT = 2 ] || {{ echo boom >&2; exit 3; }}; cp $FLEET_BRIEF B.md; {COMMIT}"
    )
    state = world.play(world.plan(*world.task("a", command, deliverables=["OUT.md"], attempts=2)))
    assert standings(state)["a"] == "succeeded"
    brief = (world.tree("a") / "B.md").read_text()
    assert "exited with 3" in brief
    assert "boom" in brief


def test_stop_ends_the_whole_tree(world: KindWorld):
    command = (
        "nohup setsid sleep 987 >/dev/null 2>&1 & trap '' TERM; "
        "touch started; while :; do sleep 1; done"
    )
    plan = world.plan(*world.task("a", command))

    def stop(player):
        player.tell(m.HoldStep(step="a/work", stop=True, at_ms=now_ms()))

    state = world.play(
        plan,
        until=lambda s: "a/work" in s.running and (world.tree("a") / "started").exists(),
        then=stop,
    )
    assert state.steps["a/work"].held
    assert not state.running
    marker = b"FLEET_TASK=a\0"
    mine = [p.pid for p in psutil.process_iter() if _environ(p.pid, marker, world.root)]
    assert mine == []


def _environ(pid: int, marker: bytes, root: Path) -> bool:
    try:
        found = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return marker in found and os.fsencode(root) in found


def test_an_attempt_is_adopted_not_started_twice(world: KindWorld):
    command = (
        f"echo x >> {world.root.parent}/starts; "
        f"while [ ! -e go ]; do sleep 0.05; done; rm go; {COMMIT}"
    )
    plan = world.plan(*world.task("a", command, deliverables=["OUT.md"]))
    starts = world.root.parent / "starts"
    world.play(plan, until=lambda s: "a/work" in s.running and starts.exists())
    (world.tree("a") / "go").touch()
    state = world.play()
    assert standings(state)["a"] == "succeeded"
    assert starts.read_text() == "x\n"


def test_a_lost_attempt_is_an_infra_failure_and_tried_again(world: KindWorld):
    command = f"[ $FLEET_ATTEMPT = 2 ] || {{ touch up; sleep 988; }}; {COMMIT}"
    plan = world.plan(*world.task("a", command, deliverables=["OUT.md"]))
    before = world.play(
        plan,
        until=lambda s: (
            bool(s.steps["a/work"].facts.get("pid")) and (world.tree("a") / "up").exists()
        ),
        then=lambda player: os.kill(player.state.steps["a/work"].facts["pid"], 9),
    )
    assert before.steps["a/work"].attempt == 2
    assert standings(before)["a"] == "succeeded"


def test_secrets_reach_the_process_and_are_masked_in_what_it_says(world: KindWorld, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "s3cr3t-value")
    (world.root.parent / "token").write_text("from-file\n")
    secrets = {
        "A": "env:MY_TOKEN",
        "B": f"file:{world.root.parent}/token",
        "C": "cmd:printf by-command",
    }
    steps = world.task("a", 'echo $A $B $C; test -n "$A$B$C"', agent={"secrets": secrets})
    state = world.play(world.plan(*steps))
    assert state.steps["a/work"].output["said"] == "[A] [B] [C]"


def test_a_secret_that_cannot_be_had_is_told_by_name(world: KindWorld):
    steps = world.task("a", "true", agent={"secrets": {"A": "env:NOT_THERE"}})
    state = world.play(world.plan(*steps))
    assert "secret A: the coordinator has no variable NOT_THERE" in state.steps["a/work"].text
    assert state.steps["a/work"].failure == "agent"


def test_done_with_an_output_beats_the_standard_output(world: KindWorld):
    command = 'echo noise; echo \'{"output": "the answer"}\' > $(dirname $FLEET_BRIEF)/done.json'
    state = world.play(world.plan(*world.task("a", command)))
    assert state.steps["a/work"].output["said"] == "the answer"


def test_a_silent_agent_is_asked_about_and_ended_only_by_a_person(world: KindWorld):
    def stop(player):
        (asked,) = player.state.questions.values()
        assert "no progress" in asked.question.message
        player.tell(m.AnswerQuestion(id=asked.id, value="stop", at_ms=now_ms()))

    plan = world.plan(*world.task("a", "sleep 989", work={"idle_s": 0.6}))
    state = world.play(plan, until=lambda s: bool(s.questions), then=stop)
    assert "ended by a person" in state.steps["a/work"].text
    assert state.steps["a/work"].failure == "task"


def test_a_silent_agent_that_goes_on_withdraws_the_question(world: KindWorld):
    go = world.root.parent / "go"
    command = f"while [ ! -e {go} ]; do sleep 0.1; done; echo on; sleep 1; {COMMIT}"
    plan = world.plan(
        *world.task("a", command, deliverables=["OUT.md"], work={"idle_s": 0.6}, attempts=1)
    )
    world.play(plan, until=lambda s: bool(s.questions), then=lambda _: go.touch())
    assert world.state is not None
    assert standings(world.state)["a"] == "succeeded"
    first = next(iter(world.state.answers.values()))
    assert (first.value, first.note) == ("wait", "It went on by itself.")


def test_a_file_that_is_changed_is_progress_though_nothing_is_said(world: KindWorld):
    go = world.root.parent / "go"
    command = f"while [ ! -e {go} ]; do sleep 0.1; done; echo on > note.txt; sleep 2; {COMMIT}"
    plan = world.plan(
        *world.task("a", command, deliverables=["OUT.md"], work={"idle_s": 0.6}, attempts=1)
    )
    world.play(plan, until=lambda s: bool(s.questions), then=lambda _: go.touch())
    assert world.state is not None
    assert standings(world.state)["a"] == "succeeded"
    first = next(iter(world.state.answers.values()))
    assert (first.value, first.note) == ("wait", "It went on by itself.")


def test_a_client_that_takes_a_step_is_heard(world: KindWorld):
    agent, silent = {"harness": "mcp", "args": []}, {"idle_s": 0.6}
    plan = world.plan(*world.task("a", "", agent=agent, work=silent))

    def work():
        (offer,) = [Offer(one.parent) for one in world.folder.rglob("handed")]
        lease = offer.take("bob", 60)
        until(lambda: not any((offer.folder / "silent").iterdir()), "the end of the question")
        offer.hand_in(lease.key, {"output": "the answer", "client": "bob"})

    client = threading.Thread(target=work, daemon=True)
    state = world.play(plan, until=lambda s: bool(s.questions), then=lambda _: client.start())
    client.join()
    assert standings(state)["a"] == "succeeded"
    first = next(iter(state.answers.values()))
    assert (first.value, first.note) == ("wait", "It went on by itself.")
    assert state.steps["a/work"].output["said"] == "the answer"
    assert state.steps["a/work"].text == "bob handed it in"


def test_of_two_silent_agents_each_is_asked_about_under_a_name_of_its_own(world: KindWorld):
    requests = set()

    def stop(player):
        for asked in list(player.state.questions.values()):
            requests.add(asked.question.about["request"])
            player.tell(m.AnswerQuestion(id=asked.id, value="stop", at_ms=now_ms()))

    tasks = [world.task(name, "sleep 985", work={"idle_s": 0.6}) for name in ("a", "b")]
    plan = world.plan(*(step for task in tasks for step in task))
    state = world.play(plan, until=lambda s: len(s.questions) == 2, then=stop)
    assert len(requests) == 2
    assert all("ended by a person" in state.steps[f"{name}/work"].text for name in ("a", "b"))


CODEX = """#!/bin/sh
echo '{"type":"turn.started"}'
U='{"input_tokens":9,"cached_input_tokens":4,"output_tokens":2}'
echo "{\\"type\\":\\"turn.completed\\",\\"usage\\":$U}"
[ $FLEET_ATTEMPT = 1 ] && exit 3
[ $FLEET_ATTEMPT = 2 ] && sleep 986
exit 0
"""


def test_what_failed_and_silent_attempts_used_counts_too(world: KindWorld):
    program = world.root.parent / "bin" / "codex"
    program.parent.mkdir()
    program.write_text(CODEX)
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    agent = {"harness": "codex", "args": [], "env": {"PATH": path}}
    again = Retry(times=2, on=frozenset(Failure))
    worktree, work, *rest = world.task("a", "", agent=agent, work={"idle_s": 0.6})
    plan = world.plan(worktree, replace(work, ladder=(again,)), *rest)

    def stop(player):
        (asked,) = player.state.questions
        player.tell(m.AnswerQuestion(id=asked, value="stop", at_ms=now_ms()))

    state = world.play(plan, until=lambda s: bool(s.questions), then=stop)
    one = state.steps["a/work"]
    assert (one.attempt, one.standing) == (3, "succeeded")
    assert one.usage == {
        "input_tokens": 15, "cached_tokens": 12, "output_tokens": 6, "tokens": 21, "turns": 3,
    }  # fmt: skip


COPILOT = """#!/bin/sh
[ "$1" = --version ] && echo 1.0 && exit
echo it > OUT.md; git add OUT.md; git commit -qm it
for word in "$@"; do case $word in --session-id=*) id=${word#*=};; esac; done
kept="$COPILOT_HOME/session-state/$id" stops="${FLEET_BRIEF%/*}/session/stops"
mkdir -p "$kept" "$stops"
say() { echo "{\\"type\\":\\"$1\\",\\"data\\":{\\"content\\":\\"$2\\"}}" >> "$kept/events.jsonl"; }
say user.message Do.; say assistant.message 'Not yet.'; say user.message 'Go on.'
trap '[ -z "$LAST" ] || say assistant.message "$LAST"; exit 0' TERM
echo '{"said": ""}' > "$stops/$(date +%s%N)-$$"
while :; do sleep 0.05; done
"""


@pytest.mark.parametrize("last", ["It is written.", ""])
def test_last_words_that_no_hook_tells_are_read_once_the_program_has_ended(world, last):
    """It writes them as it ends; where it does not, those of a turn before are not told as new."""
    top = world.root.parent
    program = top / "bin/copilot"
    program.parent.mkdir()
    program.write_text(COPILOT)
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    env = {"PATH": path, "COPILOT_HOME": str(top / "kept"), "LAST": last}
    agent = {"harness": "copilot", "mode": "interactive", "args": [], "env": env}
    state = world.play(world.plan(*world.task("a", "", agent=agent, deliverables=["OUT.md"])))
    assert state.steps["a/work"].text == "its turn ended with everything in place"
    assert state.steps["a/work"].output["said"] == last


PROGRAM = """
import sys; sys.path[:0] = {path!r}
from pathlib import Path
from support.kind_world import KindWorld
world = KindWorld.__new__(KindWorld)
world.root = Path({root!r}); world.folder = world.root / ".fleet"
world.socket, world.state, world.log = {socket!r}, None, []
world.play(world.plan(*world.task("a", {command!r}, deliverables=["OUT.md"])))
"""


@pytest.mark.parametrize(
    "point",
    [
        "kinds.agent.before_launch",
        "kinds.agent.after_launch",
        "kinds.agent.before_outcome",
        "kinds.check.before_outcome",
    ],
)
def test_after_a_crash_the_agent_has_run_once(world: KindWorld, point: str):
    command = f"echo x >> {world.root.parent}/starts; {COMMIT}"
    program = PROGRAM.format(
        path=sys.path, root=str(world.root), socket=world.socket, command=command
    )
    killed = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "FLEET_CRASH_AT": point}, check=False
    )
    assert killed.returncode == -9
    state = world.play(world.plan(*world.task("a", command, deliverables=["OUT.md"])))
    assert standings(state)["a"] == "succeeded"
    assert (world.root.parent / "starts").read_text() == "x\n"
