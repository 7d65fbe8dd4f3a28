"""What a tool's result comes to in a workflow: plain JSON in, plain JSON out.

`structuredContent` when there is some. Else the content: one text of all texts, a line each; JSON
where an embedded resource says by its type that it is; whatever is no text as MCP has it. Several
blocks that are not all texts are a list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any


def value_of(result: Mapping[str, Any]) -> Any:
    """Returns the value of a result."""
    if result.get("structuredContent") is not None:
        return result["structuredContent"]
    values = [_value(block) for block in result.get("content") or ()]
    if values and all(isinstance(one, str) for one in values):
        return "\n".join(values)
    return values[0] if len(values) == 1 else values or None


def spoken(value: Any, say: Callable[[str], str]) -> Any:
    """Returns a value with `say` of each text in it, keys too."""
    if isinstance(value, str):
        return say(value)
    if isinstance(value, Mapping):
        return {say(key): spoken(inner, say) for key, inner in value.items()}
    return [spoken(inner, say) for inner in value] if isinstance(value, list) else value


def words_of(result: Mapping[str, Any]) -> str:
    """Returns what a result that is an error says."""
    value = value_of({**result, "structuredContent": None})
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return said.strip() if value else "it tells no more than that it failed"


def _value(block: Mapping[str, Any]) -> Any:
    if block.get("type") == "text":
        return block["text"]
    inner = block.get("resource")
    if block.get("type") != "resource" or not isinstance(inner, Mapping) or "text" not in inner:
        return dict(block)
    kind = str(inner.get("mimeType") or "").partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return json.loads(inner["text"])
        except ValueError:
            return inner["text"]
    return inner["text"]
