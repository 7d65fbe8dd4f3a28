"""Each type of step does what it says, in document order, whatever expands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet.adapters.memory import Memory
from fleet.core import messages as m
from fleet.errors import FleetError
from fleet.files.flows.inputs import read_inputs
from fleet.runtimes.runs import now_ms
from support.flow_world import FlowWorld, outputs, states
from support.mcp_peers import BY_HAND, alive, noted

TOOLS = """\
def double(value): return 2 * value
def web(query): return {"found": [query]}
def broken(): raise ValueError("no such thing")
"""
FUNCTIONS = "functions: {double: 'tools:double', web.find: 'tools:web', bad: 'tools:broken'}\n"


@pytest.fixture
def flow(tmp_path: Path, tmux_socket: str) -> FlowWorld:
    return FlowWorld(tmp_path, tmux_socket, FUNCTIONS, tools_py=TOOLS)


def test_state_is_what_the_nearest_step_before_has_set(flow):
    run = flow.play("""
initial_state: {x: 1, y: [1, 2]}
steps:
  - {id: a, type: set_state, updates: {x: "{{ state.x + 1 }}", z: "{{ state.y }}"}}
  - {id: b, type: set_state, updates: {x: "{{ state.x * 10 }}"}}
  - id: c
    type: return
    value: {x: "{{ state.x }}", z: " {{ state.z }} ", text: "x={{ state.x }}"}
""")
    assert run["state"] == "succeeded"
    assert run["result"] == {"x": 20, "z": [1, 2], "text": "x=20"}


def test_a_condition_adds_the_branch_that_it_takes_and_no_other(flow):
    run = flow.play("""
inputs: {deep: {type: boolean, default: true}}
steps:
  - id: outer
    type: condition
    if: "{{ inputs.deep }}"
    then:
      - id: inner
        type: condition
        if: inputs.deep and false
        then: [{id: never, type: set_state, updates: {x: 1}}]
        else: [{id: taken, type: set_state, updates: {x: 2}}]
    else: [{id: other, type: set_state, updates: {x: 3}}]
  - {id: end, type: return, value: "{{ state.x }}"}
""")
    assert run["result"] == 2
    assert {"never", "other"}.isdisjoint(states(run))


def test_loops_go_round_until_their_condition_says_so(flow):
    run = flow.play("""
initial_state: {n: 0, log: ""}
steps:
  - id: count
    type: while
    condition: state.n < 3
    max: 5
    steps:
      - id: more
        type: set_state
        updates: {n: "{{ state.n + 1 }}", log: "{{ state.log }}{{ round }}"}
      - {id: seen, type: set_state, updates: {last: "{{ steps.more.output.n }}"}}
  - id: back
    type: repeat
    until: "{{ round == 2 }}"
    max: 5
    steps: [{id: less, type: set_state, updates: {n: "{{ state.n - 1 }}"}}]
  - {id: end, type: return, value: ["{{ state.n }}", "{{ state.log }}", "{{ state.last }}"]}
""")
    assert run["result"] == [1, "123", 3]


def test_a_loop_that_would_go_on_after_its_last_round_has_failed(flow):
    run = flow.play("""
steps:
  - id: w
    type: while
    condition: "true"
    max: 2
    steps: [{id: s, type: set_state, updates: {x: 1}}]
  - {id: after, type: set_state, updates: {y: 1}}
""")
    assert run["state"] == "failed"
    assert states(run)["after"] == "unreached"
    assert "after 2 rounds" in next(one["error"] for one in run["steps"] if one["id"] == "w")


def test_what_holds_a_failed_step_has_failed_and_names_it(flow):
    run = flow.play("""
steps:
  - id: outer
    type: foreach
    items: [1]
    steps:
      - id: each
        type: foreach
        items: [0, 1]
        steps: [{id: bad, type: shell, command: "exit {{ item }}"}]
""")
    assert states(run)["outer[0]/each"] == states(run)["outer"] == "failed"
    told = {one["id"]: one["error"] for one in run["steps"]}
    assert told["outer"] == "outer[0]/each failed"
    assert told["outer[0]/each"] == "outer[0]/each[1]/bad failed"


def test_foreach_keeps_order_and_what_an_item_sets_stays_in_it(flow):
    run = flow.play("""
