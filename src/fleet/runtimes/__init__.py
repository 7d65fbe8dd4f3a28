"""Runtimes: what keeps the world as the runs want it. This table names them.

A runtime takes commands, lets the kernel decide, journals, and reconciles the world with the
effects. It decides nothing itself: a rule about what follows from what belongs to the kernel.
"""

from __future__ import annotations

RUNTIMES: dict[str, str] = {"embedded": "fleet.runtimes.embedded"}
"""Runtime -> the module that is it; nothing is imported until it is used."""
