"""Patterns against what programs are about to do, hostile commands among it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.policy import Policy, Rule, pattern_of
from fleet.policy.shell import split

PUSH = ["run: git push *"]


def decided(command: str, allow: list[str], deny: list[str], worktree: str = "/srv/none") -> str:
    return Policy(allow, deny).decide("Bash", {"command": command}, worktree)[0]


@pytest.mark.parametrize(
    "command",
    [
        "git push", "git push origin main", "  git   push", "git\tpush", "git \\\n push",
        "git status; git push", "git status && git push", "false || git push", "true | git push",
        "sleep 9 & git push", "git status\ngit push", "(git push)", "{ git push; }", "! git push",
        "'git' \"push\"", "g\\it pu\\sh", "gi't' p''ush", "$'git' push", "/usr/bin/git push",
        "git -C sub push", "git --no-pager -c a.b=c push", "git -C sub --git-dir=x push origin",
        "echo $(git push)", "echo `git push`", 'echo "$(git push)"', 'echo "`git push`"',
        "echo ${x:-$(git push)}", "echo $((1 + $(git push)))", "x=$(git push)", "x=1 git push",
        "cat <(git push)", "tee >(git push)", "cat <<E\n$(git push)\nE",
        "cat <<-E\n\t`git push`\n\tE",
        "cat <<'E'\nE\ngit push", "echo > $(git push)", "if true; then git push; fi",
        "for i in 1 2; do git push; done", "while git push; do :; done", "f() { git push; }; f",
        "function f { git push; }; f", "case x in x) git push;; esac", "sh -c 'git push'",
        'bash -lc "cd x && git push"', "sh -c 'sh -c \"git push\"'", "eval git push",
        "eval 'git' 'push'", "sudo -u me git push", "env A=1 git push", "xargs git push",
        "timeout 5 git push", "nice -n 5 git push", "command git push", "exec git push",
        "find . -exec git push \\;", "time -p git push", "trap 'git push' EXIT",
        "ssh x 'git push'",
        "nohup git push &", "git push > /dev/null 2>&1", "> /dev/null git push",
        "a=(1 2); git push",
        "echo '#'; git push", "# not this\ngit push", "echo a#b; git push", "git 'push",
        'git "push',
        "git push <",
    ],
)  # fmt: skip
def test_what_is_denied_is_found_wherever_it_hides(command: str) -> None:
    assert decided(command, [], PUSH) == "deny"
    assert decided(command, ["run", "edit", "Bash"], PUSH) == "deny"


@pytest.mark.parametrize(
    "command",
    [
        "$GIT push", "git $WHAT", "git $(echo push)", "git `echo push`", "${G}t push", "g?t push",
        "git pu*", "{git,push}", "git {push,pull}", "$'\\x67it' push", "echo push | xargs git",
        "bash", "curl x | sh", "bash -s < x", "bash <<< 'git push'", 'sh -c "$COMMAND"', "eval $X",
        'eval "$(cat x)"', "git $(push", "echo `git", "(", ")",
        "cat <<E\ngit push", "\x00", "\x1b[2Kgit pull", "=git push", "echo ${x:=1}",
        "$(" * 40, "sudo $X",
        ". <(cat x)",
    ],
)  # fmt: skip
def test_what_may_be_denied_or_cannot_be_told_is_asked(command: str) -> None:
    assert decided(command, ["run", "edit"], PUSH) == "ask"


@pytest.mark.parametrize(
    "command",
    [
        "git pull", "git pushd", "git help push", "git commit -m push", "git commit -m 'git push'",
        "echo 'git push'", "grep -r 'git push' .", "cat <<'E'\ngit push\nE",
        "cat <<E\ngit push\nE",
        "echo git # git push", "git log -- $FILES | head", "ls *.py",
        'npm test "$X"', "echo ${HOME} ~ {} ?", "[ -f x ] && [[ -n $x ]]",
    ],
)  # fmt: skip
def test_what_is_not_denied_is_left_to_the_rest(command: str) -> None:
    policy = Policy([], PUSH)
    assert policy.decide("Bash", {"command": command}, "/srv/none") == ("ask", "")


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("npm test", True), ("npm test -- --watch", True), ("npm  test\t'a b'", True),
        ("npm test && npm test x", True), ("npm test | npm test", True),
        ("npm test\nnpm test", True),
        ("npm test $X", True), ("npm test *.js", True), ('npm test "$X" {a,b}', True),
        ("npm test > /dev/null 2>&1", True), ("npm test > docs/log", True),
        ("npm test <<E\nE", True),
        ("npm test >> docs/a/b", True), ("(npm test)", True), ("npm test &", True),
        ("npm testx", False), ("npm run test", False), ("npm", False), ("./npm test", False),
        ("/tmp/npm test", False), ("A=1 npm test", False), ("npm test; rm x", False),
        ("npm test | sh", False), ("npm test $(rm x)", False), ("npm test `rm x`", False),
        ("npm test <(rm x)", False), ('npm test "$(rm x)"', False), ("npm test > x", False),
        ("npm test > $X", False), ("npm test > docs/../x", False), ("npm test < x", False),
        ("cd docs; npm test > docs/x", False), ("npm test <<E\n$(rm x)\nE", False),
        ("npm test ${x:-$(rm x)}", False), ("npm test ${x?}", False), ("npm test 'a", False),
        ("npm test &> x", False), ("npm test 3<> x", False), ("npm $X test", False),
        ("$X npm test", False),
        ("npm $(true)test", False), ("sudo npm test", False), ("! npm test", False),
        ("if npm test; then npm test; fi", False), ("f() { npm test; }", False), ("", False),
        ("npm test > /dev/tcp/a/1", False), ("> docs/x", True), ("npm test\rrm x", False),
    ],
)  # fmt: skip
def test_an_allow_must_cover_every_part(command: str, allowed: bool) -> None:
    found = decided(command, ["run: npm test *", "edit: docs/**"], [])
    assert (found == "allow") is allowed


@pytest.mark.parametrize(
    ("pattern", "command", "fits"),
    [
        ("run: git push", "git push", True), ("run: git push", "git push x", False),
        ("run: git * main", "git push origin main", True), ("run: git * main", "git main", True),
        ("run: git log --format=*", "git log --format=%H", True), ("run: git lo*",
        "git log x", False),
        ("run: 'a b' *", "'a b' c", True), ("run: 'a b' *", "a b", False), ("run: echo '*'",
        "echo x", False),
        ("run: echo '*'", "echo '*'", True), ("run: *", "any thing", True), ("run",
        "any thing", True),
        ("run: *test", "pytest", True), ("run: *test", "py test", False), ("Bash", "x > y", True),
        ("B*", "x", True), ("bash", "x", False),
        ("run: npm x*", "npm x$Y", False), ("run: npm x*", 'npm "x$Y"', True),
    ],
)  # fmt: skip
def test_a_commands_pattern_means_words(pattern: str, command: str, fits: bool) -> None:
    assert (decided(command, [pattern], []) == "allow") is fits


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A worktree with a folder, and links that lead out of it and within it."""
    top = tmp_path / "tree"
    (top / "docs").mkdir(parents=True)
    (top / "src").mkdir()
    (tmp_path / "out").mkdir()
    (top / "docs/out").symlink_to(tmp_path / "out")
    (top / "docs/src").symlink_to("../src")
    (top / "loop").symlink_to("loop")
    return top