initial_state: {x: 0, found: []}
steps:
  - id: each
    type: foreach
    items: "{{ range(300) | list }}"
    max_parallel: 20
    output_to: found
    steps:
      - {id: own, type: set_state, updates: {x: "{{ state.x + item + index }}"}}
      - {id: out, type: return, value: "{{ state.x }}"}
  - {id: none, type: foreach, items: [], steps: [{id: idle, type: set_state, updates: {x: 9}}]}
  - id: end
    type: return
    value: ["{{ state.x }}", "{{ state.found }}", "{{ steps.none.output }}"]
""")
    assert run["result"] == [0, [2 * n for n in range(300)], []]


def test_a_subworkflow_sees_its_inputs_and_nothing_of_its_caller(flow):
    flow.put(
        "sub.yaml",
        """
name: adds
inputs: {a: {type: number, required: true}, b: {type: number, default: 5}}
initial_state: {sum: "{{ inputs.a + inputs.b }}"}
steps:
  - id: early
    type: condition
    if: "{{ state.sum > 6 }}"
    then: [{id: stop, type: return, value: big}]
  - {id: late, type: return, value: "{{ state.sum }}"}
""",
    )
    run = flow.play("""
steps:
  - {id: small, type: workflow, workflow: adds, inputs: {a: 1}}
  - {id: big, type: workflow, file: sub.yaml, inputs: {a: 10}}
  - {id: each, type: foreach, items: [{a: 1}, {a: 2}], task: sub}
  - {id: wrong, type: workflow, workflow: adds, inputs: {a: "{{ 'text' }}"}}
""")
    found = outputs(run)
    assert (found["small"], found["big"], found["each"]) == (6, "big", [6, "big"])
    assert run["state"] == "failed"
    assert "must be of type number" in run["steps"][-1]["error"]
    assert "big/late" not in found


def test_return_ends_the_workflow_where_it_stands(flow):
    run = flow.play("""
steps:
  - {id: a, type: return, value: early}
  - {id: b, type: set_state, updates: {x: 1}}
""")
    assert (run["state"], run["result"]) == ("succeeded", "early")
    assert "b" not in states(run)


def test_a_command_gets_values_as_variables_and_never_as_its_own_text(flow):
    hostile = "\"; touch pwned; $(touch pwned) `touch pwned` ' \\ {{ 7 * 7 }}"
    run = flow.play(
        """
inputs: {text: {type: string}}
steps:
  - {id: bare, type: shell, command: "printf %s {{ inputs.text }}; echo aside >&2"}
  - {id: double, type: shell, command: 'printf %s "{{ inputs.text }}"'}
  - {id: single, type: shell, command: "printf %s '{{ inputs.text }}'"}
  - {id: words, type: shell, command: [printf, "%s", "{{ inputs.text }}"]}
  - {id: named, type: shell, command: 'printf %s "$T"', env: {T: "{{ steps.bare.output }}"}}
  - {id: red, type: shell, command: "ls; echo no >&2; exit 3"}
""",
        inputs={"text": hostile},
    )
    found = outputs(run)
    assert {found[name] for name in ("bare", "double", "single", "words", "named")} == {hostile}
    assert run["steps"][-1]["error"] == "the command exited with 3:\nno"
    assert not list(flow.world.folder.rglob("pwned"))


def test_tools_are_built_in_or_functions_of_the_fleet(flow):
    run = flow.play("""
steps:
  - id: save
    type: mcp_call
    tool: memory.save
    parameters: {key: k, value: {a: "{{ double(21) }}"}}
  - id: add
    type: mcp_call
    tool: memory.add
    parameters: {category: notes, content: "the blue whale"}
  - {id: get, type: mcp_call, tool: memory.get, parameters: {key: k}}
  - {id: search, type: mcp_call, tool: memory.search, parameters: {query: 'whale "OR'}}
  - {id: own, type: mcp_call, tool: web.find, parameters: {query: q}, output_to: hits}
  - {id: bad, type: mcp_call, tool: bad, needs_state: [hits]}
