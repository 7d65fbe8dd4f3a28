"""What a step is handed by what it needs: outputs, labels and evidence, joins looked through."""

from __future__ import annotations

from fleet.core.plan import JOIN
from fleet.core.state import State


def output_of(state: State, step: str) -> object:
    """Returns what a step put out; a join hands on its need's output, or a list of its needs'."""
    found: dict[str, object] = {}
    todo = [step]
    while todo:
        one = state.known(todo[-1])
        if one is None or one.step.kind != JOIN or one.output is not None:
            found[todo.pop()] = one.output if one else None
            continue
        needs = [need.step for need in one.step.needs]
        missing = [name for name in needs if name not in found]
        if missing:
            todo += missing
            continue
        outputs = [found[name] for name in needs]
        found[todo.pop()] = outputs[0] if len(outputs) == 1 else outputs
    return found[step]


def inputs_of(state: State, step: str) -> dict[str, dict[str, object]]:
    """Returns what the needs of a step put out, joins looked through: id -> {standing, output,
    label, text, attempt, tries, evidence}.
    """
    found: dict[str, dict[str, object]] = {}
    todo = [need.step for need in state.steps[step].step.needs]
    while todo:
        name = todo.pop()
        one = state.known(name)
        if one is None or name in found:
            continue
        found[name] = {
            "standing": str(one.standing),
            "output": output_of(state, name),
            "label": one.label,
            "text": one.text,
            "attempt": one.attempt,
            "tries": one.tries,
            "evidence": one.evidence,
        }
        if one.step.kind == JOIN:
            todo += [need.step for need in one.step.needs]
    return found
