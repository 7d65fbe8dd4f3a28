"""The composition root: one function a use case, called by every front door in the same way.

Reading use cases fold the journal, look at the world and start nothing. Writing ones become
commands in the mailbox and wait for their result. Nothing is printed here and nobody is asked.
"""

from __future__ import annotations
