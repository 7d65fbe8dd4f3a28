"""Python functions that a fleet names in its documents: found in its root, else installed ones.

`module:function`: `tools.text:merge` is `tools/text.py` of the root when it is there. A file is
loaded anew when it has changed. They are the fleet's own code and run in the coordinator.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from fleet.errors import FleetError

_loaded: dict[Path, tuple[int, ModuleType]] = {}
_lock = threading.Lock()


def load_functions(root: Path, named: Mapping[str, str]) -> dict[str, Callable[..., Any]]:
    """Returns functions by the names that the fleet gives them; raises FleetError for a missing
    one.
    """
    return {name: load_function(root, told) for name, told in named.items()}


def load_function(root: Path, told: str) -> Callable[..., Any]:
    """Returns the function that `module:function` names; raises FleetError when there is none."""
    module, _, path = told.partition(":")
    found: Any = _module(root, module, told)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise FleetError(f"{told} is no function", hint="see `functions` in coordination.md")
    return found  # type: ignore[no-any-return]


def _module(root: Path, name: str, told: str) -> ModuleType:
    path = root.joinpath(*name.split(".")).with_suffix(".py")
    try:
        with _lock:
            return _from_file(path, name) if path.is_file() else importlib.import_module(name)
    except Exception as error:
        text = f"{told} cannot be loaded: {type(error).__name__}: {error}"
        raise FleetError(text, hint="see `functions` in coordination.md") from error


def _from_file(path: Path, name: str) -> ModuleType:
    changed = path.stat().st_mtime_ns
    known = _loaded.get(path)
    if known is not None and known[0] == changed:
        return known[1]
    spec = importlib.util.spec_from_file_location(f"fleet_functions.{name}", path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    _loaded[path] = (changed, module)
    return module
