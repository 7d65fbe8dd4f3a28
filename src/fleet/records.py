"""Classes of frozen values that cost next to nothing until the first object is made.

`record()` gives a class what `dataclass(frozen=True, slots=True)` gives it, and what `dataclasses`
has for those works on it; but a dataclass compiles six functions for each class when it is defined,
and here one is compiled, when it is first used. Every start of the program imports all messages,
each look at a fleet makes objects of a few. Standard library only; nothing of fleet is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

Kind = TypeVar("Kind", bound=type)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def record(*, kw_only: bool = True) -> Callable[[Kind], Kind]:
    """Returns a decorator that makes a class a frozen one with slots; `kw_only` as a dataclass has
    it.
    """

    def made(kind: Kind) -> Kind:
        kind.__doc__ = kind.__doc__ or kind.__name__  # else its signature is looked for: slow
        for name, method in _METHODS.items():
            setattr(kind, name, method)
        plain: Any = dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)
        return plain(kind)  # type: ignore[no-any-return]

    return made


def _first(self: Any, *listed: Any, **named: Any) -> None:
    """Makes the first object of a class: compiles what makes all others."""
    kind = type(self)
    known: dict[str, Any] = {"MISSING": MISSING}
    heads, lines = ["self"], []
    for one in sorted(fields(kind), key=attrgetter("kw_only")):
        name = one.name
        if one.kw_only and "*" not in heads:
            heads.append("*")
        known[f"put_{name}"] = getattr(kind, name).__set__
        if one.default is not MISSING:
            known[f"default_{name}"] = one.default
            heads.append(f"{name}=default_{name}")
        elif one.default_factory is not MISSING:
            known[f"make_{name}"] = one.default_factory
            heads.append(f"{name}=MISSING")
            lines.append(f" if {name} is MISSING: {name} = make_{name}()")
        else:
            heads.append(name)
        lines.append(f" put_{name}(self, {name})")
    text = f"def __init__({', '.join(heads)}):\n" + "\n".join(lines or [" pass"])
    exec(text, known)  # noqa: S102 - names of fields and nothing else
    kind.__init__ = known["__init__"]
    kind.__init__(self, *listed, **named)


_getters: dict[Any, Callable[[Any], Any]] = {}


def _values(self: Any) -> Any:
    """Returns the values of all fields as one comparable thing."""
    get = _getters.get(type(self))
    if get is None:
        names = [one.name for one in fields(self)]
        get = _getters[type(self)] = attrgetter(*names) if names else type
    return get(self)


def _same(self: Any, other: object) -> bool:
    same: bool = type(other) is type(self) and _values(self) == _values(other)
    return same


def _hash(self: Any) -> int:
    return hash(_values(self))


def _show(self: Any) -> str:
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _parts(self: Any) -> tuple[Any, ...]:
    return _remade, (type(self), {one.name: getattr(self, one.name) for one in fields(self)})


def _remade(kind: type, values: dict[str, Any]) -> object:
    return kind(**values)


def _refuse(self: object, name: str, *_: object) -> None:
    raise FrozenInstanceError(f"cannot change {name!r} of a {type(self).__name__}")


_METHODS: dict[str, Callable[..., Any]] = {
    "__init__": _first,
    "__eq__": _same,
    "__hash__": _hash,
    "__repr__": _show,
    "__reduce__": _parts,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
}
