"""The documents: what people write in coordination.md, agents/ and tasks/, read, checked and kept.

    source -> forms (Pydantic) -> normal -> documents (frozen) -> check -> Fleet -> lower -> Plan

Text becomes plain values with positions in `source`; the forms (of tasks in `forms`, with
`agent_forms`, `harness_forms` and `fleet_forms` beside it) say what a file may hold and turn each
shorthand into one normal form; `normal` makes these into `documents`, which the rest of fleet sees;
`check` holds what only several documents together can show; `load` puts it all together and
collects every problem, never only the first. `lower`, with `tasks`, `gates` and `timing`, turns a
Fleet into a plan of steps; what becomes of that while it runs is worked out in `changes`. No file
is written here but the cache and what `kept` keeps, no program is started, and neither YAML nor
Pydantic leaves this package.
"""
