"""Landings that go on to a remote: pushed, or proposed as pull requests; real remotes on disk, and
a `gh` that keeps its pull requests in a file and answers as the real one does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from support.crash_walks import OF_A_PULL_REQUEST, OF_A_PUSH
from support.scripted_fleet import ScriptedFleet

GH = """#!{python}
import json, os, subprocess, sys
top = {top!r}
argv = sys.argv[1:]
with open(top + "/gh.log", "a") as log:
    log.write(json.dumps(argv) + "\\n")
if os.path.exists(top + "/gh.out"):
    print("To get started with GitHub CLI, please run:  gh auth login", file=sys.stderr)
    sys.exit(4)
def told(flag):
    return argv[argv.index(flag) + 1]
def head(branch):
    done = subprocess.run(["git", "-C", top + "/origin.git", "rev-parse", "refs/heads/" + branch],
                          capture_output=True, text=True)
    return done.stdout.strip()
path = top + "/gh.json"
prs = json.load(open(path)) if os.path.exists(path) else []
if argv[:2] == ["pr", "list"]:
    rows = [p for p in prs if p["head"] == told("--head") and p["base"] == told("--base")]
    for row in rows:
        if row["state"] == "OPEN":
            row["headRefOid"] = head(row["head"])
    print(json.dumps([{{k: r[k] for k in told("--json").split(",")}} for r in rows]))
elif argv[:2] == ["pr", "create"]:
    number = len(prs) + 1
    url = "https://github.com/o/r/pull/%d" % number
    prs.append(dict(number=number, url=url, state="OPEN", base=told("--base"), head=told("--head"),
                    title=told("--title"), body=open(told("--body-file")).read(),
                    headRefOid=head(told("--head"))))
    print(url)
elif argv[:2] == ["pr", "edit"]:
    (row,) = [p for p in prs if p["number"] == int(argv[2])]
    row.update(title=told("--title"), body=open(told("--body-file")).read())
    print(row["url"])
json.dump(prs, open(path, "w"))
"""


@pytest.fixture
def remote(fleet: ScriptedFleet) -> Path:
    """A bare repository that is `origin`; the fleet's phases are declared by the test."""
    place = fleet.top / "origin.git"
    fleet.git("init", "-q", "--bare", "-b", "main", str(place))
    fleet.git("remote", "add", "origin", str(place))
    return place


def launched(fleet: ScriptedFleet, **phase: Any) -> ScriptedFleet:
    """One task of a phase `p`, verified; the remote has the base as it is."""
    fleet.phases({"id": "p", "tag": "v1", **phase})
    fleet.task("a", phase="p", deliverables=["a.md"])
    fleet.write()
    if fleet.git("remote"):
        fleet.git("push", "-q", "origin", "main")
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    return fleet


def at(place: Path, fleet: ScriptedFleet, ref: str = "refs/heads/main") -> str:
    return fleet.git("rev-parse", "--verify", "-q", ref, cwd=place, check=False)


def hook(folder: Path, name: str, body: str) -> Path:
    path = folder / "hooks" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def moved(fleet: ScriptedFleet, remote: Path, branch: str = "main") -> str:
    """Somebody else's commit on a branch of the remote; returns it."""
    other = fleet.top / "other"
    fleet.git("clone", "-q", "-b", branch, str(remote), str(other))
    fleet.put("theirs.md", "theirs\n", other)
    fleet.git("add", "-A", cwd=other)
    fleet.git("-c", "user.name=Eve", "-c", "user.email=eve@x", "commit", "-qm", "theirs", cwd=other)
    fleet.git("push", "-q", cwd=other)
    return at(remote, fleet, f"refs/heads/{branch}")


def row(ended: Any) -> dict[str, Any]:
    (found,) = ended.json()["phases"]
    return dict(found)


def flat(text: str) -> str:
    return " ".join(text.split())


# --- hooks ----------------------------------------------------------------------------------------