@pytest.mark.parametrize(
    ("path", "allow", "deny", "decision"),
    [
        ("docs/a.md", ["edit: docs/**"], [], "allow"),
        ("{tree}/docs/a/b.md", ["edit: docs/**"], [], "allow"),
        ("docs/../src/a", ["edit: docs/**"], [], "ask"),
        ("docs/../../out/a", ["edit: **"], [], "ask"),
        ("docs/out/a", ["edit: docs/**", "edit: **", "edit"], [], "ask"),
        ("docs/src/a", ["edit: docs/**"], [], "ask"),
        ("docs/src/a", ["edit: src/*"], [], "allow"),
        ("docs/src/a", ["edit"], ["edit: docs/**"], "deny"),
        ("docs/src/a", ["edit"], ["edit: src/**"], "deny"),
        ("./docs//a", ["edit: ./docs/*"], [], "allow"),
        ("docs/a/b", ["edit: docs/*"], [], "ask"),
        ("a.md", ["edit: **/*.md"], [], "allow"),
        ("docs/x/a.md", ["edit: **/*.md"], [], "allow"),
        (".git", ["edit", "edit: **"], [], "ask"),
        ("sub/.git/hooks/x", ["edit"], [], "ask"),
        ("/etc/passwd", ["edit", "edit: **"], [], "ask"),
        ("/etc/passwd", ["edit: /etc/*"], [], "allow"),
        ("/etc/passwd", [], ["edit: **"], "ask"),
        ("{tree}/a", ["edit"], ["edit: {tree}/**"], "deny"),
        ("a", ["read"], [], "ask"),
        ("a", ["edit"], ["edit"], "deny"),
        ("docs\x00/a", ["edit"], [], "ask"),
    ],
)
def test_a_path_is_where_it_leads(
    tree: Path, path: str, allow: list[str], deny: list[str], decision: str
) -> None:
    rules = [[text.replace("{tree}", str(tree)) for text in texts] for texts in (allow, deny)]
    policy = Policy(*rules)
    wanted = {"file_path": path.replace("{tree}", str(tree))}
    assert policy.decide("Write", wanted, str(tree))[0] == decision


