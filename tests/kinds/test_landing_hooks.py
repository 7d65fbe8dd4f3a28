"""The user's hooks at a landing, and signatures: honoured, told apart, and never a way to land
another tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fleet.core import messages as m
from fleet.kinds.merge import hooks
from fleet.runtimes.runs import now_ms
from support.kind_world import KindWorld
from support.sleepers import alive, sleeper


def commit(script: str) -> str:
    return f"{script}; git add -A; git commit -qm work"


def two(world: KindWorld):
    return [
        *world.task("a", commit("echo a > a.txt"), deliverables=["a.txt"]),
        *world.task("b", commit("echo b > b.txt"), deliverables=["b.txt"]),
    ]


def base(world: KindWorld) -> str:
    return world.repo.rev("refs/heads/main")


def hook(world: KindWorld, name: str, body: str, folder: Path | None = None) -> Path:
    """Installs a hook that is a real script; it is no hook for the tests' own commits."""
    path = (folder or world.root / ".git/hooks") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body if body.startswith("#!") else f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def noted(world: KindWorld) -> list[str]:
    return (world.root.parent / "noted").read_text().splitlines()


def play(world: KindWorld, *tasks, **phase):
    return world.play(world.plan(*(tasks or two(world)), *world.phase(["a", "b"], **phase)))


MERGES_ONLY = '[ -e "$GIT_DIR/MERGE_HEAD" ] || exit 0\n'
"""Agents commit too, with the same hooks."""


def test_each_hook_is_run_as_git_runs_it(world: KindWorld):
    tell = f'echo "$(basename "$0") $# $(ls *.txt | tr "\\n" " ")" >> {world.root.parent}/noted'
    told = f"{MERGES_ONLY}{tell}; git diff --cached --name-only >> {world.root.parent}/noted"
    for name in ("pre-merge-commit", "prepare-commit-msg", "commit-msg"):
        hook(world, name, told)
    hook(world, "post-merge", f'echo "post-merge $1 $PWD" >> {world.root.parent}/noted')
    (world.root / ".git/hooks/pre-commit").write_text("#!/bin/sh\nexit 1\n")  # not executable
    merge = play(world).steps["p/merge"]
    assert merge.standing == "succeeded", merge.text
    assert noted(world) == [
        "pre-merge-commit 0 a.txt b.txt ", "a.txt", "b.txt",
        "prepare-commit-msg 2 a.txt ", "a.txt", "commit-msg 1 a.txt ", "a.txt",
        "prepare-commit-msg 2 a.txt b.txt ", "b.txt", "commit-msg 1 a.txt b.txt ", "b.txt",
        f"post-merge 0 {world.root}",
    ]  # fmt: skip


@pytest.mark.parametrize("strategy", ["merge", "squash"])
def test_a_hook_may_change_the_message_of_each_commit(world: KindWorld, strategy):
    grep = 'grep -q "^Fleet-Task" "$1" || exit 0\n'
    hook(world, "prepare-commit-msg", grep + 'sed -i "1s/^/$2: /" "$1"')
    hook(world, "commit-msg", grep + 'printf "Change-Id: I1\\n\\n\\n" >> "$1"')
    state = play(world, strategy=strategy, checks=["true"])
    merge = state.steps["p/merge"]
    assert merge.standing == "succeeded", merge.text
    messages = world.repo.git("log", "--first-parent", "-2", "--format=%B%x00", "main").split("\0")
    for task, text in zip("ba", messages, strict=False):
        assert text.strip().startswith(f"{strategy}: Merge {task} (P)")
        assert text.strip().endswith("Change-Id: I1")
    assert base(world) == merge.output["commit"] == merge.evidence["checks"][0]["at_commit"]
    tree = world.repo.git("rev-parse", "main^{tree}")
    assert merge.evidence["checks"][0]["at_tree"] == tree, "what landed is what was judged"


def test_rebased_commits_keep_their_messages_and_the_whole_is_asked_once(world: KindWorld):
    hook(world, "commit-msg", 'grep -q "^work$" "$1" || exit 1')
    hook(world, "pre-merge-commit", f"echo once >> {world.root.parent}/noted")
    assert play(world, strategy="rebase").steps["p/merge"].standing == "succeeded"
    assert noted(world) == ["once"]
    assert world.repo.git("log", "-2", "--format=%s", "main") == "work\nwork"


