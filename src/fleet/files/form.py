"""What every form is made from: known keys and no others, each spelled in one way; days.

A form knows one file and nothing around it. Dumped with its set keys only, it is the normal form
that `documents` is built from and that the cache keeps: renamed keys (`timeout` is `timeout_ms`
there) are serialization aliases.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from fleet.files.fields import Number, as_days


class Form(BaseModel):
    """A mapping of known keys; `spellings` are other names of a key: a file uses one of them.
    `strangers` are keys that people bring along from elsewhere, with what to write instead.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        validate_by_alias=True,
        validate_by_name=False,
        defer_build=True,
    )
    spellings: ClassVar[dict[str, tuple[str, ...]]] = {}
    strangers: ClassVar[dict[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not cls.spellings:
            return value
        for key, others in cls.spellings.items():
            used = [name for name in (key, *others) if name in value]
            if len(used) > 1:
                text = f"{used[0]!r} and {used[1]!r} mean the same; keep one"
                raise PydanticCustomError("twice", "{text}", {"text": text, "key": used[1]})
            if used and used[0] != key:
                value = {key if name == used[0] else name: value[name] for name in value}
        return value


def exactly_one(form: Form, keys: tuple[str, ...], what: str) -> None:
    """Refuses a form that sets none or several of `keys`."""
    used = [key for key in keys if key in form.model_fields_set]
    if len(used) != 1:
        raise ValueError(f"{what} has exactly one of {', '.join(keys)}; this has {len(used)}")


def as_command(value: Any) -> Any:
    """A bare text or argv stands for a mapping with that command."""
    return {"command": value} if isinstance(value, str | list) else value


class DaysForm(Form):
    """Working days as three estimates."""

    low: Annotated[Number, Field(gt=0)] | None = None
    likely: Annotated[Number, Field(gt=0, le=10_000)]
    high: Annotated[Number, Field(gt=0, le=10_000)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> DaysForm:
        if not (self.low or self.likely) <= self.likely <= (self.high or self.likely):
            raise ValueError("must be ordered: low <= likely <= high")
        return self


class _Days(DaysForm):
    window: list[int] | None = Field(
        None, validation_alias="\0window", serialization_alias="window"
    )


Days = Annotated[
    _Days,
    BeforeValidator(
        as_days,
        json_schema_input_type=Annotated[float, Field(gt=0)]
        | Annotated[str, Field(pattern=r"^\d+\s*-\s*\d+$")]
        | DaysForm,
    ),
]
