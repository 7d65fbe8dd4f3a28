"""Judges the content of one file in a process of its own, so that a hostile pattern or file costs a
time limit.

Run as a program (by its path: it imports nothing of fleet): reads {name, content (base64),
contains, schema} as JSON from stdin and prints the reasons why the content will not do, as a JSON
list. `problems` starts it.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

LIMIT_S: Final = 5.0
MEMORY_BYTES: Final = 1 << 30
SHOWN: Final = 200


def problems(
    name: str, content: bytes, contains: Sequence[str], schema: object = None
) -> list[str]:
    """Returns why a file's content does not do, nothing when it does; plain texts are looked for
    right here.
    """
    plain = [text for text in contains if not is_pattern(text)]
    found = [f"does not contain {text!r}" for text in plain if text.encode() not in content]
    patterns = [text for text in contains if is_pattern(text)]
    if not patterns and schema is None:
        return found
    told = {
        "name": name,
        "content": base64.b64encode(content).decode(),
        "contains": patterns,
        "schema": schema,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-I", __file__],
            input=json.dumps(told).encode(),
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [*found, f"could not be judged within {LIMIT_S:g} s: a simpler pattern is needed"]
    try:
        return [*found, *json.loads(done.stdout)]
    except ValueError:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return [*found, f"could not be judged: {said[-1][:SHOWN] if said else 'no answer'}"]


def is_pattern(text: str) -> bool:
    """Returns whether a `contains` is written as /regular expression/."""
    return len(text) > 2 and text.startswith("/") and text.endswith("/")


def _judge(told: dict[str, Any]) -> list[str]:
    content = base64.b64decode(told["content"])
    text = content.decode("utf-8", "replace")
    found = []
    for pattern in told["contains"]:
        try:
            if not re.search(pattern[1:-1], text, re.MULTILINE):
                found.append(f"does not match {pattern}")
        except re.error as wrong:
            found.append(f"cannot be held against {pattern}: {wrong}")
    if told["schema"] is not None:
        found += _against_schema(told["name"], text, told["schema"])
    return found


def _against_schema(name: str, text: str, schema: Any) -> list[str]:
    try:
        import jsonschema  # type: ignore[import-untyped]
    except ImportError:
        return ["cannot be held against its schema: install jsonschema (pip install jsonschema)"]
    try:
        value = _read(name, text)
    except ValueError as wrong:
        return [f"cannot be read: {str(wrong).splitlines()[0][:SHOWN]}"]
    try:
        judge = jsonschema.validators.validator_for(schema)(schema)
        judge.check_schema(schema)
        wrongs = sorted(judge.iter_errors(value), key=lambda wrong: list(map(str, wrong.path)))
    except jsonschema.SchemaError as wrong:
        return [f"has a schema that is none: {wrong.message[:SHOWN]}"]
    return [
        f"does not hold to its schema at {'/'.join(map(str, wrong.path)) or 'the top'}: "
        f"{wrong.message[:SHOWN]}"
        for wrong in wrongs[:3]
    ]


def _read(name: str, text: str) -> Any:
    if not name.endswith((".yaml", ".yml")):
        return json.loads(text)
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as wrong:
        raise ValueError(str(wrong)) from wrong


if __name__ == "__main__":
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    sys.stdout.write(json.dumps(_judge(json.load(sys.stdin))))