""")
    found = outputs(run)
    assert found["get"] == {"found": True, "value": {"a": 42}}
    assert found["search"]["results"] == []
    assert found["own"] == {"found": ["q"]}
    assert run["steps"][-1]["error"] == "bad: ValueError: no such thing"
    results = Memory(flow.world.folder).search("WHALE")["results"]
    assert results == [{"key": None, "category": "notes", "content": "the blue whale"}]


def test_a_call_to_a_server_ends_with_its_attempt(tmp_path, tmux_socket):
    notes = tmp_path / "notes"
    command = json.dumps([*BY_HAND, str(notes)])
    functions = FUNCTIONS.replace("web.find", "hand.own")
    servers = f"mcp_servers: {{hand: {{command: {command}}}}}\n"
    flow = FlowWorld(tmp_path, tmux_socket, servers + functions, tools_py=TOOLS)
    run = flow.play(
        """
steps:
  - {id: own, type: mcp_call, tool: hand.own, parameters: {query: q}}
  - {id: twice, type: mcp_call, tool: hand.echo, parameters: {n: "{{ double(21) }}"}}
  - {id: hangs, type: mcp_call, tool: hand.hang}
""",
        until=lambda _: "hang" in " ".join(noted(notes, "call")),
        then=lambda player: player.tell(m.CancelRun(at_ms=now_ms())),
    )
    assert run["state"] == "cancelled"
    assert outputs(run) == {"own": {"found": ["q"]}, "twice": {"n": 42}, "hangs": None}
    assert not any(alive(int(pid)) for pid in noted(notes, "start"))


@pytest.mark.parametrize(
    ("told", "given", "output"),
    [
        ("input: confirm", ("no",), {"confirmed": False}),
        ("input: number", ("many", "12"), 12),
        ("input: choice, choices: [red, green]", ("green",), "green"),
        ("input: text", ("{{ inputs }}",), "{{ inputs }}"),
    ],
)
def test_an_answer_is_checked_and_typed(flow, told, given, output):
    run = flow.play(
        f"steps: [{{id: ask, type: prompt, message: 'How?', {told}, output_to: said}},"
        " {id: end, type: return, value: '{{ state.said }}'}]",
        answers=given,
    )
    assert (run["state"], run["result"]) == ("succeeded", output)


def test_a_rejection_ends_the_run_or_goes_where_the_workflow_says(flow):
    ends = flow.play(
        "steps: [{id: ok, type: approve, message: Go?},"
        " {id: go, type: set_state, updates: {x: 1}}]",
        answers=("reject",),
    )
    assert (ends["state"], states(ends)["go"]) == ("failed", "unreached")
    assert ends["steps"][0]["error"] == "rejected by ada"
    goes = flow.play(
        """
steps:
  - id: ok
    type: approve
    message: Go?
    else: [{id: back, type: return, value: "back, {{ steps.ok.output.by }}"}]
  - {id: go, type: return, value: went}
""",
        answers=("reject",),
    )
    assert (goes["state"], goes["result"]) == ("succeeded", "back, ada")


def test_an_approval_counts_only_of_whom_the_step_names_and_never_of_who_did_the_work(flow):
    flow.play(
        """
steps:
  - {id: work, type: delegate, agent: dev, instructions: "say it"}
  - {id: ok, type: approve, message: Go?, by: grace}
""",
        roles={"dev": "echo it"},
        answers=("approve",),
    )

    def said(value: str, by: str) -> str:
        (asked,) = flow.world.state.questions.values()
        told = m.AnswerQuestion(id=asked.id, value=value, by=by, at_ms=now_ms())
        state = flow.world.play(None, told)
        return next((one.question.message for one in state.questions.values()), "")

    assert said("reject", "bob") == "grace approves this, not bob. Go?"
    assert said("approve", "agent:dev") == "dev cannot approve its own work. Go?"
    assert said("approve", "grace") == ""
    assert flow.world.state.ended == "succeeded"


def test_a_prompt_ends_in_time_only_where_the_workflow_says_so(flow):
    run = flow.play("""
steps:
  - {id: a, type: prompt, message: Now?, timeout: 0.05, default: later, output_to: x}
  - {id: yes, type: prompt, message: Now?, timeout: 0.05, default: "yes", input: confirm}
  - {id: n, type: prompt, message: Now?, timeout: 0.05, default: "{{ 6 * 7 }}", input: number}
  - {id: b, type: approve, message: Now?, timeout: 0.05}