@pytest.mark.parametrize("name", ["pre-merge-commit", "prepare-commit-msg", "commit-msg"])
def test_a_hook_that_refuses_holds_the_landing_and_blames_nobody(world: KindWorld, name):
    before = base(world)
    path = hook(world, name, f"{MERGES_ONLY}echo no ticket >&2; exit 3")
    merge = play(world, checks=["true"]).steps["p/merge"]
    assert base(world) == before
    assert merge.text.startswith(f"the hook {name} refused to let the ")
    assert merge.text.endswith(": no ticket; the base is as it was")
    assert merge.evidence["hook"] == {"name": name, "code": 3, "text": "no ticket"}
    assert not {"checks", "culprits", "conflict"} & set(merge.evidence)
    assert not merge.released
    assert [need.step for need in merge.step.needs] == ["p/gate"], "the gate stays open"
    assert not list(world.root.parent.glob("*.worktrees/.trial-*"))
    path.unlink()
    done = world.play(None, m.ReleaseStep(steps=("p/merge",), at_ms=now_ms()))
    assert done.steps["p/merge"].standing == "succeeded"


def test_a_hook_that_hangs_is_ended_with_all_that_it_started(world: KindWorld, monkeypatch):
    monkeypatch.setattr(hooks, "HOOK_S", 0.5)
    before = base(world)
    mine = sleeper()
    slow = " ".join(mine)
    hook(world, "commit-msg", f"{MERGES_ONLY}setsid {slow} & {slow}")
    merge = play(world).steps["p/merge"]
    assert base(world) == before
    assert merge.evidence["hook"]["code"] is None
    assert "ended after its time limit of 0.5 s" in merge.text
    assert not alive(mine)


@pytest.mark.parametrize("change", ["echo x >> a.txt", "echo x > new.txt; git add new.txt"])
def test_a_hook_that_changes_the_tree_is_refused(world: KindWorld, change):
    before = base(world)
    hook(world, "pre-merge-commit", change)
    merge = play(world).steps["p/merge"]
    assert base(world) == before
    assert "and only the tree that was judged may land" in merge.text
    assert ("a.txt" if "a.txt" in change else "new.txt") in merge.evidence["hook"]["text"]


def test_a_message_that_a_hook_left_empty_is_refused(world: KindWorld):
    before = base(world)
    hook(world, "commit-msg", f'{MERGES_ONLY}: > "$1"')
    merge = play(world).steps["p/merge"]
    assert base(world) == before
    assert "it left an empty message" in merge.text


def test_a_post_merge_that_fails_is_told_and_changes_nothing(world: KindWorld):
    hook(world, "post-merge", "echo cannot build; exit 7")
    merge = play(world).steps["p/merge"]
    assert merge.standing == "succeeded"
    assert merge.text.endswith("; the hook post-merge failed: cannot build")
    assert merge.evidence["hook"] == {"name": "post-merge", "code": 7, "text": "cannot build"}
    assert base(world) == merge.output["commit"]


def test_the_reference_transaction_hook_is_told_like_any_other(world: KindWorld):
    before = base(world)
    hook(world, "reference-transaction",
         '[ "$1" = prepared ] || exit 0; grep -q refs/heads/main && exit 1; exit 0')  # fmt: skip
    merge = play(world).steps["p/merge"]
    assert base(world) == before
    assert merge.evidence["hook"]["name"] == "reference-transaction"
    assert "the hook reference-transaction refused to move main" in merge.text


@pytest.mark.parametrize("where", ["absolute", "relative"])
def test_the_users_own_hooks_path_is_respected_and_not_what_a_task_commits(world, where):
    before = base(world)
    folder = world.root.parent / "shared" if where == "absolute" else world.root / ".hooks"
    hook(world, "commit-msg", f"{MERGES_ONLY}echo shared hook; exit 1", folder)
    world.repo.git("config", "core.hooksPath", str(folder) if where == "absolute" else ".hooks")
    hook(world, "commit-msg", "exit 0")  # in .git/hooks, where git does not look now
    mine = "mkdir -p .hooks; printf '#!/bin/sh\\nexit 0\\n' > .hooks/commit-msg; echo a > a.txt"
    tasks = [
        *world.task("a", commit(f"{mine}; chmod +x .hooks/*"), deliverables=["a.txt"]),
        *world.task("b", commit("echo b > b.txt"), deliverables=["b.txt"]),
    ]
    merge = play(world, *tasks).steps["p/merge"]
    assert base(world) == before
    assert merge.evidence["hook"]["text"] == "shared hook"


def test_a_script_without_a_first_line_is_a_hook_as_for_git(world: KindWorld):
    path = hook(world, "commit-msg", "")
    path.write_text(f'{MERGES_ONLY}echo Changed > "$1"\n')
    assert play(world).steps["p/merge"].standing == "succeeded"
    assert world.repo.git("log", "-1", "--format=%s", "main") == "Changed"


def test_the_rest_of_a_red_phase_lands_past_the_hooks_too(world: KindWorld):
    before = base(world)
    hook(world, "commit-msg", f"{MERGES_ONLY}echo no; exit 1")
    state = play(world, auto=False, checks=["test ! -e b.txt"])
    (asked,) = state.questions
    answer = m.AnswerQuestion(id=asked, value="land-rest", at_ms=now_ms())
    merge = world.play(None, answer).steps["p/merge"]
    assert base(world) == before
    assert merge.evidence["hook"]["name"] == "commit-msg"