def test_a_file_that_may_not_be_read_may_not_be_named(tree: Path) -> None:
    deny = ["read: **/.env", "read: ~/.ssh/**"]
    for command in ("cat .env", "cat a/.env", "sort < .env", "cat ~/.ssh/id", "cat docs/../.env"):
        assert decided(command, ["run", "read"], deny, str(tree)) == "deny", command
    assert decided("cat env", ["run"], deny, str(tree)) == "allow"
    policy = Policy(["read"], deny)
    assert policy.decide("Read", {"file_path": f"{tree}/.env"}, str(tree))[0] == "deny"
    assert policy.decide("Read", {"file_path": f"{tree}/a"}, str(tree))[0] == "allow"


@pytest.mark.parametrize(
    ("url", "decision"),
    [
        ("https://example.org/x", "allow"),
        ("http://EXAMPLE.org:8080", "allow"),
        ("https://a.b.example.org?x", "allow"),
        ("https://bad.example.org/", "deny"),
        ("https://bad.example.org./", "deny"),
        ("https://x@bad.example.org/", "deny"),
        ("https://example.org@evil.test/", "ask"),
        ("https://evil.test/example.org", "ask"),
        ("https://evil.test\\@example.org/", "ask"),
        ("https://example.org.evil.test", "ask"),
        ("file:///etc/passwd", "ask"),
        ("example.org", "ask"),
        ("", "ask"),
        (7, "ask"),
    ],
)
def test_an_address_is_its_host(url: object, decision: str) -> None:
    policy = Policy(["fetch: example.org", "fetch: *.example.org"], ["fetch: bad.example.org"])
    assert policy.decide("WebFetch", {"url": url}, "/srv/none")[0] == decision


