"""Whether a decoded value is what its annotation says, to the last field.

Mail is anybody's text: what does not fit is no command, however it came to be decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from math import isfinite
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

Fit = Callable[[Any], bool]


def default_of(field: Field[Any]) -> Any:
    """Returns what a field holds unless something else is said; MISSING where that must be."""
    if field.default is MISSING and field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


@cache
def fit(hint: Any) -> Fit:
    """Returns what tells whether a decoded value is what an annotation says; `object` is any JSON.

    It is put together once for each annotation: a plan of thousands of steps is proved by it.
    """
    inside, origin = get_args(hint), get_origin(hint)
    if hint is object:
        return lambda _: True
    if hint is float:
        return lambda value: type(value) in (int, float) and isfinite(value)
    if origin in (Union, UnionType):
        ones = [fit(one) for one in inside]
        return lambda value: any(one(value) for one in ones)
    if origin is tuple and inside[-1] is not ...:
        parts = [fit(one) for one in inside]
        return lambda value: (
            isinstance(value, tuple)
            and len(value) == len(parts)
            and all(fits(one) for fits, one in zip(parts, value, strict=True))
        )
    if origin in (tuple, frozenset):
        each = fit(inside[0])
        return lambda value: isinstance(value, origin) and all(map(each, value))
    if origin is not None:
        held = fit(inside[1])
        return lambda value: (
            isinstance(value, Mapping)
            and all(isinstance(name, str) and held(one) for name, one in value.items())
        )
    if is_dataclass(hint):
        return _fit_fields(cast("type", hint))
    return lambda value: type(value) is hint


def _fit_fields(kind: type) -> Fit:
    known: list[tuple[str, Any, Fit]] = []  # filled at the first value: a class may hold its like

    def fits(value: Any) -> bool:
        if type(value) is not kind:
            return False
        if not known:
            hints = get_type_hints(kind)
            known.extend((one.name, default_of(one), fit(hints[one.name])) for one in fields(kind))
        for name, default, fits_it in known:
            found = getattr(value, name)
            if found is not default and not fits_it(found):
                return False
        return True

    return fits
