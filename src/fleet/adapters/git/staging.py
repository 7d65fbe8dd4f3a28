"""The hooks of the user's repository, and the stage on which they find a commit about to be made.

Law: finds hooks and sets the stage; runs none. The stage is a trial of fleet's own whose HEAD is
the commit before, with index and files of the commit to come, as a hook finds them in the middle of
a `git merge`; only the branch is not checked out there. A `core.hooksPath` that is relative is
looked up in the user's own checkout, never in what an agent has committed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.adapters.git import assembly, registration
from fleet.adapters.git.command import Site, encode
from fleet.adapters.git.repository import Repository


@dataclass(frozen=True, slots=True)
class Stage:
    """A checkout in which `commit` is about to be made on `head`."""

    site: Site
    place: Path
    head: str
    commit: str

    @property
    def surroundings(self) -> dict[str, str]:
        """What git tells a hook in the middle of a merge, by name, when it runs no editor."""
        return {
            "GIT_DIR": str(self.site.git_dir),
            "GIT_INDEX_FILE": str(self.site.git_dir / "index"),
            "GIT_EDITOR": ":",
            "GIT_PREFIX": "",
        }


def find_hooks(repo: Repository, names: Sequence[str]) -> dict[str, Path]:
    """Returns those hooks that git would run; what is not executable is none, as for git."""
    site = Site(repo.common, repo.common, repo.root)
    folder = repo.root / site.git("rev-parse", "--git-path", "hooks", hooks=True).line
    found = {name: Path(os.path.abspath(folder / name)) for name in names}  # noqa: PTH100
    return {n: path for n, path in found.items() if path.is_file() and os.access(path, os.X_OK)}


def set_stage(
    repo: Repository, folder: Path, head: str, commit: str, merged: Sequence[str] = ()
) -> Stage:
    """Returns the stage in `folder`, made or turned to another commit; `merged` are the commits
    that a merge takes in (MERGE_HEAD).
    """
    path = Path(os.path.realpath(folder))
    admin = _admin(repo, path)
    if admin is None:
        assembly.trial_checkout(repo, commit, path)
        admin = _admin(repo, path)
        assert admin is not None, path
    site = registration.site_of(repo.common, admin, path)
    site.git("read-tree", "--reset", "-u", commit, writes=True, timeout_s=600)
    (admin / "HEAD").write_bytes(encode(f"{head}\n"))
    (admin / "MERGE_HEAD").unlink(missing_ok=True)
    if merged:
        (admin / "MERGE_HEAD").write_bytes(encode("".join(f"{sha}\n" for sha in merged)))
    return Stage(site, path, head, commit)


def put_message(stage: Stage, text: str) -> Path:
    """Writes a commit's message where git would keep it for a hook to change; returns the file."""
    merging = (stage.site.git_dir / "MERGE_HEAD").exists()
    file = stage.site.git_dir / ("MERGE_MSG" if merging else "COMMIT_EDITMSG")
    file.write_bytes(encode(text))
    return file


def take_message(stage: Stage, file: Path) -> str:
    """Returns the message that hooks have left, cleaned as git cleans what no editor has seen."""
    return stage.site.git("stripspace", stdin=file.read_bytes()).out.decode(
        "utf-8", "surrogateescape"
    )


def changed_on(stage: Stage) -> list[str]:
    """Returns the tracked files that are not as in the commit to come, in the checkout or staged;
    the names of files that were staged anew among them.
    """
    site = stage.site
    site.git("update-index", "-q", "--refresh", writes=True, accept=(0, 1))
    asked = ("diff-index", "--name-only", "-z", "--ignore-submodules=all", "--no-renames")
    seen = {*site.git(*asked, stage.commit).fields}
    return sorted(seen | {*site.git(*asked, "--cached", stage.commit).fields})


def _admin(repo: Repository, path: Path) -> Path | None:
    found = (one.admin for one in registration.scan(repo.common) if one.path == path)
    return next(found, None)
