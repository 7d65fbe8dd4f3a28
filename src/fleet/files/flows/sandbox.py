"""The sandbox of expressions: what may be called in one, and how large anything may become.

Jinja's immutable sandbox with an allow-list of methods and filters, a budget for the turns of
loops, and bounds on texts, lists and numbers that are looked at before anything is made.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from types import BuiltinMethodType
from typing import TYPE_CHECKING, Any, Final

from jinja2 import StrictUndefined, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fleet.errors import FleetError

if TYPE_CHECKING:
    from jinja2.runtime import Context

MAX_TURNS: Final = 20_000
"""Turns of all loops of one template together."""
MAX_TEXT: Final = 1_000_000
"""Characters of a text that an expression makes, and entries of a list."""
MAX_BITS: Final = 4_096
"""Bits of a whole number."""
MAX_DEPTH: Final = 100
"""How deep values may be nested."""

FILTERS: Final = frozenset(
    [
        "abs",
        "capitalize",
        "count",
        "d",
        "default",
        "dictsort",
        "first",
        "float",
        "groupby",
        "int",
        "items",
        "last",
        "length",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "reject",
        "rejectattr",
        "reverse",
        "round",
        "select",
        "selectattr",
        "sort",
        "string",
        "sum",
        "title",
        "trim",
        "truncate",
        "unique",
        "upper",
        "urlencode",
        "wordcount",
    ]
)
METHODS: Final = frozenset(
    [
        "capitalize",
        "casefold",
        "count",
        "endswith",
        "find",
        "index",
        "isalnum",
        "isalpha",
        "isascii",
        "isdecimal",
        "isdigit",
        "islower",
        "isnumeric",
        "isspace",
        "isupper",
        "lower",
        "lstrip",
        "partition",
        "removeprefix",
        "removesuffix",
        "replace",
        "rfind",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "swapcase",
        "title",
        "upper",
        "get",
        "items",
        "keys",
        "values",
        "copy",
    ]
)

turns_left: ContextVar[list[int]] = ContextVar("turns")


class Refused(FleetError):
    """An expression that cannot be, or came to nothing that may be used."""


def plain(value: Any, depth: int = 0) -> Any:
    """Returns a value as JSON knows it; raises Refused for one that it does not know."""
    if depth > MAX_DEPTH:
        raise Refused(f"a value is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Undefined):
        str(value)  # says which name it is
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, Iterable):
        return [plain(inner, depth + 1) for inner in limited(value)]
    raise Refused(f"{type(value).__name__} is no value that a workflow can keep")


def limited(values: Iterable[Any]) -> Iterator[Any]:
    """Yields values as long as they are no more than a list may hold."""
    for number, one in enumerate(values, 1):
        bound(number, "a list")
        yield one


def bound(size: int, what: str) -> None:
    """Raises Refused for a text or list that would be too long."""
    if size > MAX_TEXT:
        raise Refused(f"{what} would be longer than {MAX_TEXT}")


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with bounds, and with keys of values before their Python attributes."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str | list | tuple | dict | int | float | Mapping):
            return attr in METHODS and super().is_safe_attribute(obj, attr, value)
        return False

    def wrap_str_format(self, value: Any) -> None:
        del value  # `format` can make a text of any length: it is no method here

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping):
            with contextlib.suppress(KeyError):
                return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise Refused("texts are not filled in by `%`")
        if operator == "*":
            for one, times in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(times, int):
                    bound(len(one) * max(times, 0), "a repetition")
        if operator == "+" and isinstance(left, str | list | tuple):
            bound(len(left) + (len(right) if hasattr(right, "__len__") else 0), "a sum")
        if isinstance(left, int) and isinstance(right, int):
            bits = {
                "**": max(left.bit_length(), 1) * max(right, 0),
                "*": left.bit_length() + right.bit_length(),
            }
            if bits.get(operator, 0) > MAX_BITS:
                raise Refused(f"a number would have more than {MAX_BITS} bits")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, *words: Any, **named: Any) -> Any:
        if isinstance(obj, BuiltinMethodType) and getattr(obj, "__name__", "") == "replace":
            return _replaced(str(obj.__self__), *words, **named)
        return super().call(context, obj, *words, **named)


def _bounded(values: Any) -> Iterator[Any]:
    """Yields what a loop goes through, as long as the template's turns last."""
    left = turns_left.get()
    for one in values:
        left[0] -= 1
        if left[0] < 0:
            raise Refused(f"a template's loops take more than {MAX_TURNS} turns")
        yield one


def _replaced(text: Any, old: Any, new: Any, count: Any = None) -> str:
    text, old, new = str(text), str(old), str(new)
    times = text.count(old) if count is None else min(int(count), text.count(old))
    bound(len(text) + times * len(new), "a text")
    replaced: str = text.replace(old, new, times)
    return replaced


def _listed(values: Any, between: Any = "", attribute: str | None = None) -> str:
    """Returns values as one text; named `join` in templates."""
    found, length = [], 0
    for one in limited(values):
        part = one.get(attribute) if attribute and isinstance(one, Mapping) else one
        found.append(text_of(plain(part)))
        length += len(found[-1]) + len(str(between))
        bound(length, "a text")
    return str(between).join(found)


def _to_json(value: Any, indent: int | None = None) -> str:
    width = None if indent is None else min(max(int(indent), 0), 8)
    text = json.dumps(plain(value), indent=width, ensure_ascii=False, sort_keys=False)
    bound(len(text), "a text")
    return text


def _hash(value: Any) -> str:
    """Returns the first 16 hex digits of the SHA-256 of a text, or of a value as JSON."""
    value = plain(value)
    told = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _indented(text: Any, width: int = 4) -> str:
    lines = str(text).split("\n")
    room = min(max(int(width), 0), 40)
    bound(len(str(text)) + room * len(lines), "a text")
    return ("\n" + " " * room).join(lines)


def _together(*parts: Any) -> str:
    """Returns parts as one text: what `~` does."""
    return joined(text_of(plain(one)) for one in parts)


def _shown_value(value: Any) -> Any:
    """Returns a value as it stands within a text: whatever is no text as JSON."""
    return value if isinstance(value, str | Undefined) else text_of(plain(value))


@lru_cache(maxsize=1)
def environment() -> _Sandbox:
    """Returns the sandbox, made once."""
    made = _Sandbox(undefined=StrictUndefined, autoescape=False, finalize=_shown_value)
    own = {
        "bounded": _bounded,
        "hash": _hash,
        "indent": _indented,
        "join": _listed,
        "replace": _replaced,
        "tojson": _to_json,
        "together": _together,
    }
    made.filters = {name: made.filters[name] for name in FILTERS} | own
    made.globals = {"range": made.globals["range"], "dict": dict}
    return made


def joined(parts: Iterable[str]) -> str:
    """Returns texts as one; raises Refused as soon as that is too long."""
    found, length = [], 0
    for part in parts:
        length += len(part)
        bound(length, "a text")
        found.append(part)
    return "".join(found)


def text_of(value: Any) -> str:
    """Returns a value as text: itself, else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
