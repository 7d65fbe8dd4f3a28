"""Judges the deliverables of a task at one commit: what is committed there counts, nothing else.

A file counts when it is committed on the task's branch and new or changed since the branch point.
The file system is looked at only to say why something does not count: there but not committed, a
FIFO, on another branch. Each verdict is a plain mapping {text, met, commit, why, digest}: what is
there, as one object id of git (`git:`) or, of several files, a SHA-256 over them all (`sha256:`).
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from fleet.adapters import git
from fleet.adapters.git import tree
from fleet.errors import FleetError
from fleet.kinds.check import content

READ_BYTES: Final = 20 << 20
NAMED: Final = 3

Verdict = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where deliverables are judged: the commit, its branch point, and what lies uncommitted in the
    worktree.
    """

    repo: git.Repository
    path: Path
    branch: str
    base: str
    start: str
    commit: str
    dirty: tuple[str, ...] = ()

    def verdict(self, text: str, why: str, digest: str = "") -> Verdict:
        """Returns the verdict on one deliverable: met when there is nothing against it."""
        found = {"text": text, "met": not why, "commit": self.commit, "why": why}
        return {**found, "digest": digest}


def judge(scene: Scene, wanted: Mapping[str, Any]) -> Verdict:
    """Returns the verdict on a file, tag or merged branch; commands are not judged here."""
    text = str(wanted["text"])
    try:
        if wanted.get("tag"):
            name = str(wanted["tag"])
            at = scene.repo.tag_commit(name)
            why = _tag(scene, name, at, fresh=bool(wanted.get("fresh", True)))
            return scene.verdict(text, why, f"git:{at}" if at else "")
        if wanted.get("branch_merged"):
            return scene.verdict(text, _merged(scene, wanted["branch_merged"]))
        there = git.find_files(scene.repo, scene.commit, str(wanted["path"]))
        return scene.verdict(text, _files(scene, wanted, there), _digest(there))
    except FleetError as failed:
        return scene.verdict(text, f"could not be judged: {failed.text}")


def _digest(there: Sequence[git.File]) -> str:
    """Returns what names the content of these files, nothing for none."""
    if len(there) == 1:
        return f"git:{there[0].oid}"
    listed = "".join(f"{one.mode} {one.oid} {one.path}\0" for one in there)
    raw = listed.encode("utf-8", "surrogateescape")
    return f"sha256:{sha256(raw).hexdigest()}" if there else ""


def _files(scene: Scene, wanted: Mapping[str, Any], there: Sequence[git.File]) -> str:
    glob = str(wanted["path"])
    changed = git.changed_since(scene.repo, scene.start, scene.commit)
    touched = _touched(scene, glob)
    against: list[str] = []
    good = 0
    for file in there:
        why = _file(scene, wanted, file, fresh=file.path in changed)
        if not why and file.path in touched:
            why = "has changes that are there but not committed"
        good += not why
        if why:
            against.append(f"{file.path} {why}")
    needed = int(wanted.get("count") or 1)
    loose = sorted(touched - {file.path for file in there})
    if loose and (good < needed or good == len(there) == 0):
        against.append(
            f"{_some(loose)} {'is' if len(loose) == 1 else 'are'} there but not committed"
        )
    if good >= needed and not any("not committed" in why for why in against):
        return ""
    if not there and not loose:
        against.append(_absent(scene, glob))
    if there and needed > 1:
        against.insert(0, f"{good} of {needed} count")
    return "; ".join(against[:NAMED]) + (
        f"; {len(against) - NAMED} more" if len(against) > NAMED else ""
    )


def _file(scene: Scene, wanted: Mapping[str, Any], file: git.File, *, fresh: bool) -> str:
    if file.mode not in ("file", "program"):
        return f"is a {file.mode}, not a file"
    if wanted.get("fresh", True) and not fresh:
        return f"is as it was at the branch point {scene.start[:12]}"
    least = int(wanted.get("min_bytes") or 0)
    if file.size_bytes < least:
        return f"has {file.size_bytes} bytes, at least {least} are wanted"
    contains = wanted.get("contains") or ()
    contains = [contains] if isinstance(contains, str) else list(contains)
    if not contains and wanted.get("schema") is None:
        return ""
    raw = git.read_file(scene.repo, scene.commit, file.path, READ_BYTES)
    schema = _schema(scene, wanted.get("schema"))
    return "; ".join(content.problems(file.path, raw, contains, schema))


