"""Merging without a checkout: trees are merged in memory and made into commits.

`git merge-tree --write-tree` merges (the `ort` strategy: E. Newren, 2021), `git commit-tree`
records. No index and no work tree is touched. A conflict is a value that names its paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.adapters.git import refs
from fleet.adapters.git.command import Identity, encode
from fleet.adapters.git.repository import Repository
from fleet.errors import Rejected, ToolFailed


@dataclass(frozen=True, slots=True)
class Tree:
    """A merge that came out clean: the id of the merged tree."""

    oid: str


@dataclass(frozen=True, slots=True)
class Clash:
    """A merge that did not: the paths in conflict, sorted, and what git says about them."""

    paths: tuple[str, ...]
    text: str


def merge(repo: Repository, ours: str, theirs: str) -> Tree | Clash:
    """Returns the merge of two commits (full ids). Raises ToolFailed, also for unrelated
    histories.
    """
    assert refs.is_sha(ours), ours
    assert refs.is_sha(theirs), theirs
    done = repo.site.git(
        *("merge-tree", "--write-tree", "-z", "--name-only", "--messages", ours, theirs),
        accept=(0, 1),
        writes=True,
    )
    fields = done.fields
    # A bad object also ends with 1, so only output that begins with a tree is an answer.
    if not fields or not refs.is_sha(fields[0]):
        raise ToolFailed(done.argv, done.code, done.err or "merge-tree gave no tree")
    if done.code == 0:
        return Tree(fields[0])
    end = fields.index("", 1) if "" in fields[1:] else len(fields)
    return Clash(tuple(sorted(set(fields[1:end]))), _messages(fields[end + 1 :]))


def commit(
    repo: Repository,
    tree: str,
    parents: Sequence[str],
    message: str,
    identity: Identity | None,
    *,
    sign: bool = False,
    author: Identity | None = None,
) -> str:
    """Records a commit and returns its id; without an identity git's own configuration says who.

    With `sign` it is signed as the user's configuration says; raises Rejected where that fails.
    `author` is set apart for picked commits; whoever signs one is its committer.
    """
    flags = [f for parent in parents for f in ("-p", parent)]
    if author is not None and not sign:
        return _commit_as(repo, tree, flags, message, identity=identity, author=author)
    try:
        made = repo.site.git(
            *("commit-tree", tree, *flags, *(["-S"] if sign else []), "-F", "-"),
            stdin=encode(message if message.endswith("\n") else message + "\n"),
            identity=None if author is not None else identity,
            author=author,
            writes=True,
        )
    except ToolFailed as failed:
        if not sign:
            raise
        said = " ".join(failed.stderr.split()) or "without a word"
        raise Rejected(
            f"a commit could not be signed: {said}",
            hint="commit.gpgSign asks for it; see: git config --get-regexp 'gpg|sign'",
        ) from None
    return made.line


def signs(repo: Repository) -> bool:
    """Returns whether the user's configuration wants commits to be signed (`commit.gpgSign`)."""
    asked = repo.site.git("config", "--type=bool", "--get", "commit.gpgSign", accept=(0, 1))
    return asked.line == "true"


def pick(
    repo: Repository, onto: str, commit_sha: str, parent: str, identity: Identity | None
) -> Tree | Clash:
    """Returns the tree of `onto` with the change from `parent` to `commit_sha` applied.

    git before 2.40 cannot be told a merge base, so three commits are made whose base is `parent`'s
    tree.
    """
    base = commit(repo, repo.tree(parent), (), "base", identity)
    ours = commit(repo, repo.tree(onto), (base,), "ours", identity)
    theirs = commit(repo, repo.tree(commit_sha), (base,), "theirs", identity)
    return merge(repo, ours, theirs)


def _commit_as(
    repo: Repository,
    tree: str,
    flags: Sequence[str],
    message: str,
    *,
    identity: Identity | None,
    author: Identity,
) -> str:
    # commit-tree knows no author apart; hash-object checks and writes exactly what it is given.
    who = identity or author
    parents = [flags[i + 1] for i, flag in enumerate(flags) if flag == "-p"]
    header = [f"tree {tree}", *(f"parent {p}" for p in parents)]
    header.append(f"author {author.name} <{author.email}> {author.when_s} +0000")
    header.append(f"committer {who.name} <{who.email}> {who.when_s} +0000")
    body = "\n".join(header) + "\n\n" + message
    made = repo.site.git(
        "hash-object", "-t", "commit", "-w", "--stdin", stdin=encode(body), writes=True
    )
    return made.line


def _messages(fields: Sequence[str]) -> str:
    """Returns the sentences of merge-tree's message section: count, paths, kind, sentence,
    repeated.
    """
    said, at = [], 0
    while at < len(fields) and fields[at].isdigit():
        at += int(fields[at]) + 3
        if at <= len(fields) and not fields[at - 2].startswith("Auto-merging"):
            said.append(fields[at - 1].strip())
    return "\n".join(said)
