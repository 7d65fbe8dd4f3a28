"""What a squash would forget: the subjects of the commits it makes one of, and who else wrote them.

Law: only reads. Who commits is no co-author; people are told apart by their addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleet.adapters.git.repository import Repository

SUBJECTS: Final = 100
"""So many subjects are told one by one; of more only how many there are."""

_FORMAT: Final = "%s%x1f%an <%ae>%x1f%(trailers:key=Co-authored-by,valueonly,separator=%x1e)"


@dataclass(frozen=True, slots=True)
class Gathered:
    """Subjects, oldest first, how many are left out, and co-authors as `Name <address>`."""

    subjects: tuple[str, ...]
    more: int
    co_authors: tuple[str, ...]


def gather(repo: Repository, tip: str, without: Sequence[str]) -> Gathered:
    """Returns what is worth keeping of the commits of `tip` that are not in `without`; merges of
    its own have nothing to say.
    """
    listed = repo.site.git(
        *("log", "-z", "--no-merges", "--reverse", "--topo-order", f"--format={_FORMAT}"),
        *(tip, *(f"^{sha}" for sha in without)),
    )
    me = _address(repo.site.git("var", "GIT_AUTHOR_IDENT", accept=(0, 128)).line)
    subjects, people = list[str](), dict[str, str]()
    for record in (one for one in listed.line.split("\0") if one):
        subject, author, named = record.split("\x1f", 2)
        subjects.append(" ".join(subject.split()) or "(no subject)")
        for who in (author, *named.split("\x1e")):
            plain = " ".join(who.split())
            if _address(plain) and _address(plain) != me:
                people.setdefault(_address(plain), plain)
    more = max(0, len(subjects) - SUBJECTS)
    return Gathered(tuple(subjects[:SUBJECTS]), more, tuple(people.values()))


def _address(ident: str) -> str:
    """Returns the address in `Name <address> ...`, in small letters; nothing when there is none."""
    _, begun, rest = ident.partition("<")
    address, ended, _ = rest.partition(">")
    return address.strip().lower() if begun and ended else ""