def test_tools_of_servers_and_of_programs() -> None:
    policy = Policy(
        ["mcp: files.read_*", "mcp: open", "WebSearch"], ["mcp: files.read_secret", "Task"]
    )

    def found(tool: str, **wanted: object) -> str:
        return policy.decide(tool, wanted, "/srv/none")[0]

    assert found("mcp__files__read_all", command="rm -rf x") == "allow"
    assert found("mcp__files__read_secret") == "deny"
    assert found("mcp__files__write") == "ask"
    assert found("mcp__open__x") == found("mcp__open__y") == "allow"
    assert found("mcp__open__x__y") == "ask", "the server may be `open__x`"
    assert found("mcp__my__files__read_secret") == "ask"
    assert found("WebSearch", query="x") == "allow"
    assert found("Task") == "deny"
    assert found("task") == found("") == "ask"


def test_a_tool_that_is_not_known_is_denied_by_what_it_seems_to_do() -> None:
    policy = Policy(["run", "edit", "fetch"], [*PUSH, "edit: secret/**"])
    assert policy.decide("NewShell", {"command": "git push"}, "/srv/none")[0] == "deny"
    assert policy.decide("NewWrite", {"path": "secret/x"}, "/srv/none")[0] == "deny"
    assert policy.decide("NewShell", {"command": "git pull"}, "/srv/none")[0] == "ask"
    assert policy.decide("PowerShell", {"command": "git pull"}, "/srv/none")[0] == "ask"


@pytest.mark.parametrize(
    "wanted", [None, 7, [], {}, {"command": 7}, {"command": ["a", 7]}, {"cmd": ""}]
)
def test_input_that_is_no_input_is_asked(wanted: object) -> None:
    assert Policy(["run"], []).decide("Bash", wanted, "/srv/none")[0] == "ask"
    assert Policy(["run"], PUSH).decide("Bash", wanted, "/srv/none")[0] == "ask"


def test_an_argv_is_its_words_and_a_shell_in_it_is_looked_into() -> None:
    for argv in (["git", "push"], ["bash", "-lc", "git push"]):
        assert Policy(["run"], PUSH).decide("shell", {"command": argv}, "/srv/none")[0] == "deny"
    assert Policy(["run: ls *"], []).decide("shell", {"command": ["ls", "a;b"]}, "/")[0] == "allow"


def test_a_patch_edits_the_files_that_it_names() -> None:
    text = "*** Begin Patch\n*** Update File: docs/a\n*** Move to: src/b\n*** End Patch"
    for tool, wanted in (
        ("apply_patch", {"command": text}),
        ("Bash", {"command": f"apply_patch <<'EOF'\n{text}\nEOF"}),
    ):
        deny = Policy(["run", "edit"], ["edit: src/**"])
        assert deny.decide(tool, wanted, "/srv/none")[0] == "deny"
        assert Policy(["run", "edit"], []).decide(tool, wanted, "/srv/none")[0] == "allow"
        assert Policy(["run", "edit: docs/*"], []).decide(tool, wanted, "/srv/none")[0] == "ask"
    assert Policy(["edit"], []).decide("apply_patch", {"command": "x"}, "/srv/none")[0] == "ask"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no pattern"), ("rum: x", "no such tool"), ("run:", "nothing after"),
        ("Bash(git push *)", "write `run: git push *`"), ("run: 'x", "quote"), ("edit: ../x",
        "`..`"),
        ("fetch: a/b", "no host"), ("mcp: a b", "server.tool"), ("mcp: a.", "server.tool"),
        ("a b", "is no pattern"), ("run: \x1b[2K", "printed"), ("run: " + "x" * 500, "too long"),
    ],
)  # fmt: skip
def test_a_pattern_that_means_nothing_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError) as refused:
        Rule(text)
    assert said in str(refused.value)
    assert Policy([text], []).decide("Bash", {"command": "x"}, "/srv/none")[0] == "ask"