def test_a_hook_that_refuses_is_told_and_once_it_is_content_the_phase_lands(
    fleet: ScriptedFleet,
) -> None:
    launched(fleet)
    before = fleet.rev()
    refuses = hook(fleet.root / ".git", "commit-msg", "echo 'no \x1b[31mticket'; exit 1")
    done = fleet("merge", "p")
    assert (done.code, fleet.rev()) == (1, before)
    assert "the hook commit-msg refused to let the commit of a be made: no" in flat(done.stdout)
    assert "\x1b" not in done.stdout
    told = row(fleet("merge", "p", "--json"))
    assert told["evidence"]["hook"]["name"] == "commit-msg"
    assert not {"checks", "conflict", "culprits"} & set(told["evidence"])
    assert fleet.row("a")["state"] == "accepted", "nobody is sent back"
    refuses.unlink()
    hook(fleet.root / ".git", "post-merge", "echo not built; exit 1")
    done = fleet.must("merge", "p")
    assert "the hook post-merge failed: not built" in flat(done.stdout)
    assert fleet.git("show", "main:a.md") == "done"


# --- push -----------------------------------------------------------------------------------------


def test_base_and_tag_are_pushed_after_the_landing_and_shown(
    fleet: ScriptedFleet, remote: Path
) -> None:
    launched(fleet)
    seen = fleet.top / "pushed"
    hook(fleet.root / ".git", "pre-push", f'pwd > "{seen}"; cat >> "{seen}"')
    landed = row(fleet.must("merge", "p", "--push", "--json"))
    fact = {"remote": "origin", "ref": "refs/heads/main", "commit": fleet.rev(), "tag": "v1"}
    assert landed["pushed"] == fact
    assert at(remote, fleet) == at(remote, fleet, "refs/tags/v1") == fleet.rev() == landed["commit"]
    assert seen.read_text().startswith(f"{fleet.root}\n"), "git's own hook, where git runs it"
    assert fleet.must("gate", "p", "--json").json()["pushed"] == fact
    told = f"pushed to origin: refs/heads/main and tag v1 at {fleet.rev()[:10]}"
    assert told in flat(fleet.must("gate", "p").stdout)
    assert [one for one in fleet.history() if one.get("facts", {}).get("pushed") == fact]
    events = len(fleet.history())
    assert told in flat(fleet.must("merge", "p", "--push").stdout), "again: nothing is left to do"
    assert len(fleet.history()) == events


def test_what_lands_in_part_is_pushed_in_part(fleet: ScriptedFleet, remote: Path) -> None:
    fleet.task("bad", phase="p", deliverables=["bad.md"])
    launched(fleet, checks=["test ! -e bad.md"])
    fleet.must("launch", "bad")
    assert fleet.wait("bad").code == 0
    done = fleet("merge", "p", "--land-rest", "--push", "--json")
    landed = row(done)
    assert (done.code, landed["landed"], landed["commit"]) == (1, False, None)
    assert landed["evidence"]["landed"]["commit"] == landed["pushed"]["commit"] == fleet.rev()
    assert at(remote, fleet) == fleet.rev()
    assert at(remote, fleet, "refs/tags/v1") == "", "a tag is for the whole"


def test_without_a_remote_nothing_lands_and_with_several_one_is_meant(
    fleet: ScriptedFleet,
) -> None:
    launched(fleet)
    before = fleet.rev()
    none = fleet("merge", "p", "--push")
    assert (none.code, fleet.rev()) == (1, before)
    assert "there is no remote to push to" in none.stderr
    for name in ("left", "right"):
        fleet.git("init", "-q", "--bare", str(fleet.top / name))
        fleet.git("remote", "add", name, str(fleet.top / name))
    two = fleet("merge", "p", "--push")
    assert "is not said: left, right" in two.stderr
    assert fleet("merge", "p", "--push", "--remote", "lefd").code == 1
    assert fleet.rev() == before
    fleet.git("config", "branch.main.remote", "right")
    told = flat(fleet.must("merge", "p", "--push", "--dry-run").stdout)
    assert told == f"· p: would be merged and pushed to right a {fleet.rev('fleet/a')[:10]}"
    assert row(fleet.must("merge", "p", "--push", "--json"))["pushed"]["remote"] == "right"
    assert at(fleet.top / "right", fleet) == fleet.rev() != before
    fleet.must("merge", "p", "--remote", "left")
    assert at(fleet.top / "left", fleet) == fleet.rev()


