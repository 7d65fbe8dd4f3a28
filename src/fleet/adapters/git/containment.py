"""Whether a commit's work is in the base: proved by content, never by a name or a word.

Four proofs, from cheap to dear. The commit is an ancestor; merging it would change nothing; each of
its commits is there under another id (`patch-id`: a rebase); or there was a moment in the base's
history at which merging it would have changed nothing (a squash, with work over the same lines
since). What was merged and then reverted counts as merged: its commits are the business of whoever
deletes a name of theirs.
"""

from __future__ import annotations

from typing import Final

from fleet.adapters.git import merging, refs
from fleet.adapters.git.attributes import as_declared
from fleet.adapters.git.command import encode
from fleet.adapters.git.repository import Repository

MOMENTS: Final = 200
"""How many commits of the base's history are looked at, at most: those that touch the same files,
latest first."""

PATHS: Final = 100
"""How many of a branch's paths such a commit may be found by."""


def contained(repo: Repository, tip: str, base_sha: str) -> bool:
    """Returns whether a commit's work is in the base: as an ancestor, or by content (squashed)."""
    if repo.is_ancestor(tip, base_sha):
        return True
    if repo.merge_base(tip, base_sha) is None:
        return False
    return _changes_nothing(repo, base_sha, tip)


def how_merged(repo: Repository, tip: str, base_sha: str) -> str:
    """Returns how the work of `tip` came into the base, in two or three words; empty when it did
    not.
    """
    if repo.is_ancestor(tip, base_sha):
        return "merged"
    fork = repo.merge_base(tip, base_sha)
    if fork is None:
        return ""
    if _changes_nothing(repo, base_sha, tip):
        return "merged by content"
    if _patches_are_there(repo, tip, base_sha):
        return "rebased"
    return "squashed" if _was_contained(repo, tip, base_sha, fork) else ""


def _changes_nothing(repo: Repository, onto: str, tip: str) -> bool:
    merged = merging.merge(repo, onto, tip)
    if isinstance(merged, merging.Clash):
        with as_declared(repo, onto) as declared:
            merged = merging.merge(declared, onto, tip)
    return isinstance(merged, merging.Tree) and merged.oid == repo.tree(onto)


def _patches_are_there(repo: Repository, tip: str, base_sha: str) -> bool:
    """Whether each commit, merges apart, has one of the same patch-id in the base.

    A merge commit may hold changes of its own, which no patch-id tells of: then it is no proof.
    """
    if repo.site.git("rev-list", "-n1", "--merges", f"{base_sha}..{tip}").lines:
        return False
    told = repo.site.git("cherry", base_sha, tip).lines
    return bool(told) and all(line.startswith("-") for line in told)


def _was_contained(repo: Repository, tip: str, base_sha: str, fork: str) -> bool:
    paths = [change.path for change in repo.changed(fork, tip)][:PATHS]
    if not paths:
        return False
    asked = ["rev-list", f"--max-count={MOMENTS}", f"{fork}..{base_sha}", "--"]
    moments = repo.site.git(*asked, *paths).lines
    return any(_changes_nothing(repo, moment, tip) for moment in moments)


def unreachable(repo: Repository, commits: set[str]) -> list[str]:
    """Returns those of `commits` that exist and that no ref leads to, sorted.

    The HEAD of a linked worktree is no ref here: it may be about to go.
    """
    there = sorted(one for one in commits if refs.is_sha(one) and set(one) != {"0"})
    asked = encode("".join(f"{one}\n" for one in there))
    rows = repo.site.git("cat-file", "--batch-check", stdin=asked).lines if there else []
    there = [row.split(" ")[0] for row in rows if row.split(" ")[1] == "commit"]
    if not there:
        return []
    asked = encode("".join(f"{one}\n" for one in there))
    refs_only = ("--not", "--single-worktree", "--all")
    loose = set(repo.site.git("rev-list", "--stdin", *refs_only, stdin=asked).lines)
    return [one for one in there if one in loose]
