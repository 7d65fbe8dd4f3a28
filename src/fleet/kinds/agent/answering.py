"""An agent's last words as the value that a workflow's step asks for by a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_FENCED: Final = re.compile(r"```[a-z]*\n(.*?)\n```", re.DOTALL)


def answered(said: str, schema: Mapping[str, Any]) -> tuple[Any, str]:
    """Returns the JSON value of what was said, and why it will not do, empty when it does.

    It stands alone, or in the last fenced block.
    """
    from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]

    texts = [said, *reversed(_FENCED.findall(said))]
    value, known = None, False
    for text in texts:
        try:
            value, known = json.loads(text), True
            break
        except (ValueError, RecursionError):  # nested without end is no value either
            continue
    if not known:
        return None, "what it said last is no JSON value"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as wrong:
        return None, f"`output` is no schema: {wrong.message}"
    for error in Draft202012Validator(schema).iter_errors(value):
        return None, f"its output does not follow the schema at {error.json_path}: {error.message}"
    return value, ""