def test_a_remote_that_moved_is_told_with_its_cure_and_not_forced(
    fleet: ScriptedFleet, remote: Path
) -> None:
    launched(fleet)
    theirs = moved(fleet, remote)
    done = fleet("merge", "p", "--push")
    assert done.code == 1
    assert "main has moved at origin; git pull --no-rebase, then: fleet merge p --push" in flat(
        done.stdout
    )
    assert at(remote, fleet) == theirs
    assert fleet.git("show", "main:a.md") == "done", "what has landed stands"
    assert at(remote, fleet, "refs/tags/v1") == "", "all of it, or nothing"
    fleet.git("pull", "-q", "--no-rebase", "--no-edit", "origin", "main")
    fleet.must("merge", "p", "--push")
    assert at(remote, fleet) == fleet.rev()
    assert at(remote, fleet, "refs/tags/v1") == fleet.rev("v1")


def test_who_refuses_a_push_is_told_apart(fleet: ScriptedFleet, remote: Path) -> None:
    launched(fleet)
    before = at(remote, fleet)
    mine = hook(fleet.root / ".git", "pre-push", "echo no friday >&2; exit 1")
    done = fleet("merge", "p", "--push", "--json")
    assert (done.code, row(done)["landed"]) == (1, True)
    assert row(done)["evidence"]["push"]["why"] == "hook"
    assert "the hook pre-push refused: no friday" in row(done)["text"]
    mine.unlink()
    theirs = hook(remote, "pre-receive", "echo protected branch; exit 1")
    done = fleet("merge", "p", "--push", "--json")
    assert row(done)["evidence"]["push"]["why"] == "refused"
    assert "origin refused: " in row(done)["text"]
    assert "protected branch" in row(done)["text"]
    assert at(remote, fleet) == before
    theirs.unlink()
    fleet.git("push", "-q", "origin", f"{before}:refs/tags/v1")
    done = fleet("merge", "p", "--push", "--json")
    assert row(done)["evidence"]["push"]["why"] == "tag"
    assert at(remote, fleet) == before
    remote.rename(fleet.top / "gone.git")
    done = fleet("merge", "p", "--push", "--json")
    assert (done.code, row(done)["evidence"]["push"]["why"]) == (1, "failed")
    assert "does not appear to be a git repository" in row(done)["text"]


def test_a_push_runs_in_the_environment_of_the_person(fleet: ScriptedFleet, remote: Path) -> None:
    launched(fleet)
    ssh = fleet.put(
        "ssh.sh",
        f'#!/bin/sh\necho "$SSH_AUTH_SOCK" >> "{fleet.top}/ssh"\nshift\n'
        f'exec sh -c "$(echo "$*" | sed "s|/far.git|{remote}|")"\n',
        fleet.top,
    )
    ssh.chmod(0o755)
    fleet.git("remote", "set-url", "origin", "host.invalid:/far.git")
    env = {"GIT_SSH": str(ssh), "GIT_SSH_VARIANT": "simple", "SSH_AUTH_SOCK": "/the/agent"}
    fleet.must("merge", "p", "--push", env=env)
    assert at(remote, fleet) == fleet.rev()
    assert set((fleet.top / "ssh").read_text().split()) == {"/the/agent"}


@pytest.mark.parametrize("point", OF_A_PUSH)
def test_a_kill_between_landing_and_push_loses_nothing(
    fleet: ScriptedFleet, remote: Path, point: str
) -> None:
    launched(fleet)
    died = fleet("merge", "p", "--push", env={"FLEET_CRASH_AT": point})
    assert died.code == -signal.SIGKILL
    landed = fleet.rev()
    assert fleet.git("show", "main:a.md") == "done"
    again = row(fleet.must("merge", "p", "--push", "--json"))
    assert again["pushed"]["commit"] == landed == at(remote, fleet) == fleet.rev()
    assert at(remote, fleet, "refs/tags/v1") == landed
    assert fleet.must("gate", "p", "--json").json()["pushed"]["commit"] == landed


