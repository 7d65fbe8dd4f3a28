"""The documents: what people write in coordination.md, agents/ and tasks/, read, checked and kept.

    source -> forms (Pydantic) -> documents (frozen dataclasses) -> check -> Fleet

Text becomes plain values with positions in `source`; `forms_*` say what a file may hold and turn
each shorthand into one normal form; `documents` are those normal forms as the rest of fleet sees
them; `check` holds what only several documents together can show; `load` puts it all together and
collects every problem, never only the first. No file is written here but the cache, no program is
started, and neither YAML nor Pydantic leaves this package.
"""
