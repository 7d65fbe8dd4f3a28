"""What holds for any plan and any commands, in any order; the promises are the simulator's."""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet import codec
from fleet.core import messages as m
from fleet.core.decide import decide
from fleet.core.evolve import evolve, replay
from fleet.core.ledger import grant, ledger_of
from fleet.core.state import State, next_wakeup, outstanding, wants
from fleet.errors import Rejected
from simulation import people
from simulation.checkers import Observer, limits_hold

PLANS = st.integers(0, 2**32).map(lambda seed: people.some_plan(Random(seed)))
SORTS = ["end", "end", "grant", "grant", "wish", "fair", "sleep"]
MOVES = st.lists(
    st.tuples(st.sampled_from(SORTS), st.integers(0, 2**32)),
    max_size=40,
)  # fmt: skip
ROUNDS = settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def shown(state: State) -> str:
    return codec.dump_state(state) + repr((state.ready, state.dependents, state.failures))


class Scene:
    """One run under the observer's eyes."""

    def __init__(self, plan: object) -> None:
        self.state: State | None = None
        self.log: list[m.Event] = []
        self.seen = Observer()
        self.now = 1
        self.tell(m.StartRun(run="r", plan=plan))

    def tell(self, command: m.Command) -> None:
        command = codec.loads_command(codec.dumps(command))
        command = type(command)(**{**_fields(command), "at_ms": self.now})
        before = shown(self.state) if self.state else ""
        try:
            events = decide(self.state, command)
        except Rejected:
            events = ()
        assert before == (shown(self.state) if self.state else ""), "decide changes nothing"
        for event in events:
            told = codec.loads_event(codec.dumps(event))
            assert told == event
            self.seen.before(self.state, told)
            self.state = evolve(self.state, told)
            self.seen.after(self.state, told)
            limits_hold([self.seen], people.LIMITS)
            self.log.append(told)
        self.seen.at_rest(self.state, ticked=isinstance(command, m.Tick))

    def move(self, sort: str, seed: int) -> None:
        dice, state = Random(seed), self.state
        if sort == "end" and state.running:
            name = dice.choice(list(state.running))
            outcome = people.hostile_outcome(dice, state, state.steps[name], "x")
            self.tell(m.ReportOutcome(step=name, attempt=state.running[name], outcome=outcome))
        elif sort == "grant":
            ledger = ledger_of([state], people.LIMITS)
            granted = grant(ledger, {"r": wants(state, self.now)}, self.now)
            self.tell(m.Tick(grants=tuple(granted.get("r", ()))))
        elif sort == "wish":
            self.tell(people.hostile_wish(dice, state))
        elif sort == "fair":
            for wish in people.fair_wishes(dice, state):
                self.tell(wish)
        else:
            self.now = next_wakeup(state, self.now) or self.now + dice.randint(-5, 500)


def _fields(command: m.Command) -> dict[str, object]:
    return {name: getattr(command, name) for name in command.__dataclass_fields__}


@ROUNDS
@given(PLANS, MOVES)
def test_every_promise_holds_after_every_event_of_any_run(plan, moves):
    scene = Scene(plan)
    for sort, seed in moves:
        scene.move(sort, seed)
    assert replay(scene.log) == scene.state
    assert replay(codec.loads_event(codec.dumps(event)) for event in scene.log) == scene.state


@ROUNDS
@given(PLANS, MOVES, MOVES)
def test_a_snapshot_is_the_state_and_decides_alike(plan, moves, later):
    scene = Scene(plan)
    for sort, seed in moves:
        scene.move(sort, seed)
    twin = Scene(plan)
    twin.state, twin.log = codec.load_state(codec.dump_state(scene.state)), list(scene.log)
    twin.now = scene.now
    assert twin.state == scene.state
    twin.tell, plain = _bare(twin), _bare(scene)
    scene.tell = plain
    for sort, seed in later[:10]:
        scene.move(sort, seed)
        twin.move(sort, seed)
    assert twin.log == scene.log
    assert twin.state == scene.state
    assert outstanding(twin.state) == outstanding(scene.state)


def _bare(scene: Scene):
    """Telling without an observer, for a twin that came into the story late."""

    def tell(command: m.Command) -> None:
        command = type(command)(**{**_fields(command), "at_ms": scene.now})
        try:
            events = decide(scene.state, command)
        except Rejected:
            return
        for event in events:
            scene.state = evolve(scene.state, event)
            scene.log.append(event)

    return tell


@ROUNDS
@given(st.integers(0, 2**32))
def test_any_command_comes_back_from_the_codec(seed):
    dice = Random(seed)
    scene = Scene(people.some_plan(dice))
    for _ in range(8):
        command = people.hostile_wish(dice, scene.state)
        assert codec.loads_command(codec.dumps(command)) == command
        scene.tell(command)
