"""How a person has set an agent program up, as its agents start it: logged in, and trusting the
repository.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.app.diagnosing.findings import Finding, finding

if TYPE_CHECKING:
    from fleet.files.documents import AgentDocument


def logins(name: str, path: str, users: Sequence[AgentDocument]) -> Iterator[Finding]:
    """Asks whether the program at `path` is logged in, for the first of its agents that is given no
    key of its own.
    """
    from fleet.harnesses.accounts import keys_of, login_of

    environ: dict[str, str] = dict(os.environ)
    given = [_given(agent, keys_of(name)) for agent in users]
    if given and all(given):
        yield finding(f"{name} login", "ok", f"by {given[0]}, which its agents are given")
        return
    if given:
        environ |= users[given.index("")].env
    login = login_of(name, path, environ)
    if login is not None and login.by:
        yield finding(f"{name} login", "ok", f"by {login.by}")
    elif login is not None:
        yield finding(f"{name} login", "warning", "not logged in", login.cure)


def trusts(name: str, root: Path, users: Sequence[AgentDocument]) -> Iterator[Finding]:
    """Asks whether a session in its terminal would begin with a question about the folder."""
    from fleet.harnesses.accounts import trust_of

    for agent in users:
        if agent.mode != "interactive":
            continue
        trust = trust_of(name, root, {**os.environ, **agent.env})
        if trust is not None:
            text = f"it {trust.text}, so {agent.id} would first ask about it in its terminal"
            yield finding(f"{name} trust", "warning", text, trust.cure)
            return


def _given(agent: AgentDocument, keys: Sequence[str]) -> str:
    """Returns the variable that stands for a login and that the agent is given; "" for none."""
    return next((key for key in keys if key in agent.env or key in agent.secrets), "")