@pytest.mark.parametrize(
    ("tool", "wanted", "pattern"),
    [
        ("Bash", {"command": "npm test -- 'a b'"}, "run: npm test -- 'a b'"),
        ("Bash", {"command": "echo '*'"}, "run: echo '*'"),
        ("Bash", {"command": "npm test && ls"}, ""),
        ("Bash", {"command": "npm test $X"}, ""),
        ("Write", {"file_path": "docs/a.md"}, "edit: docs/a.md"),
        ("Write", {"file_path": "/etc/x"}, "edit: /etc/x"),
        ("Write", {"file_path": "a*"}, ""),
        ("WebFetch", {"url": "https://example.org/a"}, "fetch: example.org"),
        ("mcp__files__read", {}, "mcp: files.read"),
        ("Task", {}, ""),
    ],
)
def test_what_may_be_allowed_for_good_is_just_this(
    tool: str, wanted: dict[str, str], pattern: str
) -> None:
    assert pattern_of(tool, wanted, "/srv/none") == pattern


def test_no_command_is_slow_to_judge() -> None:
    policy = Policy(["run: * a * b * c *"], ["run: * x * y *", "read: **/.env"])
    for command in ("x a " * 2_000, "$(" * 5_000, "sudo " * 5_000, "a;" * 2_000, "{" * 20_000):
        assert policy.decide("Bash", {"command": command}, "/srv/none")[0] in ("ask", "deny")


# --- properties -----------------------------------------------------------------------------------

WORDS = (
    "git push pull npm test rm -rf $X $(git push) `git push` ; && || | & ( ) { } > < >> << <<E E"
    " ' \" \\ \n # a b docs/x secret/x sh -c eval sudo xargs env A=1 * ? [ ~ = ${x:-y} if then fi"
)
PIECES = st.sampled_from(WORDS.split(" "))
COMMANDS = st.one_of(st.lists(PIECES, max_size=9).map(" ".join), st.text(max_size=20))
PATTERNS = st.sampled_from([
    "run", "run: git push *", "run: git *", "run: npm test *", "run: * push", "run: *", "edit",
    "edit: docs/**", "edit: secret/*", "read: docs/x", "Bash", "B*", "run: rm *", "run: sh *",
])  # fmt: skip
LISTS = st.lists(PATTERNS, max_size=4)
ORDER = {"allow": 0, "ask": 1, "deny": 2}


@given(COMMANDS, LISTS, LISTS)
def test_an_allow_never_holds_when_a_deny_matches(
    command: str, allow: list[str], deny: list[str]
) -> None:
    alone = decided(command, [], deny)
    both = decided(command, allow, deny)
    if alone == "deny":
        assert both == "deny"
    if both == "allow":
        assert alone == "ask"
        assert Policy([], deny).decide("Bash", {"command": command}, "/srv/none") == ("ask", "")


@given(COMMANDS, LISTS, LISTS, PATTERNS)
def test_one_more_pattern_moves_a_decision_one_way_only(
    command: str, allow: list[str], deny: list[str], more: str
) -> None:
    before = decided(command, allow, deny)
    assert ORDER[decided(command, [*allow, more], deny)] <= ORDER[before]
    if before == "deny":
        assert decided(command, [*allow, more], deny) == "deny"
    assert ORDER[decided(command, allow, [*deny, more])] >= ORDER[before]


@given(COMMANDS, COMMANDS, LISTS, LISTS)
def test_a_command_is_allowed_with_another_only_when_both_are(
    one: str, other: str, allow: list[str], deny: list[str]
) -> None:
    if any(sign in one for sign in "'\"\\`$({<#"):
        return  # what is open goes on in the other
    both = decided(f"{one}\n{other}", allow, deny)
    if both == "allow":
        alone = [text for text in (one, other) if split(text)[0] or not split(text)[1]]
        assert all(decided(text, allow, deny) == "allow" for text in alone)


@given(COMMANDS)
def test_what_is_allowed_for_good_allows_what_was_asked(command: str) -> None:
    pattern = pattern_of("Bash", {"command": command}, "/srv/none")
    if pattern:
        assert decided(command, [pattern], []) == "allow"
        assert decided(f"{command}\nrm x", [pattern], []) != "allow" or "rm" in command


