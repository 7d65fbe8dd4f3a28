"""What agents do that they should not, and what is left of it: clear words, nothing lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.scripted_fleet import ScriptedFleet, until


def test_an_agent_that_deletes_its_own_worktree_is_said_and_goes_on_after_the_cure(
    fleet: ScriptedFleet,
) -> None:
    script = (
        "echo half > half.md; git add .; git commit -qm half\n"
        '[ "$FLEET_ATTEMPT" = 1 ] && { cd /; rm -rf "$FLEET_WORKTREE"; exit 0; }\n'
    )
    fleet.task("a", script + fleet.delivers("a"), deliverables=["a.md", "half.md"], attempts=3)
    fleet.write()
    fleet.must("launch", "a")
    until(lambda: fleet.row("a")["state"] == "needs-you", "a question")
    (asked,) = fleet.must("inbox", "--json").json()["questions"]
    told = asked["message"]
    assert "was deleted; what was committed is on its branch 'fleet/a'" in told
    cure = ("worktree", "add", "--force", "--force", str(fleet.worktree("a")), "fleet/a")
    assert " ".join(cure) in " ".join(told.split())
    assert fleet.git("show", "fleet/a:half.md") == "half"
    fleet.git(*cure)
    fleet.must("answer", asked["id"], "rework")
    assert fleet.wait("a").code == 0
    assert fleet.git("show", "fleet/a:half.md") == "half"


def test_a_flood_of_output_is_cut_and_harms_nobody(fleet: ScriptedFleet) -> None:
    flood = "head -c 200000000 /dev/zero | tr '\\0' 'x' | fold -w 200\n"
    fleet.task("a", flood + fleet.delivers("a"), deliverables=["a.md"])
    fleet.task("b", deliverables=["b.md"])
    fleet.write()
    fleet.must("launch", "a", "b")
    assert fleet.wait("b").code == 0
    assert fleet.wait("a", timeout_s=60).code == 0
    logs = list((fleet.state / "attempts/plan/a%2Fwork/1").glob("*.log"))
    assert logs
    assert all(path.stat().st_size <= 64 << 20 for path in logs)
    assert len(fleet.must("logs", "a", "-n", "3").stdout.splitlines()) == 3


def test_commits_of_another_author_count_as_what_they_are(fleet: ScriptedFleet) -> None:
    commit = "git -c user.name=Eve -c user.email=eve@example.org commit -qm eve"
    fleet.task("a", f"echo x > a.md; git add a.md; {commit}\n", deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    until(lambda: fleet("gate", "last", "--json").code == 0, "the gate")
    fleet.must("merge")
    assert "Eve <eve@example.org>" in fleet.git("log", "--format=%an <%ae>", "main")


def test_what_an_agent_writes_into_the_main_checkout_stops_no_landing_unseen(
    fleet: ScriptedFleet,
) -> None:
    outside = 'echo stray > "$FLEET_ROOT/a.md"\n'
    fleet.task("a", outside + fleet.delivers("a"), deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    until(lambda: fleet("gate", "last", "--json").code == 0, "the gate")
    before = fleet.rev()
    refused = fleet("merge")
    assert refused.code == 1
    assert "a.md" in refused.stdout + refused.stderr
    assert fleet.rev() == before
    assert (fleet.root / "a.md").read_text() == "stray\n"


SECRET = "sesame-0001-of-forty"
KEY_FILE = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n-----END KEY-----\n"


def test_a_secret_that_is_put_out_is_masked_wherever_it_is_shown_and_kept(
    fleet: ScriptedFleet,
) -> None:
    fleet.put("../token", SECRET)
    fleet.put("../key", KEY_FILE)
    places = {"TOKEN": f"file:{fleet.top}/token", "KEY": f"file:{fleet.top}/key"}
    fleet.settings["secrets"] = places
    says = (
        'printf "%s" "${TOKEN%%-*}"; sleep 0.2; printf "%s\\n" "-${TOKEN#*-}"\n'  # in two writes
        'echo "$KEY"; echo "$TOKEN" >&2\n'
        'fleet checkin --done "used $TOKEN" --blocker "$TOKEN" >&2\n'
        'fleet ask "May I use $TOKEN?" --choice "$TOKEN" >&2\n'
    )
    done = 'echo "it was $TOKEN" > said; fleet done --output said >&2; rm said\n'
    script = says + fleet.waits("a") + fleet.delivers("a") + done
    fleet.task("a", script, agent={"secrets": ["TOKEN", "KEY"]}, deliverables=["a.md"])
    fleet.task("b", f"{says}exit 3\n", agent={"secrets": ["TOKEN", "KEY"]}, attempts=1)
    fleet.write()
    fleet.must("launch", "a", "b")

    def shown() -> str:
        words = (
            ("status",), ("status", "a"), ("status", "a", "--json"), ("logs", "a"), ("logs", "b"),
            ("inbox",), ("history", "--json"), ("report",), ("report", "--markdown"),
        )  # fmt: skip
        return "\n".join(fleet.must(*one).stdout for one in words)

    until(lambda: "May I use" in fleet.must("inbox").stdout, "its question")
    until(lambda: "it exited with 3" in fleet.row("b")["why"], "the end of b")
    running = shown()
    assert running.count("[TOKEN]") > 6
    fleet.go("a")
    assert fleet.wait("a").code == 0
    assert "it was [TOKEN]" in fleet.must("history", "--json").stdout
    pieces = (SECRET, "MIIEvQIBADANBgkqhkiG")
    for text in (running, shown()):
        assert not any(piece in text for piece in pieces), text
    fleet.must("down")
    kept = [path for path in fleet.state.rglob("*") if path.is_file()]
    assert len(kept) > 10
    assert [p for p in kept if any(piece.encode() in p.read_bytes() for piece in pieces)] == []


OSC = "\\033]52;c;aGFjaw==\\007\\033]0;owned\\007\\033[2J\\233\\u202e"


def test_what_an_agent_says_is_never_replayed_raw(fleet: ScriptedFleet) -> None:
    script = (
        f"x=$(printf '{OSC} hi')\nprintf '{OSC} shown\\n'\n"
        'fleet checkin --done "$x" --next "$x" --blocker "$x" >/dev/null\n'
        'fleet ask "$x" --topic "$x" --choice "$x" >/dev/null\n'
        f"{fleet.waits('a')}"
        'echo "$x" > said; fleet done --output said; rm said\n'
        'echo "$x" > a.md; git add .; git commit -qm "$x"\n'
    )
    fleet.task("a", script, deliverables=["a.md"], checks=[f"printf '{OSC}'; exit 1"], attempts=1)
    fleet.write()
    fleet.must("launch", "a")
    until(lambda: fleet.row("a")["state"] == "needs-you", "its question")
    (asked,) = fleet.must("inbox", "--json").json()["questions"]
    said = []

    def look() -> None:
        for words in (
            (), ("status",), ("status", "a"), ("logs", "a"), ("inbox",), ("report",), ("gate",),
            ("report", "--markdown"), ("history",), ("logs", "a", "--json"),
            ("status", "a", "--json"),
        ):  # fmt: skip
            done = fleet(*words)
            said.append((words, done.stdout + done.stderr))

    look()
    fleet.must("answer", asked["id"], asked["choices"][0])
    fleet.go("a")
    until(
        lambda: "a" in fleet.row("a")["why"] and fleet.row("a")["facts"]["reported"], "a red check"
    )
    look()
    assert any("hi" in text for _, text in said)
    for words, text in said:
        raw = {
            one for one in text if (ord(one) < 32 and one not in "\n\t") or one in "\x7f\x9b\u202e"
        }
        assert not raw, (words, text[:400])


TOOL = """#!/bin/sh
echo run >> "{ran}"
cat > "$0.new" <<'END'
#!/bin/sh
echo run >> "{ran}"
{then}
END
chmod +x "$0.new"
mv "$0.new" "$0"
echo "Updated to 2.0. Please start it again."
"""


def test_a_program_that_has_only_updated_itself_is_sent_back(fleet: ScriptedFleet) -> None:
    ran = fleet.top / "tool-ran"
    tool = fleet.put("bin/tool", TOOL.format(ran=ran, then=fleet.delivers("a")), fleet.top)
    tool.chmod(0o755)
    fleet.task("a", "", agent={"harness": [str(tool)], "args": []}, deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    assert ran.read_text().split() == ["run", "run"]
    assert fleet.row("a")["attempt"] == 2
    assert "Updated to 2.0" in fleet.must("logs", "a", "--attempt", "1").stdout


@pytest.mark.parametrize("program", ["claude", "codex", "gemini", "opencode", "copilot"])
def test_garbage_and_an_exit_0_are_no_success(
    fleet: ScriptedFleet, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage = (
        'head -c 300000 /dev/urandom\nprintf \'\\n{"type": [}\\n{"type": 7}\\n[1]\\n"x"\\n\'\n'
    )
    path: Path = fleet.put(f"bin/{program}", f"#!/bin/sh\n{garbage}", fleet.top)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    fleet.task("a", "", agent={"harness": program, "args": []}, deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    until(lambda: fleet.row("a")["why"], "the end of the first attempt")
    ends = [e["outcome"] for e in fleet.history() if e["event"] == "attempt-ended"]
    assert ends[-1]["failure"] == "agent", ends[-1]
    assert fleet.must("logs", "a").stdout.isprintable() is False
    assert not {"\x1b", "\x07", "\x08", "\r", "\x00"} & set(fleet.must("logs", "a").stdout)
