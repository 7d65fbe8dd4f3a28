"""Types of single values in the forms: how text, numbers, times, commands and paths may be written.

Each is the type that pydantic checks and the JSON Schema that editors see. A value that a shorthand
may stand for is brought into its one normal form here. Nothing is coerced silently: a quoted number
is text, and an unquoted one is text only where text is expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from fleet.errors import did_you_mean
from fleet.files.names import (
    ID_RULE,
    env_problem,
    home_problem,
    id_problem,
    path_problem,
    ref_problem,
    worktree_problem,
)
from fleet.files.source import Plain, resolve, resolved
from fleet.policy import KINDS, Rule

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
MAX_DURATION_MS = 366 * UNITS_MS["d"]
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\Z")
SIZES = ("", "K", "M", "G", "T")
LEAST_BYTES, MOST_BYTES = 1 << 20, 1 << 40
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(K|M|G|T)(?:i?B)?\Z")
_TARGET = re.compile(r"(<=|>=|==|<|>|=)?\s*(-?\d+(?:,\d{3})*(?:\.\d+)?)\Z")
_WINDOW = re.compile(r"(\d{1,5})\s*-\s*(\d{1,5})\Z")


def shown(value: Any) -> str:
    """Returns a value as a message may quote it: escaped and cut to 80 characters."""
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Plain):
        return str(value) if value else "nothing"
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def as_text(value: Any) -> str:
    """Returns text as it was written; refuses nothing, lists and mappings."""
    if isinstance(value, Plain):
        if resolve(value) is None:
            raise ValueError("has no value; leave it out, or put the text in quotes")
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {shown(value)}")
    if not value.strip():
        raise ValueError("is empty; leave it out, or write the text")
    return value


def as_folder(value: Any) -> str:
    """Returns the path of a folder that may lie anywhere; refuses what no path can be."""
    text = as_text(value)
    wrong = worktree_problem(text)
    if wrong:
        raise ValueError(f"{shown(text)} {wrong}")
    return text


def as_number(value: Any) -> float:
    """Returns a finite number."""
    found = resolve(value) if isinstance(value, Plain) else value
    if isinstance(found, bool) or not isinstance(found, int | float):
        quoted = isinstance(value, str) and not isinstance(value, Plain) and _is_number(value)
        hint = "; write it without quotes" if quoted else ""
        raise ValueError(f"expected a number, got {shown(value)}{hint}")
    if not math.isfinite(found):
        raise ValueError(f"expected a number, got {shown(value)}")
    return found


def as_whole(value: Any) -> int:
    """Returns a whole number."""
    try:
        found = as_number(value)
    except ValueError as error:
        raise ValueError(str(error).replace("a number", "a whole number")) from None
    if not isinstance(found, int):
        raise ValueError(f"expected a whole number, got {shown(value)}")
    return found


def as_flag(value: Any) -> bool:
    """Returns a truth value."""
    found = resolve(value) if isinstance(value, Plain) else value
    if not isinstance(found, bool):
        raise ValueError(f"expected true or false, got {shown(value)}")
    return found


def as_duration_ms(value: Any) -> int:
    """Returns milliseconds from `90s`, `10m`, `2h` or a number of seconds."""
    asked = "expected a time such as 90s, 10m, 2h or a number of seconds"
    if isinstance(value, Plain):
        ms = as_number(value) * 1_000
    else:
        found = _DURATION.match(value.strip()) if isinstance(value, str) else None
        if not found:
            raise ValueError(f"{asked}, got {shown(value)}")
        ms = float(found[1]) * UNITS_MS[found[2]]
    if not 0 < ms <= MAX_DURATION_MS:
        raise ValueError(f"{asked}, above 0 and at most 366d, got {shown(value)}")
    return max(1, round(ms))


def as_expiry_ms(value: Any) -> int:
    """Returns milliseconds that a question may wait: at most a day."""
    ms = as_duration_ms(value)
    if ms > UNITS_MS["d"]:
        raise ValueError(f"a question expires within a day, got {shown(value)}")
    return ms


def as_pattern(value: Any) -> str:
    """Returns a permission's pattern; unquoted, YAML reads `run: git push *` as a mapping."""
    if isinstance(value, dict) and len(value) == 1:
        ((kind, subject),) = value.items()
        text = f"{as_text(kind)}: {as_text(subject)}"
    elif isinstance(value, dict | list):
        raise ValueError(f"expected a pattern such as `run: git push *`, got {shown(value)}")
    else:
        text = as_text(value).strip()
    try:
        Rule(text)
    except ValueError as error:
        kind = text.partition(":")[0].strip()
        near = did_you_mean(kind, KINDS) if ":" in text and kind not in KINDS else ""
        hint = f"; {near}" if near else ""
        raise ValueError(f"{shown(text)} {error}{hint}") from None
    return text