def test_links_that_go_in_circles_are_no_way_in(tree: Path) -> None:
    assert (
        Policy(["edit: docs/**"], []).decide("Write", {"file_path": "loop/a"}, str(tree))[0]
        == "ask"
    )
    assert os.path.lexists(tree / "loop")


@pytest.mark.parametrize(
    ("tool", "wanted"),
    [  # as gemini, opencode and copilot put it to their hooks
        ("run_shell_command", {"command": "git -C . push", "description": "x"}),
        ("bash", {"command": "git push", "workdir": "/srv/none"}),
        ("Bash", {"command": "git push", "description": "scripted"}),
        ("write_file", {"file_path": "/srv/none/docs/a.md", "content": "x"}),
        ("replace", {"file_path": "docs/a.md", "old_string": "a", "new_string": "b"}),
        ("write", {"filePath": "/srv/none/docs/a.md", "content": "x"}),
        ("apply_patch", {"patchText": "*** Begin Patch\n*** Update File: docs/a.md\n"}),
        ("Write", {"path": "/srv/none/docs/a.md", "file_text": "x"}),
        ("Edit", {"path": "/srv/none/docs/a.md", "old_str": "a", "new_str": "b"}),
        ("edit", {"file_path": "/srv/none/docs/a.md", "diff": "x"}),
        ("run_shell_command", {"command": "echo x > a.md", "dir_path": "docs"}),
        ("bash", {"command": "echo x > a.md", "workdir": "/srv/none/docs"}),
        ("read_file", {"file_path": "secrets/a"}), ("Read", {"path": "/srv/none/secrets/a"}),
        ("read", {"filePath": "/srv/none/secrets/a"}),
        ("list_directory", {"dir_path": "secrets/b"}),
        ("grep_search", {"pattern": "x", "dir_path": "secrets/b"}),
        ("Grep", {"pattern": "x", "paths": "/srv/none/secrets/b"}),
        ("grep", {"pattern": "x", "paths": ["src", "secrets/b"]}),
        ("web_fetch", {"prompt": "Sum up https://a.example.org/x"}),
        ("webfetch", {"url": "https://a.example.org/x", "format": "text"}),
        ("mcp_tracker_add", {"id": 1}), ("tracker_add", {"id": 1}), ("tracker-add", {"id": 1}),
    ],
)  # fmt: skip
def test_every_programs_tools_are_known_by_their_names_and_arguments(tool, wanted) -> None:
    deny = [*PUSH, "edit: docs/**", "read: secrets/**", "fetch: *.example.org", "mcp: tracker.*"]
    assert Policy([], deny).decide(tool, wanted, "/srv/none")[0] == "deny"
    deny = ["run: rm", "edit: x", "read: x", "fetch: x.org", "mcp: x.*"]
    assert Policy([], deny).decide(tool, wanted, "/srv/none") == ("ask", "")


def test_what_a_tool_does_not_tell_is_asked_and_a_programs_own_is_no_servers() -> None:
    policy = Policy(["run", "read"], [*PUSH, "read: secrets/**"])
    for tool, wanted in (
        ("read_many_files", {"include": ["**/*"]}),
        ("write_bash", {"shellId": "1", "input": "git push"}),
    ):
        assert policy.decide(tool, wanted, "/srv/none")[0] == "ask"
        assert policy.decide(tool, wanted, "/srv/none")[1]
    servers = Policy([], ["mcp"])
    for own in ("update_topic", "write_todos", "report_intent", "update_plan", "skill", "task"):
        assert servers.decide(own, {}, "/srv/none") == ("ask", "")
    assert servers.decide("any_thing", {}, "/srv/none") == ("deny", "mcp")
    assert Policy(["mcp: any.thing"], []).decide("any_thing", {}, "/srv/none") == ("ask", "")
    assert Policy(["any_thing"], []).decide("any_thing", {}, "/srv/none")[0] == "allow"