# --- pull requests --------------------------------------------------------------------------------


class Gh:
    """What the stand-in for gh was called with, and what it holds."""

    def __init__(self, top: Path) -> None:
        self.top = top
        place = top / "bin" / "gh"
        place.parent.mkdir()
        place.write_text(GH.format(python=sys.executable, top=str(top)))
        place.chmod(0o755)
        self.env = {"PATH": f"{place.parent}:{os.environ['PATH']}"}

    @property
    def calls(self) -> list[list[str]]:
        path = self.top / "gh.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def requests(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.top / "gh.json").read_text())
        return found

    def set_state(self, state: str) -> None:
        rows = [{**one, "state": state} for one in self.requests]
        (self.top / "gh.json").write_text(json.dumps(rows))


@pytest.fixture
def gh(fleet: ScriptedFleet) -> Gh:
    return Gh(fleet.top)


def proposed(fleet: ScriptedFleet, gh: Gh, **phase: Any) -> str:
    """A phase whose pull request is open; returns the commit that is proposed."""
    launched(fleet, land="pr", checks=["test -f a.md"], **phase)
    before = fleet.rev()
    done = fleet.must("merge", "p", env=gh.env)
    assert "waits as https://github.com/o/r/pull/1. Merge it there, git pull" in flat(done.stdout)
    assert fleet.rev() == before, "the base is moved by whoever takes the request"
    return fleet.git("rev-parse", "refs/heads/fleet/p", cwd=fleet.top / "origin.git")


def take(fleet: ScriptedFleet, remote: Path, how: str) -> None:
    """Merges the branch at the remote as GitHub would, and pulls."""
    site = fleet.top / "site"
    fleet.git("clone", "-q", str(remote), str(site))
    words = ["-c", "user.name=Hub", "-c", "user.email=hub@x"]
    if how == "merge":
        fleet.git(*words, "merge", "-q", "--no-ff", "-m", "Merge pull request #1",
                  "origin/fleet/p", cwd=site)  # fmt: skip
    elif how == "squash":
        fleet.git("merge", "-q", "--squash", "origin/fleet/p", cwd=site)
        fleet.git(*words, "commit", "-qm", "P (#1)", cwd=site)
    else:
        fleet.git(*words, "cherry-pick", "fleet-a", cwd=site)
    fleet.git("push", "-q", "origin", "main", cwd=site)


@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
def test_a_phase_lands_once_its_pull_request_was_taken(
    fleet: ScriptedFleet, remote: Path, gh: Gh, how: str
) -> None:
    commit = proposed(fleet, gh)
    (request,) = gh.requests
    assert (request["base"], request["head"], request["title"]) == ("main", "fleet/p", "p")
    assert request["headRefOid"] == commit
    assert request["body"].startswith("# Gate p: open\n")
    assert "p: check test -f a.md" in request["body"]
    assert [one[:2] for one in gh.calls] == [["pr", "list"], ["pr", "create"]]
    told = fleet.must("gate", "p", "--json").json()
    assert (told["gate"], told["merged_as"]) == ("open", None)
    assert told["pull_request"]["url"] == request["url"]
    assert fleet.row("a")["state"] == "accepted"

    again = fleet.must("merge", "p", env=gh.env)
    assert "pull/1" in again.stdout
    assert [one[:2] for one in gh.calls][2:] == [["pr", "list"], ["pr", "edit"]]
    assert at(remote, fleet, "refs/heads/fleet/p") == commit, "judged once, and proposed once"

    if how == "rebase":
        fleet.git("push", "-q", "origin", "fleet/a:refs/tags/fleet-a")
    take(fleet, remote, how)
    gh.set_state("MERGED")
    early = fleet("merge", "p", env=gh.env)
    assert "pull/1 was merged; git pull, then: fleet merge p" in flat(early.stdout)
    fleet.git("pull", "-q", "--ff-only", "origin", "main")
    moved(fleet, remote)
    fleet.git("pull", "-q", "--ff-only", "origin", "main")
    landed = row(fleet.must("merge", "p", "--json"))
    assert landed["landed"]
    by = {"merge": commit}.get(how, fleet.rev("main~1"))
    assert (landed["commit"], fleet.rev("v1")) == (by, by)
    assert fleet.row("a")["state"] == "merged"
    fleet.must("merge", "p", "--push")
    assert at(remote, fleet, "refs/tags/v1") == by


