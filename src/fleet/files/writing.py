"""Documents that fleet writes for people: YAML that its own reader reads back as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

WIDTH: Final = 100
HEAD: Final = """\
# yaml-language-server: $schema=../.fleet/schema/harness.json
"""
COPIED: Final = """\
# What drives `{name}`. Save it as harnesses/NAME.yaml under a name of its own, change it, and say
# `harness: NAME` in a file of agents/. What the keys mean: the reference, documents, harnesses/ID.
"""


class _Writer(yaml.SafeDumper):
    """Lists of plain values on one line, long texts as blocks."""


def _text(writer: _Writer, value: str) -> yaml.Node:
    style = "|" if "\n" in value.strip("\n") or len(value) > WIDTH else None
    return writer.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _list(writer: _Writer, value: list[Any]) -> yaml.Node:
    flat = not any(isinstance(one, dict | list) for one in value)
    return writer.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flat)


_Writer.add_representer(str, _text)
_Writer.add_representer(list, _list)


def harness_text(name: str, profile: Mapping[str, Any], *, own: bool) -> str:
    """Returns a profile as a document; one that is not the fleet's `own` says how to copy it."""
    told = yaml.dump(
        dict(profile), Dumper=_Writer, sort_keys=False, width=WIDTH, allow_unicode=True
    )
    return f"{HEAD}{'' if own else COPIED.format(name=name)}{told}"
