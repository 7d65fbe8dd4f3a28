"""Tags that fleet sets: created once, recorded, and moved back by compare-and-swap only."""

from __future__ import annotations

from fleet.adapters.git import locks, moves, refs
from fleet.adapters.git.repository import Repository
from fleet.errors import Rejected, ToolFailed


def tag(repo: Repository, name: str, sha: str, *, act: str = "") -> str:
    """Creates the tag `name` at `sha` and returns its ref; the same tag at the same commit is fine.

    `act` is the landing that it belongs to. Raises Rejected when it exists elsewhere, or git
    refuses the name.
    """
    if (problem := refs.branch_name_problem(name)) is not None:
        raise Rejected(problem.replace("branch", "tag"))
    ref = f"refs/tags/{name}"
    with locks.repository_lock(repo.common) as lock:
        found = repo.resolve(ref)
        if found is None:
            try:
                moves.note(
                    repo,
                    path=f"tags/{moves.path_of(name)}",
                    target=ref,
                    old=None,
                    new=sha,
                    act=act or f"tag/{name}",
                    why=f"fleet: tag {name}",
                    with_lines=[refs.create(ref, sha)],
                    keep=[lock],
                )
            except ToolFailed:
                found = repo.resolve(ref)
                if found is None:
                    raise
        if found not in {None, sha}:
            assert found is not None
            raise Rejected(
                f"tag {name!r} exists at {found[:12]}, not at {sha[:12]}",
                hint=f"name another tag, or: git tag -d {name}",
            )
    return ref


def untag(repo: Repository, name: str, sha: str, *, act: str) -> bool:
    """Deletes the tag `name` if it is at `sha`, with a record; returns whether it was there.

    Raises Rejected when it is elsewhere.
    """
    ref = f"refs/tags/{name}"
    with locks.repository_lock(repo.common) as lock:
        found = repo.resolve(ref)
        if found is None:
            return False
        if found != sha:
            raise Rejected(f"tag {name!r} is at {found[:12]}, not at {sha[:12]}")
        exact = repo.site.git("rev-parse", "--verify", ref).line
        moves.note(
            repo,
            path=f"tags/{moves.path_of(name)}",
            target=ref,
            old=sha,
            new=None,
            act=act,
            why=f"fleet: undo tag {name}",
            with_lines=[refs.delete(ref, exact)],
            keep=[lock],
        )
    return True