def test_without_gh_or_its_log_in_nothing_is_pushed(
    fleet: ScriptedFleet, remote: Path, gh: Gh
) -> None:
    launched(fleet, land="pr")
    bare = fleet.top / "few"
    bare.mkdir()
    for name in ("git", "tmux", "sh"):
        found = next(p for d in os.environ["PATH"].split(":") if (p := Path(d, name)).exists())
        (bare / name).symlink_to(found)
    missing = fleet("merge", "p", env={"PATH": str(bare)})
    assert (missing.code, "gh, which is not installed" in missing.stderr) == (1, True)
    (fleet.top / "gh.out").touch()
    out = fleet("merge", "p", env=gh.env)
    assert (out.code, "gh is not logged in" in out.stderr) == (1, True)
    assert "gh auth login" in out.stderr
    assert fleet.git("for-each-ref", "--format=%(refname)", cwd=remote) == "refs/heads/main"
    (fleet.top / "gh.out").unlink()
    fleet.must("merge", "p", env=gh.env)
    assert len(gh.requests) == 1


def test_a_base_that_moved_is_judged_anew_and_the_request_brought_up_to_date(
    fleet: ScriptedFleet, remote: Path, gh: Gh
) -> None:
    commit = proposed(fleet, gh)
    moved(fleet, remote)
    fleet.git("pull", "-q", "--ff-only", "origin", "main")
    fleet.must("merge", "p", env=gh.env)
    now = at(remote, fleet, "refs/heads/fleet/p")
    assert now != commit
    assert fleet.git("show", f"{now}:theirs.md") == "theirs"
    (request,) = gh.requests
    assert now[:10] in request["body"]


def test_what_somebody_else_pushed_to_the_request_is_not_overwritten(
    fleet: ScriptedFleet, remote: Path, gh: Gh
) -> None:
    proposed(fleet, gh)
    theirs = moved(fleet, remote, "fleet/p")
    done = fleet("merge", "p", env=gh.env)
    assert done.code == 1
    assert "not what fleet has put there" in flat(done.stdout)
    assert at(remote, fleet, "refs/heads/fleet/p") == theirs


@pytest.mark.parametrize("point", OF_A_PULL_REQUEST)
def test_a_kill_on_the_way_to_a_pull_request_leaves_one(
    fleet: ScriptedFleet, remote: Path, gh: Gh, point: str
) -> None:
    launched(fleet, land="pr")
    env = {**gh.env, "FLEET_CRASH_AT": point}
    assert fleet("merge", "p", env=env).code == -signal.SIGKILL
    fleet.must("merge", "p", env=gh.env)
    (request,) = gh.requests
    assert request["headRefOid"] == at(remote, fleet, "refs/heads/fleet/p")


def test_a_red_phase_is_not_proposed_in_part(fleet: ScriptedFleet, remote: Path, gh: Gh) -> None:
    fleet.task("bad", phase="p", deliverables=["bad.md"])
    launched(fleet, land="pr", checks=["test ! -e bad.md"])
    fleet.must("launch", "bad")
    assert fleet.wait("bad").code == 0
    before = fleet.rev()
    done = fleet("merge", "p", "--land-rest", env=gh.env)
    assert done.code == 1
    assert "bad breaks it; bad is sent back to work, the base is as it was" in flat(done.stdout)
    assert (fleet.rev(), gh.calls) == (before, [])
