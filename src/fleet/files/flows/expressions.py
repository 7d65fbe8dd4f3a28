"""Expressions in workflows: what may stand in one, and what it comes to.

Jinja in its immutable sandbox. Whoever writes a workflow is trusted with the run, not with the
process that all runs share: names of Python's insides are refused, loops and repetitions have a
budget, values and texts a size. Undefined names are errors. What a value holds is never a template:
only the text of a document is compiled. A text that is one expression keeps its type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.runtime import Context
from jinja2.visitor import NodeTransformer

from fleet.files.flows.sandbox import (
    MAX_TURNS,
    Refused,
    environment,
    joined,
    plain,
    text_of,
    turns_left,
)

MAX_SOURCE: Final = 65_536

NAMES: Final = frozenset({"inputs", "state", "steps", "item", "index", "thread", "now", "round"})
_STATEMENTS: Final = (nodes.For, nodes.If, nodes.Assign, nodes.With, nodes.Output, nodes.Scope)


@dataclass(frozen=True, slots=True)
class Found:
    """What a template uses: names at the top, attributes of `inputs`, `state` and `steps`."""

    names: frozenset[str]
    attributes: Mapping[str, frozenset[str]] = field(default_factory=dict)


def is_template(value: object) -> bool:
    """Returns whether a value is a text with an expression or a statement in it."""
    return isinstance(value, str) and ("{{" in value or "{%" in value or "{#" in value)


@lru_cache(maxsize=4_096)
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


# --- compiling ------------------------------------------------------------------------------------


def _parsed(text: str) -> nodes.Template:
    """Returns the tree of a template in which nothing stands that is not allowed."""
    if len(text) > MAX_SOURCE:
        raise Refused(f"a template is longer than {MAX_SOURCE} characters")
    try:
        tree = environment().parse(text)
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
        if node.name not in environment().filters:
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
    tree.set_environment(environment())
    return environment().from_string(tree), sole is not None


def _is_sole(text: str) -> bool:
    try:
        return _sole(environment().parse(text.strip())) is not None
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
    token = turns_left.set([MAX_TURNS])
    try:
        # What `Template.new_context` makes, without going through the globals one by one.
        known = {**environment().globals, **functions, **names}
        context = Context(environment(), known, template.name, template.blocks)
        parts = template.root_render_func(context)
        if not sole:
            return joined(parts)
        for _ in parts:
            pass
        return plain(context.vars["result"])
    except TemplateError as wrong:
        told = (wrong.message or type(wrong).__name__).rstrip(".")
        raise Refused(f"{told}: in {_shown(text)}") from None
    except Refused:
        raise
    except RecursionError:
        raise Refused(f"nested too deep: in {_shown(text)}") from None
    except Exception as wrong:
        raise Refused(f"{type(wrong).__name__}: {wrong}: in {_shown(text)}") from wrong
    finally:
        turns_left.reset(token)


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return f"`{line[:80]}{'...' if len(line) > 80 else ''}`"
