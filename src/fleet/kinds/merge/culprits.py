"""Who breaks a phase: a smallest set of its tasks whose combined tree is red.

Law: only asks whether a subset is red, and never the same question twice if whoever answers keeps
the answers. A subset that cannot be put together has no answer, and blames nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Part = TypeVar("Part")
IsRed = Callable[[Sequence[Part]], Awaitable[bool | None]]


async def smallest_red(parts: Sequence[Part], is_red: IsRed[Part]) -> tuple[Part, ...]:
    """Returns a set of `parts`, which are red together, that is red and none of which can be left
    out, in their order; nothing when no part at all is red already.

    One by one, the shortest beginning is found that is red with those that were found before: so
    many times log2(parts) questions as the set has members (the insertion form of QuickXplain,
    U. Junker, 2004). Where leaving one out can make a green set red, the set is red all the same.
    """
    if await is_red(()):
        return ()
    found: list[Part] = []
    end = len(parts)
    while end and not (found and await is_red(found)):
        green, end_red = 0, end
        while end_red - green > 1:
            middle = (green + end_red) // 2
            if await is_red([*parts[:middle], *found]):
                end_red = middle
            else:
                green = middle
        end = end_red - 1
        found.insert(0, parts[end])
    return tuple(found)