""")
    found = outputs(run)
    assert (found["a"], found["yes"], found["n"]) == ("later", {"confirmed": True}, 42)
    assert run["steps"][3]["error"] == "nobody approved in time"
    asked = [one.question for one in flow.world.state.answers.values()]
    assert [one.default for one in asked] == ["later", "yes", "42", None]
    assert all(one.expires_at_ms for one in asked)
    waits = flow.play("steps: [{id: a, type: prompt, message: Now?, default: later}]")
    (question,) = flow.world.state.questions.values()
    assert (waits["state"], question.question.expires_at_ms) == ("waiting", None)


def test_an_agents_words_are_data_wherever_they_go(flow):
    hostile = "{{ inputs.secret }} {a.output} $(touch pwned)"
    run = flow.play(
        """
inputs: {secret: {default: hidden}}
steps:
  - {id: a, type: delegate, agent: "@dev", instructions: "say it", output_to: said}
  - {id: b, type: delegate, agent: dev, instructions: "again: {{ state.said }}"}
  - {id: c, type: shell, command: "printf %s {{ steps.a.output }}"}
  - {id: d, type: set_state, updates: {copy: "{{ state.said }}"}}
""",
        roles={"dev": f"cat <<'E'\n{hostile}\nE\ngrep again: $FLEET_BRIEF >&2; cp $FLEET_BRIEF ."},
    )
    assert run["state"] == "succeeded"
    found = outputs(run)
    assert found["a"] == found["c"] == found["d"]["copy"] == hostile
    brief = flow.world.folder / "scratch/plan/b/work/brief.md"
    assert f"again: {hostile}" in brief.read_text()
    assert (flow.world.folder / "scratch/plan/b/outputs/a.md").read_text() == hostile
    assert not list(flow.world.folder.rglob("pwned"))


def test_an_agents_output_follows_its_schema_or_is_tried_again(flow):
    said = json.dumps({"verdict": "good"})
    run = flow.play(
        """
steps:
  - id: judge
    type: delegate
    agent: dev
    instructions: Judge.
    attempts: 2
    output: {type: object, required: [verdict]}
  - {id: end, type: return, value: "{{ steps.judge.output.verdict }}"}
""",
        roles={"dev": f"case $FLEET_ATTEMPT in 1) echo fine;; *) echo '{said}';; esac"},
    )
    assert run["result"] == "good"
    assert run["steps"][0]["attempts"] == 2


def test_an_output_that_is_nested_without_end_is_no_value(flow):
    deep = "python3 -c \"print('[' * 5000 + ']' * 5000)\""
    run = flow.play(
        """
steps:
  - {id: deep, type: delegate, agent: dev, instructions: Nest., output: {type: array}}
""",
        roles={"dev": deep},
    )
    assert (run["state"], run["steps"][0]["attempts"]) == ("failed", 1)
    assert "no JSON value" in run["steps"][0]["error"]
    assert read_inputs({}, {"x": "[" * 5_000}) == {"x": "[" * 5_000}


def test_a_step_in_a_worktree_of_its_own_starts_from_the_base(flow):
    run = flow.play(
        """
steps:
  - {id: work, type: delegate, agent: dev, workspace: worktree, instructions: Look.}
  - {id: look, type: shell, workspace: worktree, command: "git rev-parse --abbrev-ref HEAD"}
""",
        roles={"dev": "git rev-parse --abbrev-ref HEAD; test -e coordination.md"},
    )
    assert outputs(run) == {"work": "fleet/plan/work", "look": "fleet/plan/look"}


def test_a_graphs_agent_finds_earlier_outputs_in_its_brief_and_as_files(flow):
    run = flow.play(
        """
workspace: worktree
workflow:
  - {id: a, role: dev, task: "Say {who}.", workspace: none}
  - {id: b, role: dev, task: "Heard: {a.output}", deps: [a]}
  - {id: c, role: dev, task: "Heard: {a.output} and {b.output}", deps: [b], timeout: 60}
""",
        roles={
            "dev": """
git rev-parse --abbrev-ref HEAD 2>/dev/null || echo nowhere
grep -o 'Heard: .*' $FLEET_BRIEF
for one in $(grep -o '/[^`]*outputs/[a-z]*.md' $FLEET_BRIEF); do
  echo "$(basename $one): $(head -1 $one)"
