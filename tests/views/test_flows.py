"""What a step of a workflow sees, walked anew and with what was remembered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.core.plan import Need, Step
from fleet.core.state import Standing, StepState
from fleet.views.flows import Found, state_of, step_before

STANDINGS = (Standing.SUCCEEDED,) * 6 + (Standing.FAILED, Standing.SKIPPED, Standing.CANCELLED)


def start() -> StepState:
    flow = {"type": "start", "scope": "", "outer": None, "pos": [-1]}
    step = Step(id=".start", kind="set", params={"flow": flow})
    return StepState(step=step, standing=Standing.SUCCEEDED, output={"state": {"v0": "first"}})


def one(number: int, needs: set[int], sets: str, standing: Standing) -> StepState:
    flow = {"type": "set_state", "scope": "", "id": f"s{number % 7}", "main": True, "pos": [number]}
    names = tuple(Need(step=f"s{need}") for need in sorted(needs)) or (Need(step=".start"),)
    step = Step(id=f"s{number}", kind="set", params={"flow": flow}, needs=names)
    return StepState(step=step, standing=standing, output={sets: number})


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, StepState]:
    found = {".start": start()}
    for number in range(draw(st.integers(1, 40))):
        few = st.sets(st.integers(max(0, number - 4), number - 1), min_size=1, max_size=3)
        needs = draw(few) if number else set()
        sets = draw(st.sampled_from(["v0", "v1", "v2", "v3"]))
        step = one(number, needs, sets, draw(st.sampled_from(STANDINGS)))
        found[step.step.id] = step
    return found


def seen(graph: dict[str, StepState], step: StepState, known: Found | None) -> list[object]:
    found: list[object] = []
    for look_up, names in ((state_of, ("v0", "v1", "v2", "v3")), (step_before, ("s1", "s5"))):
        for name in names:
            try:
                value = look_up(graph.get, step, name, known)
            except KeyError:
                value = None
            found.append(value.step.id if isinstance(value, StepState) else value)
    return found


@given(graphs())
def test_what_is_remembered_is_what_a_walk_would_find(graph: dict[str, StepState]) -> None:
    known: Found = {}
    for step in graph.values():
        assert seen(graph, step, known) == seen(graph, step, None), step.step.id


def test_a_long_chain_is_walked_once() -> None:
    graph = {".start": start()}
    for number in range(300):
        step = one(number, {number - 1} if number else set(), "v1", Standing.SUCCEEDED)
        graph[step.step.id] = step
    known: Found = {}
    looks: list[int] = []
    for step in graph.values():
        asked: list[str] = []

        def look(name: str, asked: list[str] = asked) -> StepState | None:
            asked.append(name)
            return graph.get(name)

        if step.step.id != ".start":
            assert state_of(look, step, "v0", known) == "first"
            looks.append(len(asked))
    assert max(looks) == max(looks[:3]), "the last step looks as little as the first ones"


def test_what_was_skipped_is_not_remembered_for_its_past_may_still_go_on() -> None:
    graph = {".start": start()}
    graph["s0"] = one(0, set(), "v0", Standing.RUNNING)
    graph["s1"] = one(1, {0}, "v1", Standing.SKIPPED)
    graph["s2"] = one(2, {1}, "v2", Standing.SUCCEEDED)
    graph["s3"] = one(3, {2}, "v3", Standing.SUCCEEDED)
    known: Found = {}
    assert state_of(graph.get, graph["s2"], "v0", known) == "first"
    graph["s0"].standing = Standing.SUCCEEDED
    assert state_of(graph.get, graph["s3"], "v0", known) == 0