def as_bytes(value: Any) -> int:
    """Returns bytes from `512M`, `2G` (of 1024) or a number of bytes."""
    asked = "expected a size such as 512M, 2G or a number of bytes"
    if isinstance(value, Plain):
        size = as_number(value)
    else:
        found = _SIZE.match(value.strip()) if isinstance(value, str) else None
        if not found:
            raise ValueError(f"{asked}, got {shown(value)}")
        size = float(found[1]) * 1024 ** SIZES.index(found[2])
    if not LEAST_BYTES <= size <= MOST_BYTES:
        raise ValueError(f"{asked}, from 1M to 1024G, got {shown(value)}")
    return int(size)


def as_command(value: Any) -> str | list[str]:
    """Returns a shell text, or an argv list of texts."""
    if not isinstance(value, list):
        if isinstance(value, dict):
            raise ValueError(
                "expected a command (text for the shell, or a list), got keys and values"
            )
        return as_text(value)
    if not value:
        raise ValueError("the command is empty; write the program and its arguments")
    for number, word in enumerate(value, 1):
        if not isinstance(word, str):
            raise ValueError(f"word {number} of the command must be text, got {shown(word)}")
    if not value[0]:
        raise ValueError("the command is empty; write the program and its arguments")
    return [str(word) for word in value]


def as_arguments(value: Any) -> str | list[str]:
    """Returns arguments: a list of texts, which may be empty, or one text."""
    return [] if value == [] else as_command(value)


def as_list(value: Any) -> list[Any]:
    """Returns a list; says what to write when it is something else."""
    if not isinstance(value, list):
        hint = f"; write [{value}]" if isinstance(value, str) and value.isalnum() else ""
        raise ValueError(f"expected a list, got {shown(value)}{hint}")
    return value


def one_or_many(value: Any) -> Any:
    """Returns a list: a single value stands for a list of one."""
    return value if isinstance(value, list) else [value]


def commands_of(value: Any) -> list[Any]:
    """Returns commands: a single text is one; in a list, each text is one and each list an argv."""
    return [as_command(inner) for inner in one_or_many(value)]


def stands_for(key: str) -> Callable[[Any], Any]:
    """Returns a validator that reads a bare text as {key: text}."""
    return lambda value: {key: value} if isinstance(value, str) else value


def as_days(value: Any) -> Any:
    """Returns {likely}, {likely, window} or the mapping as it is; `4-11` is 8 days."""
    if isinstance(value, dict):
        return value
    asked = "expected days such as 3, 0.5, 4-11 or {low: 2, likely: 3, high: 5}"
    if isinstance(value, str) and not isinstance(value, Plain):
        found = _WINDOW.match(value.strip())
        if not found:
            raise ValueError(f"{asked}, got {shown(value)}")
        first, last = int(found[1]), int(found[2])
        if not 1 <= first <= last:
            raise ValueError(
                f"window {value}: days count from 1, and the first is not after the last"
            )
        return {"likely": Plain(str(last - first + 1)), "\0window": [first, last]}
    if not isinstance(value, Plain) or resolve(value) in (None, True, False):
        number = resolve(value) if isinstance(value, Plain) else None
        if isinstance(number, bool) or number is None:
            raise ValueError(f"{asked}, got {shown(value)}")
    return {"likely": value}


def as_port(value: Any) -> int | str:
    """Returns a port, or `auto`."""
    if value == "auto":
        return "auto"
    if not isinstance(value, Plain):
        raise ValueError(f"expected a port (1 to 65535) or auto, got {shown(value)}")
    port = as_whole(value)
    if not 1 <= port <= 65_535:
        raise ValueError(f"expected a port (1 to 65535) or auto, got {port}")
    return port


def as_ports(value: Any) -> list[int]:
    """Returns [first, last] from `8000-8999` or a list of two ports."""
    ends: list[Any] = value if isinstance(value, list) else []
    found = _WINDOW.match(value) if isinstance(value, str) else None
    if found:
        ends = [Plain(found[1]), Plain(found[2])]
    if len(ends) != 2:
        raise ValueError(f"expected a range such as 8000-8999, got {shown(value)}")
    first, last = as_whole(ends[0]), as_whole(ends[1])
    if not 1 <= first <= last <= 65_535:
        raise ValueError(f"expected a range within 1 to 65535, got {first}-{last}")
    return [first, last]


