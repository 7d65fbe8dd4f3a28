"""What was said as the value that a workflow's step asks for by a schema: an agent's last words, or
what a tool put out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

FENCED: Final = re.compile(r"```[a-z]*\n(.*?)\n```", re.DOTALL)


def answered(said: str, schema: Mapping[str, Any]) -> tuple[Any, str]:
    """Returns the JSON value of what was said, and why it will not do, empty when it does.

    It stands alone, or in the last fenced block.
    """
    texts = [said, *reversed(FENCED.findall(said))]
    for text in texts:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):  # nested without end is no value either
            continue
        why = misfit(value, schema)
        return (None, why) if why else (value, "")
    return None, "what it said last is no JSON value"


def misfit(value: Any, schema: Mapping[str, Any]) -> str:
    """Returns why a value does not follow a schema, empty when it does."""
    from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as wrong:
        return f"`output` is no schema: {wrong.message}"
    for error in Draft202012Validator(schema).iter_errors(value):
        return f"its output does not follow the schema at {error.json_path}: {error.message}"
    return ""
