"""Who verifies whom, and what waits for that: read from the documents, before they are lowered.

A task that verifies others waits for them as for dependencies. Whatever depends on one of these
waits for the verifier as well, so that nothing begins on a commit that its verifier has not passed;
only what the verifier itself waits for cannot. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet.files.fleet import Fleet

VERDICTS = "verdicts:"
"""What the limits begin with that let verifiers of the same tasks conclude one after the other."""


@dataclass(frozen=True, slots=True)
class Order:
    """`needs`: the tasks that each waits for; `verifiers`: who verifies a task, those that nobody
    verifies left out; `limits`: the limit of one unit that a verifier concludes under.
    """

    needs: Mapping[str, tuple[str, ...]]
    verifiers: Mapping[str, tuple[str, ...]]
    limits: Mapping[str, str]


def order_of(fleet: Fleet) -> Order:
    """Returns what waits for what: for dependencies, for those that are verified, and for the
    verifiers of dependencies in the same phase. There is no circle in it that is not in the
    documents.
    """
    verifiers = _verifiers(fleet)
    return Order(_needs(fleet, verifiers), verifiers, _limits(fleet, verifiers))


def _verifiers(fleet: Fleet) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for task in fleet.tasks.values():
        for name in task.verifies:
            found.setdefault(name, []).append(task.id)
    return {name: tuple(dict.fromkeys(told)) for name, told in found.items()}


def _needs(fleet: Fleet, verifiers: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    needs = {task.id: list(task.waits_for) for task in fleet.tasks.values()}
    for task in fleet.tasks.values():
        for name in task.dependencies:
            for one in verifiers.get(name, ()):
                if fleet.tasks[one].checkpoint is not None:
                    continue  # it says itself what waits for it
                if fleet.tasks[one].phase != task.phase:
                    continue  # it has passed by then, before the gate of its phase, or judges later
                if one not in needs[task.id] and not _reaches(needs, one, task.id):
                    needs[task.id].append(one)
    return {name: tuple(told) for name, told in needs.items()}


def _reaches(needs: Mapping[str, Iterable[str]], start: str, end: str) -> bool:
    """Whether a task waits for another, directly or not, or is that very one."""
    seen, todo = {start}, [start]
    while todo:
        name = todo.pop()
        if name == end:
            return True
        new = set(needs[name]) - seen
        seen |= new
        todo += new
    return False


def _limits(fleet: Fleet, verifiers: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Returns one limit for all verifiers that have a task in common, also by way of others: what
    one of them sends back, the next one sees.
    """
    group = {task.id: task.id for task in fleet.tasks.values() if task.verifies}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for told in verifiers.values():
        for other in told[1:]:
            first, second = sorted((root(told[0]), root(other)))
            group[second] = first
    return {name: f"{VERDICTS}{root(name)}" for name in group}