# --- signatures -----------------------------------------------------------------------------------


@pytest.fixture(params=["ssh", "gpg"])
def signing(request, world: KindWorld, tmp_path: Path, monkeypatch):
    """A repository whose user signs, with a real key."""
    if request.param == "ssh":
        key = tmp_path / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        (tmp_path / "signers").write_text(f"ada@example.org {key.with_suffix('.pub').read_text()}")
        world.repo.git("config", "gpg.format", "ssh")
        world.repo.git("config", "user.signingKey", str(key))
        world.repo.git("config", "gpg.ssh.allowedSignersFile", str(tmp_path / "signers"))
    else:
        home = Path("/tmp") / f"gpg-{os.getpid()}-{tmp_path.name}"[:60]  # a socket's path is short
        home.mkdir(mode=0o700)
        monkeypatch.setenv("GNUPGHOME", str(home))
        made = subprocess.run(
            ["gpg", "--batch", "--passphrase", "", "--quick-gen-key", "Ada <ada@example.org>",
             "ed25519", "sign", "never"],
            capture_output=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        world.repo.git("config", "user.signingKey", "ada@example.org")
    world.repo.git("config", "commit.gpgSign", "true")
    yield
    end_gpg()


def end_gpg() -> None:
    """Ends the agent of the test's own keys, if there is one."""
    home = os.environ.get("GNUPGHOME")
    if home:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
        shutil.rmtree(home)


@pytest.mark.parametrize("strategy", ["merge", "squash", "rebase"])
def test_all_that_lands_is_signed_where_the_user_signs(world: KindWorld, signing, strategy):
    work = "; git add -A; git -c user.name=Bo -c user.email=bo@x commit -q --no-gpg-sign -m work"
    tasks = [
        *world.task("a", f"echo a > a.txt{work}", deliverables=["a.txt"]),
        *world.task("b", f"echo b > b.txt{work}", deliverables=["b.txt"]),
    ]
    before = base(world)
    merge = play(world, *tasks, strategy=strategy).steps["p/merge"]
    assert merge.standing == "succeeded", merge.text
    made = world.repo.git("rev-list", "--first-parent", f"{before}..main").split()
    assert len(made) == 2
    for sha in made:
        world.repo.git("verify-commit", sha)
    author = "bo@x" if strategy == "rebase" else "ada@example.org"
    assert world.repo.git("log", "-1", "--format=%ae %ce", "main") == f"{author} ada@example.org"


def test_a_signature_that_fails_is_told_as_such(world: KindWorld, tmp_path):
    before = base(world)
    for name, value in (
        ("gpg.format", "ssh"), ("user.signingKey", str(tmp_path / "gone")),
        ("commit.gpgSign", "true"),
    ):  # fmt: skip
        world.repo.git("config", name, value)
    work = "; git add -A; git commit -q --no-gpg-sign -m work"
    tasks = [
        *world.task("a", f"echo a > a.txt{work}", deliverables=["a.txt"]),
        *world.task("b", f"echo b > b.txt{work}", deliverables=["b.txt"]),
    ]
    merge = play(world, *tasks).steps["p/merge"]
    assert base(world) == before
    assert merge.text.startswith("a commit could not be signed: ")
    assert "commit.gpgSign asks for it" in merge.text
    assert not merge.released


def test_a_squash_tells_what_it_makes_one_of_and_who_else_wrote_it(world: KindWorld):
    by = "git -c user.name='Bo Li' -c user.email=bo@x"
    script = (
        "echo 1 > a.txt; git add -A; git commit -qm 'begin a'; "
        f"echo 2 > a.txt; {by} commit -qam 'go on with a'; "
        "echo 3 > a.txt; git commit -qam 'end a' -m 'Co-authored-by: Cy <cy@x>'"
    )
    tasks = [
        *world.task("a", script, deliverables=["a.txt"]),
        *world.task("b", "git merge -q fleet/a; " + commit("echo b > b.txt"),
                    deliverables=["b.txt"], after=["a"]),
    ]  # fmt: skip
    assert play(world, *tasks, strategy="squash").steps["p/merge"].standing == "succeeded"
    assert world.repo.git("log", "-1", "--format=%B", "main~1").splitlines() == [
        "Merge a (P)", "", "* begin a", "* go on with a", "* end a", "",
        "Fleet-Task: a", "Fleet-Run: plan", f"Fleet-Verified: {world.repo.rev('fleet/a')}",
        "Fleet-Deliverable: a.txt", "Co-authored-by: Bo Li <bo@x>", "Co-authored-by: Cy <cy@x>",
    ]  # fmt: skip
    last = world.repo.git("log", "-1", "--format=%B", "main")
    assert "* work" in last
    assert "begin a" not in last, "what an earlier task brought is not told twice"
