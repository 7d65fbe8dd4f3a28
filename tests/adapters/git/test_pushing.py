"""Pushing: forward only, from what was seen, and never for ever."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from fleet.adapters import gh, git
from fleet.adapters.git import Repository, pushing
from fleet.errors import FleetError, ToolFailed
from support.git_repo import GitRepo
from support.sleepers import alive, sleeper

MAIN = "refs/heads/main"


@pytest.fixture
def remote(user: GitRepo) -> Path:
    place = user.root.parent / "origin.git"
    user.git("init", "-q", "--bare", "-b", "main", str(place))
    user.git("remote", "add", "origin", str(place))
    user.git("push", "-q", "origin", "main")
    return place


def test_what_moved_between_the_look_and_the_push_is_not_overwritten(
    user: GitRepo, repo: Repository, remote: Path
) -> None:
    seen = git.look(repo, "origin", [MAIN])[MAIN]
    ours = user.commit({"ours.txt": "ours\n"})
    theirs = user.branch("theirs", {"theirs.txt": "theirs\n"}, seen)
    user.git("push", "-q", "origin", f"theirs:{MAIN}")
    refused = git.push(repo, "origin", [git.Update(MAIN, ours, seen)])
    assert refused is not None
    assert refused.why == "moved"
    assert user.git("rev-parse", MAIN, cwd=remote) == theirs


def test_one_ref_that_is_refused_refuses_all(user: GitRepo, repo: Repository, remote: Path) -> None:
    before, ours = user.head(), user.commit({"ours.txt": "ours\n"})
    user.git("push", "-q", "origin", f"{before}:refs/tags/v1")
    updates = [git.Update(MAIN, ours, before), git.Update("refs/tags/v1", ours, None)]
    refused = git.push(repo, "origin", updates)
    assert refused is not None
    assert user.git("rev-parse", MAIN, cwd=remote) == before


@pytest.mark.parametrize("what", ["look", "push", "hook"])
def test_what_hangs_is_ended_with_all_that_it_started(
    user: GitRepo, repo: Repository, remote: Path, monkeypatch, what: str
) -> None:
    monkeypatch.setattr(pushing, "PUSH_S", 1.0)
    monkeypatch.setattr(pushing, "LOOK_S", 1.0)
    before, ours = user.head(), user.commit({"ours.txt": "ours\n"})
    hangs = user.root.parent / "hangs.sh"
    mine = sleeper()
    hangs.write_text(f"#!/bin/sh\n{' '.join(mine)}\n")
    hangs.chmod(0o755)
    if what == "hook":
        hangs.rename(user.root / ".git/hooks/pre-push")
    else:
        key = "uploadpack" if what == "look" else "receivepack"
        user.git("config", f"remote.origin.{key}", str(hangs))
    if what == "look":
        with pytest.raises(FleetError, match="origin cannot be asked: no answer within 1 s"):
            git.look(repo, "origin", [MAIN])
    else:
        refused = git.push(repo, "origin", [git.Update(MAIN, ours, before)])
        assert refused == git.NotPushed("failed", "no answer within 1 s")
    assert user.git("rev-parse", MAIN, cwd=remote) == before
    assert not alive(mine)


def test_a_gh_that_hangs_is_ended_and_one_that_babbles_is_not_believed(
    tmp_path: Path, monkeypatch
) -> None:
    program = tmp_path / "gh"
    program.write_text("#!/bin/sh\nsleep 988\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(gh, "TIMEOUT_S", 0.5)
    with pytest.raises(ToolFailed, match="timed out: no answer within"):
        gh.pull_requests(tmp_path, "main", "fleet/p")
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "988"]
    ]
    monkeypatch.setattr(gh, "TIMEOUT_S", 30.0)
    program.write_text("#!/bin/sh\necho '<html>'\n")
    with pytest.raises(ToolFailed, match="not what was asked for"):
        gh.pull_requests(tmp_path, "main", "fleet/p")
    with pytest.raises(ToolFailed, match="it named no pull request"):
        gh.open_pull_request(tmp_path, "main", "fleet/p", "P", "text")