done
true"""
        },
    )
    found = outputs(run)
    assert found["a"].splitlines()[0] in ("nowhere", "main")
    assert found["b"].splitlines()[0] == "fleet/plan/b"
    assert f"a.md: {found['a'].splitlines()[0]}" in found["b"]
    assert "a.md: " in found["c"]
    assert "b.md: fleet/plan/b" in found["c"]
    assert list(run["result"]) == ["c"]


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("{id: s, type: foreach, items: '{{ 3 }}', steps: [{id: t, type: return}]}", "no list"),
        ('{id: s, type: set_state, updates: {x: "{{ state.x.y }}"}}', "has no attribute 'y'"),
        ("{id: s, type: set_state, updates: {x: \"{{ 'a' * 10 ** 9 }}\"}}", "longer than"),
        ('{id: s, type: set_state, needs_state: [x], updates: {x: "{{ item }}"}}', "has set: x"),
        ('{id: s, type: set_state, updates: {x: "{{ item }}"}}', "'item' is undefined"),
    ],
)
def test_what_an_expression_may_not_be_is_the_steps_own_failure(flow, step, error):
    run = flow.play(f"initial_state: {{x: null}}\nsteps: [{step}]")
    assert run["state"] == "failed"
    assert error in run["steps"][0]["error"]


@pytest.mark.parametrize(("rounds", "state"), [(3, "succeeded"), (2, "failed")])
def test_what_a_verify_finds_is_the_rework_of_the_step_that_it_judges(flow, rounds, state):
    run = flow.play(
        f"""
steps:
  - {{id: work, type: delegate, agent: dev, instructions: Write three lines., output_to: said}}
  - id: judge
    type: verify
    of: work
    attempts: {rounds}
    checks: ['test "$(wc -l < lines)" -ge 3 || (echo too few lines; exit 1)']
  - {{id: end, type: return, value: ["{{{{ state.said }}}}", "{{{{ steps.work.output }}}}"]}}
""",
        roles={"dev": "echo line >> lines; grep -c 'too few lines' $FLEET_BRIEF | tail -1; true"},
    )
    assert run["state"] == state
    if state == "succeeded":
        said, again = run["result"]
        assert said == again != "0"
        assert outputs(run)["judge"]["rounds"] == 3
    else:
        assert states(run) == {"work": "succeeded", "judge": "failed", "end": "unreached"}


JUDGE = """
echo "round $FLEET_ATTEMPT" >> {top}/judged
grep -q 'It worked in `.*work/work`' $FLEET_BRIEF || exit 1
grep -q 'Look for {{ hostile }}' $FLEET_BRIEF || exit 1
case $(cat $(grep -o '/[^`]*outputs/work.md' $FLEET_BRIEF | head -1)) in
  "try 2") echo '{"passed": true, "findings": []}' ;;
  *) echo '{"passed": false, "findings": ["$(touch pwned) no second line"]}' ;;
esac
"""
WORKER = "echo try $FLEET_ATTEMPT; test $FLEET_ATTEMPT = 1 || grep -q 'no second' $FLEET_BRIEF"


@pytest.mark.parametrize(("rounds", "state"), [(2, "succeeded"), (1, "failed")])
def test_an_agents_verdict_is_the_rework_of_the_step_that_it_judges(flow, rounds, state):
    top = flow.world.folder
    text = f"""
inputs: {{what: {{default: "{{{{ hostile }}}}"}}}}
steps:
  - {{id: work, type: delegate, agent: dev, instructions: Write it.}}
  - id: judge
    type: verify
    of: work
    agent: "@critic"
    instructions: "Look for {{{{ inputs.what }}}}"
    attempts: {rounds}
  - id: end
    type: return
    value: ["{{{{ steps.work.output }}}}", "{{{{ steps.judge.output }}}}"]
"""
    roles = {"dev": WORKER, "critic": JUDGE.replace("{top}", str(top))}
    run = flow.play(text, roles=roles)
    assert (run["state"], states(run)["work"]) == (state, "succeeded")
    row = {one["id"]: one for one in run["steps"]}["judge"]
    assert (row["attempts"], row["agent"]) == (rounds, "critic")
    lines = (top / "judged").read_text().splitlines()
    assert lines == [f"round {number}" for number in range(1, rounds + 1)]
    assert not list(top.rglob("pwned"))
    if state == "succeeded":
        said, verdict = run["result"]
        assert (said, verdict["passed"], verdict["rounds"]) == ("try 2", True, 2)
    else:
        assert row["error"] == "red: verdict of critic"
        kind = """echo '{"passed": true, "findings": ["well"]}'"""
        run = flow.resume(text, roles={**roles, "critic": kind})
        assert (run["result"][0], run["result"][1]["findings"]) == ("try 1", ["well"])


def test_a_judge_without_a_verdict_is_asked_anew_of_what_was_made_last(flow):
    text = """
steps:
  - {id: work, type: delegate, agent: dev, instructions: Write it.}
  - {id: judge, type: verify, of: work, agent: critic}
  - {id: end, type: return, value: ["{{ steps.work.output }}", "{{ steps.judge.output.rounds }}"]}
"""
    bad = """echo '{"passed": false, "findings": ["no"]}'"""
    seen = "cat $(grep -o '/[^`]*outputs/work.md' $FLEET_BRIEF | head -1)"
    roles = {
        "dev": "echo try $FLEET_ATTEMPT",
        "critic": f"test $FLEET_ATTEMPT = 1 && {bad} || echo",
    }
    run = flow.play(text, roles=roles)
    assert run["state"] == "failed"
    assert "no JSON value" in run["steps"][1]["error"]
    good = """echo '{"passed": true, "findings": []}'"""
    says = f"{seen} | grep -q 'try 2' && {good}"
    run = flow.resume(text, roles={**roles, "critic": says})
    assert (run["state"], run["result"]) == ("succeeded", ["try 2", 2]), run


def test_a_verdict_must_have_the_form_of_one_and_else_takes_a_red_one_up(flow):
    run = flow.play(
        """
steps:
  - {id: made, type: shell, command: "echo made > it; echo 3"}
  - {id: red, type: verify, of: made, checks: ["test -e gone"], else: [
      {id: undo, type: shell, command: "echo undone {{ steps.red.output.passed }}"}]}
  - {id: green, type: verify, of: made, checks: ["grep made it"], else: [
      {id: never, type: shell, command: "echo never"}]}
  - {id: talk, type: verify, of: made, agent: critic}
""",
        roles={"critic": "echo fine by me"},
    )
    found = outputs(run)
    assert (found["undo"], "never" in found) == ("undone false", False)
    assert (found["red"]["passed"], found["green"]["passed"]) == (False, True)
    assert run["state"] == "failed"
    assert "no JSON value" in run["steps"][-1]["error"]


def test_a_namespace_of_the_memory_has_a_bound_and_its_values_can_still_be_replaced(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("fleet.adapters.memory.ENTRIES", 2)
    memory = Memory(tmp_path)
    memory.save("k", 1)
    memory.add("notes", "red fox")
    for more in (lambda: memory.add("notes", "blue fox"), lambda: memory.save("other", 1)):
        with pytest.raises(FleetError, match="2 entries"):
            more()
    memory.save("k", 2)
    memory.save("other", 1, namespace="n")
    assert memory.get("k")["value"] == 2
    assert len(memory.entries()) == 3


def test_a_memory_is_carried_to_another_fleet(tmp_path):
    here, there = Memory(tmp_path / "a"), Memory(tmp_path / "b")
    here.save("k", {"deep": [1]}, namespace="n")
    here.add("notes", "red fox", origin="r/s/1")
    here.add("notes", "red fox", origin="r/s/1")  # the same attempt, after a crash
    assert there.restore(here.entries()) == 2
    assert there.restore(here.entries()) == 2  # nothing is there twice
    assert there.entries() == here.entries()
    with pytest.raises(FleetError, match="1 MiB"):
        there.restore([{"key": "small", "content": 1}, {"key": "big", "content": "x" * (1 << 20)}])
    assert there.entries() == here.entries()
    assert there.get("k", namespace="n") == {"found": True, "value": {"deep": [1]}}
    assert [one["content"] for one in there.search("fox")["results"]] == ["red fox"]
    with pytest.raises(FleetError):
        here.save("big", "x" * (1 << 20))
    with pytest.raises(FleetError, match="takes no 'kee', needs 'key'"):
        here.call("save", {"kee": "k", "value": 1}, key="")


def test_a_reference_is_filled_in_once_and_never_looked_at_again(flow):
    hostile = "{{ 7 * 7 }} {a.output} {b.output}"
    run = flow.play(
        """
workflow:
  - {id: a, role: dev, task: Say it.}
  - {id: b, role: dev, task: "got <{a.output}> {other}", deps: [a]}
""",
        roles={"dev": f"grep -o 'got.*' $FLEET_BRIEF || cat <<'E'\n{hostile}\nE\n"},
    )
    assert run["result"] == {"b": f"got <{hostile}> {{other}}"}