def as_target(value: Any) -> list[Any]:
    """Returns [operator, number] from `<100`, `>=85` or a bare number (which means ==)."""
    found = _TARGET.match(value.strip()) if isinstance(value, str) else None
    if not found:
        raise ValueError(
            f"expected a target such as 85, <100 or >=85, got {shown(value)}; units go into 'unit'"
        )
    op = found[1] or "=="
    return ["==" if op == "=" else op, float(found[2].replace(",", ""))]


def as_baseline(value: Any) -> float | None:
    """Returns a number, or None for `unknown`."""
    if isinstance(value, str) and value.lower() == "unknown":
        return None
    found = _TARGET.match(value) if isinstance(value, str) else None
    if not found or found[1]:
        raise ValueError(f"expected a number or unknown, got {shown(value)}")
    return float(found[2].replace(",", ""))


def _ruled(problem: Callable[[str], str]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        text = as_text(value)
        wrong = problem(text)
        if wrong:
            raise ValueError(f"{shown(text)} {wrong}")
        return text

    return check


def _is_number(text: str) -> bool:
    return bool(re.match(r"-?\d+(\.\d+)?\Z", text))


Scalar = str | int | float | bool
Text = Annotated[str, BeforeValidator(as_text, json_schema_input_type=Scalar)]
Number = Annotated[float, BeforeValidator(as_number, json_schema_input_type=float)]
Whole = Annotated[int, BeforeValidator(as_whole, json_schema_input_type=int)]
Count = Annotated[Whole, Field(ge=1, le=1_000_000_000)]
Flag = Annotated[bool, BeforeValidator(as_flag, json_schema_input_type=bool)]
Duration = Annotated[
    int,
    PlainValidator(
        as_duration_ms,
        json_schema_input_type=Annotated[str, Field(pattern=_DURATION.pattern.replace(r"\Z", "$"))]
        | Annotated[float, Field(gt=0)],
    ),
]
Expiry = Annotated[int, PlainValidator(as_expiry_ms, json_schema_input_type=str | float)]
Patterns = Annotated[
    list[Annotated[str, PlainValidator(as_pattern, json_schema_input_type=str | dict[str, str])]],
    BeforeValidator(one_or_many),
]
Size = Annotated[
    int,
    PlainValidator(
        as_bytes,
        json_schema_input_type=Annotated[str, Field(pattern=_SIZE.pattern.replace(r"\Z", "$"))]
        | Annotated[int, Field(ge=LEAST_BYTES)],
    ),
]
Id = Annotated[
    str,
    BeforeValidator(
        _ruled(id_problem),
        json_schema_input_type=Annotated[str, Field(pattern=ID_RULE)] | int,
    ),
]
Branch = Annotated[str, BeforeValidator(_ruled(ref_problem), json_schema_input_type=str)]
InnerPath = Annotated[str, BeforeValidator(_ruled(path_problem), json_schema_input_type=str)]
EnvName = Annotated[str, BeforeValidator(_ruled(env_problem), json_schema_input_type=str)]
CommandForm = Annotated[
    str | list[str], PlainValidator(as_command, json_schema_input_type=str | list[Scalar])
]
Arguments = Annotated[
    str | list[str], PlainValidator(as_arguments, json_schema_input_type=str | list[Scalar])
]
Commands = Annotated[
    list[Any], PlainValidator(commands_of, json_schema_input_type=str | list[str | list[Scalar]])
]
Port = Annotated[
    int | str,
    PlainValidator(
        as_port,
        json_schema_input_type=Annotated[int, Field(ge=1, le=65_535)]
        | Annotated[str, Field(pattern="^auto$")],
    ),
]
Ports = Annotated[
    list[int],
    PlainValidator(
        as_ports,
        json_schema_input_type=Annotated[str, Field(pattern=r"^\d+-\d+$")]
        | Annotated[list[int], Field(min_length=2, max_length=2)],
    ),
]
Target = Annotated[
    list[Any],
    PlainValidator(
        as_target,
        json_schema_input_type=float
        | Annotated[str, Field(pattern=_TARGET.pattern.replace(r"\Z", "$"))],
    ),
]
Baseline = Annotated[float | None, PlainValidator(as_baseline, json_schema_input_type=float | str)]
AnyJson = Annotated[Any, PlainValidator(resolved, json_schema_input_type=Any)]
Ids = Annotated[list[Id], BeforeValidator(as_list, json_schema_input_type=list[Id])]
Texts = Annotated[
    list[Text], BeforeValidator(one_or_many, json_schema_input_type=Text | list[Text])
]
InnerPaths = Annotated[
    list[InnerPath], BeforeValidator(one_or_many, json_schema_input_type=str | list[str])
]
HomePaths = Annotated[
    list[Annotated[Text, AfterValidator(_ruled(home_problem))]],
    BeforeValidator(one_or_many, json_schema_input_type=str | list[str]),
]