def _schema(scene: Scene, named: object) -> object:
    """Returns a JSON Schema; a named one is read at the branch point if it was there, so nobody
    bends it.
    """
    if not isinstance(named, str):
        return named
    known = {file.path for file in git.find_files(scene.repo, scene.start, named)}
    at = scene.start if named in known else scene.commit
    raw = git.read_file(scene.repo, at, named, READ_BYTES)
    if named.endswith((".yaml", ".yml")):
        import yaml

        return yaml.safe_load(raw)
    try:
        return json.loads(raw)
    except ValueError as wrong:
        raise FleetError(f"the schema {named} is no JSON: {wrong}") from wrong


def _touched(scene: Scene, glob: str) -> set[str]:
    pattern = tree._pattern(glob)  # noqa: SLF001 - one meaning of a glob, committed or not
    return {path for path in scene.dirty if pattern.fullmatch(path)}


def _absent(scene: Scene, glob: str) -> str:
    """Returns why nothing of that name is committed: what stands there instead, or where else it
    is.
    """
    if not set(glob) & set("*?["):
        try:
            mode = (scene.path / glob).lstat().st_mode
        except (OSError, ValueError):
            mode = 0
        if stat.S_ISFIFO(mode):
            return f"{glob} is a FIFO, not a file"
        if stat.S_ISLNK(mode):
            return f"{glob} is a symlink that is not committed"
        if mode and not stat.S_ISDIR(mode):
            return f"{glob} is there but not committed (is it ignored?)"
    elsewhere = _elsewhere(scene, glob)
    if elsewhere:
        return f"{glob} is on branch {_some(elsewhere)}, not on {scene.branch}"
    return (
        f"no file {glob} is committed" if not set(glob) & set("*?[") else f"no file matches {glob}"
    )


def _elsewhere(scene: Scene, glob: str) -> list[str]:
    """Returns branches that began after the branch point and hold such a file, fresh."""
    listed = scene.repo.site.git(
        *("for-each-ref", f"--contains={scene.start}", "--format=%(objectname) %(refname)"),
        "refs/heads/",
    ).lines
    found = []
    for line in listed:
        sha, ref = line.split(" ", 1)
        name = ref.removeprefix("refs/heads/")
        if sha == scene.commit or name in (scene.branch, scene.base):
            continue
        changed = git.changed_since(scene.repo, scene.start, sha)
        if any(file.path in changed for file in git.find_files(scene.repo, sha, glob)):
            found.append(name)
    return found


def _tag(scene: Scene, name: str, at: str | None, *, fresh: bool) -> str:
    if at is None:
        return f"there is no tag {name!r}"
    if not scene.repo.is_ancestor(at, scene.commit):
        return f"tag {name!r} is at {at[:12]}, which is not on {scene.branch}"
    if fresh and scene.repo.is_ancestor(at, scene.start):
        said = f"tag {name!r} is at {at[:12]}, from before the branch point"
        return f"{said} (`fresh: false` accepts that)"
    return ""


def _merged(scene: Scene, names: object) -> str:
    wanted = [names] if isinstance(names, str) else [str(name) for name in names]  # type: ignore[attr-defined]
    heads = scene.repo.heads([*wanted, scene.base])
    missing = [name for name in wanted if name not in heads]
    targets = [scene.commit, *([heads[scene.base]] if scene.base in heads else [])]
    apart = [
        name
        for name in wanted
        if name in heads and not any(git.contained(scene.repo, heads[name], at) for at in targets)
    ]
    told = [f"there is no branch {name!r}" for name in missing]
    return "; ".join([*told, *(f"branch {name!r} is not merged" for name in apart)])


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown
