"""Expressions in workflows: what may stand in one, and what it comes to.

Jinja in its immutable sandbox. Whoever writes a workflow is trusted with the run, not with the
process that all runs share: names of Python's insides are refused, loops and repetitions have a
budget, values and texts a size. Undefined names are errors. What a value holds is never a template:
only the text of a document is compiled. A text that is one expression keeps its type.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from types import BuiltinMethodType
from typing import Any, Final

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from fleet.errors import FleetError

MAX_TURNS: Final = 20_000
"""Turns of all loops of one template together."""
MAX_TEXT: Final = 1_000_000
"""Characters of a text that an expression makes, and entries of a list."""
MAX_BITS: Final = 4_096
"""Bits of a whole number."""
MAX_SOURCE: Final = 65_536
MAX_DEPTH: Final = 100
"""How deep values may be nested."""

NAMES: Final = frozenset({"inputs", "state", "steps", "item", "index", "thread", "now", "round"})
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
_STATEMENTS: Final = (nodes.For, nodes.If, nodes.Assign, nodes.With, nodes.Output, nodes.Scope)

_turns: ContextVar[list[int]] = ContextVar("turns")


class Refused(FleetError):
    """An expression that cannot be, or came to nothing that may be used."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a template uses: names at the top, attributes of `inputs`, `state` and `steps`."""

    names: frozenset[str]
    attributes: Mapping[str, frozenset[str]] = field(default_factory=dict)


def is_template(value: object) -> bool:
    """Returns whether a value is a text with an expression or a statement in it."""
    return isinstance(value, str) and ("{{" in value or "{%" in value or "{#" in value)


def uses(text: str) -> Found:
    """Returns what the template `text` uses; raises Refused, with the line in it, for a bad one."""
    from jinja2 import meta

    tree = _parsed(text)
    names = frozenset(meta.find_undeclared_variables(tree))
    found: dict[str, set[str]] = {}
    looked: Any
    for looked in tree.find_all((nodes.Getattr, nodes.Getitem)):
        if isinstance(looked.node, nodes.Name):
            plain_name = isinstance(looked, nodes.Getattr)
            key = looked.attr if plain_name else getattr(looked.arg, "value", None)
            if isinstance(key, str):
                found.setdefault(looked.node.name, set()).add(key)
    return Found(names, {name: frozenset(keys) for name, keys in found.items()})


def evaluate(
    value: Any, names: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]
) -> Any:
    """Returns a document's value with all its expressions evaluated, as plain JSON; raises Refused.

    Keys are taken as they stand. Whatever an expression comes to is not looked at for expressions.
    """
    if isinstance(value, str):
        return _value_of(value, names, functions) if is_template(value) else str(value)
    if isinstance(value, Mapping):
        return {key: evaluate(inner, names, functions) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [evaluate(inner, names, functions) for inner in value]
    return value


def render(text: str, names: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> str:
    """Returns a text with its expressions filled in; what is no text is written as JSON."""
    return text_of(evaluate(text, names, functions))


def holds(
    value: Any, names: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]
) -> bool:
    """Returns whether a condition holds; a text that is no expression is one without braces."""
    if isinstance(value, str) and not is_template(value):
        value = f"{{{{ {value} }}}}"
    return bool(evaluate(value, names, functions))


def text_of(value: Any) -> str:
    """Returns a value as text: itself, else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# --- compiling ------------------------------------------------------------------------------------


def _parsed(text: str) -> nodes.Template:
    """Returns the tree of a template in which nothing stands that is not allowed."""
    if len(text) > MAX_SOURCE:
        raise Refused(f"a template is longer than {MAX_SOURCE} characters")
    try:
        tree = _environment().parse(text)
    except TemplateSyntaxError as wrong:
        raise Refused(f"line {wrong.lineno} of it: {wrong.message}") from None
    except RecursionError:
        raise Refused("a template is nested too deep") from None
    node: Any
    for node in tree.find_all(nodes.Stmt):
        if not isinstance(node, _STATEMENTS) or (isinstance(node, nodes.For) and node.recursive):
            what = type(node).__name__.lower()
            raise Refused(f"line {node.lineno} of it: `{what}` is not allowed in a workflow")
    for node in tree.find_all(nodes.Filter):
        if node.name not in _environment().filters:
            raise Refused(f"line {node.lineno} of it: no filter {node.name!r}")
    for node in tree.find_all((nodes.Getattr, nodes.Name)):
        name = node.attr if isinstance(node, nodes.Getattr) else node.name
        if name.startswith("_"):
            raise Refused(f"line {node.lineno} of it: names such as {name!r} are not allowed")
    return tree


@lru_cache(maxsize=4_096)
def _compiled(text: str) -> tuple[Any, bool]:
    """Returns a template and whether it is one expression, which then is kept as `result`."""
    tree = _parsed(text.strip()) if _is_sole(text) else _parsed(text)
    sole = _sole(tree)
    if sole is not None:
        target = nodes.Name("result", "store", lineno=1)
        tree = nodes.Template([nodes.Assign(target, sole, lineno=1)], lineno=1)
    for loop in list(tree.find_all(nodes.For)):
        loop.iter = nodes.Filter(loop.iter, "bounded", [], [], None, None, lineno=loop.lineno)
    tree = _Joins().visit(tree)
    tree.set_environment(_environment())
    return _environment().from_string(tree), sole is not None


def _is_sole(text: str) -> bool:
    try:
        return _sole(_environment().parse(text.strip())) is not None
    except (TemplateSyntaxError, RecursionError):
        return False


def _sole(tree: nodes.Template) -> nodes.Expr | None:
    """Returns the expression that a template consists of, None when it consists of more."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    inner = tree.body[0].nodes
    alone = len(inner) == 1 and not isinstance(inner[0], nodes.TemplateData)
    return inner[0] if alone else None


class _Joins(NodeTransformer):
    """Puts a bounded filter in the place of each `~`."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802 - the visitor's own way
        self.generic_visit(node)
        first, *rest = node.nodes
        return nodes.Filter(first, "together", rest, [], None, None, lineno=node.lineno)


def _value_of(
    text: str, names: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]
) -> Any:
    template, sole = _compiled(text)
    token = _turns.set([MAX_TURNS])
    try:
        context: Context = template.new_context({**functions, **names})
        parts = template.root_render_func(context)
        if not sole:
            return _joined(parts)
        for _ in parts:
            pass
        return plain(context.vars["result"])
    except TemplateError as wrong:
        raise Refused(f"{wrong.message or type(wrong).__name__}: in {_shown(text)}") from None
    except Refused:
        raise
    except RecursionError:
        raise Refused(f"nested too deep: in {_shown(text)}") from None
    except Exception as wrong:
        raise Refused(f"{type(wrong).__name__}: {wrong}: in {_shown(text)}") from wrong
    finally:
        _turns.reset(token)


def _joined(parts: Iterable[str]) -> str:
    found, length = [], 0
    for part in parts:
        length += len(part)
        _bound(length, "a text")
        found.append(part)
    return "".join(found)


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return f"`{line[:80]}{'...' if len(line) > 80 else ''}`"


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
        return [plain(inner, depth + 1) for inner in _limited(value)]
    raise Refused(f"{type(value).__name__} is no value that a workflow can keep")


def _limited(values: Iterable[Any]) -> Iterator[Any]:
    for number, one in enumerate(values, 1):
        _bound(number, "a list")
        yield one


def _bound(size: int, what: str) -> None:
    if size > MAX_TEXT:
        raise Refused(f"{what} would be longer than {MAX_TEXT}")


# --- the sandbox ----------------------------------------------------------------------------------


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
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise Refused("texts are not filled in by `%`")
        if operator == "*":
            for one, times in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(times, int):
                    _bound(len(one) * max(times, 0), "a repetition")
        if operator == "+" and isinstance(left, str | list | tuple):
            _bound(len(left) + (len(right) if hasattr(right, "__len__") else 0), "a sum")
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
    left = _turns.get()
    for one in values:
        left[0] -= 1
        if left[0] < 0:
            raise Refused(f"a template's loops take more than {MAX_TURNS} turns")
        yield one


def _replaced(text: Any, old: Any, new: Any, count: Any = None) -> str:
    text, old, new = str(text), str(old), str(new)
    times = text.count(old) if count is None else min(int(count), text.count(old))
    _bound(len(text) + times * len(new), "a text")
    replaced: str = text.replace(old, new, times)
    return replaced


def _listed(values: Any, between: Any = "", attribute: str | None = None) -> str:
    """Returns values as one text; named `join` in templates."""
    found, length = [], 0
    for one in _limited(values):
        part = one.get(attribute) if attribute and isinstance(one, Mapping) else one
        found.append(text_of(plain(part)))
        length += len(found[-1]) + len(str(between))
        _bound(length, "a text")
    return str(between).join(found)


def _to_json(value: Any, indent: int | None = None) -> str:
    width = None if indent is None else min(max(int(indent), 0), 8)
    text = json.dumps(plain(value), indent=width, ensure_ascii=False, sort_keys=False)
    _bound(len(text), "a text")
    return text


def _hash(value: Any) -> str:
    """Returns the first 16 hex digits of the SHA-256 of a text, or of a value as JSON."""
    value = plain(value)
    told = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _indented(text: Any, width: int = 4) -> str:
    lines = str(text).split("\n")
    room = min(max(int(width), 0), 40)
    _bound(len(str(text)) + room * len(lines), "a text")
    return ("\n" + " " * room).join(lines)


def _together(*parts: Any) -> str:
    """Returns parts as one text: what `~` does."""
    return _joined(text_of(plain(one)) for one in parts)


def _shown_value(value: Any) -> Any:
    """Returns a value as it stands within a text: whatever is no text as JSON."""
    return value if isinstance(value, str | Undefined) else text_of(plain(value))


@lru_cache(maxsize=1)
def _environment() -> _Sandbox:
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
