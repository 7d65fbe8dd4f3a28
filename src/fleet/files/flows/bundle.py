"""A bundle: all that a run of a workflow can come to need of the documents, as one JSON text.

    {main, workflows: {name: form}, links: {name said in a step: workflow},
     agents: {role: {agent, uses, timeout_s, idle_s}}, functions: {name: module:function},
     servers: {name: MCP server that a step calls}, base, trees, rules}

Kept by its digest under `texts/`; a kernel step's params hold the digest and a place in it. So a
plan, a patch and a snapshot stay small, and a run follows the documents that it began with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

Bundle = Mapping[str, Any]


def text_of_bundle(bundle: Bundle) -> str:
    """Returns a bundle as the text that is kept."""
    return json.dumps(bundle, ensure_ascii=False)


@lru_cache(maxsize=64)
def kept_bundle(state_folder: Path, digest: str) -> Bundle:
    """Returns a bundle that was kept; it never changes. Raises OSError when it is gone."""
    path = state_folder / "texts" / digest
    found: Bundle = json.loads(path.read_text(encoding="utf-8"))
    return found
