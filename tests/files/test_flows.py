"""Workflow files: what holds lowers, and everything else is told at its place."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from fleet.errors import FleetError, InvalidPlan
from fleet.files.flows.commands import referring
from fleet.files.flows.expressions import evaluate
from fleet.files.flows.loading import Loader
from fleet.files.flows.reading import read_pages
from fleet.files.load import load
from fleet.files.schema import schema
from fleet.files.source import resolved
from support.git_repo import GitRepo


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    root = tmp_path_factory.mktemp("flows") / "shop"
    files = {
        "coordination.md": "---\nfleet: shop\nbase: main\nfunctions: {mix: 'tools:mix'}\n"
        "mcp_servers: {web: {command: [x], tools: [find]}, any: {url: 'http://localhost'}}\n---\n",
        "agents/ada.yaml": "role: dev\nharness: shell\nargs: echo\n",
        "workflows/one.yaml": "steps: [{id: s, type: workflow, workflow: two}]\n",
        "workflows/two.yaml": "steps: [{id: s, type: foreach, items: [1], task: one}]\n",
        "workflows/takes.yaml": "inputs: {n: {type: integer, required: true}, s: {type: string}}\n"
        "steps: [{id: r, type: return, value: 1}]\n",
    }
    GitRepo(root, files=files)
    return load(root, use_cache=False)


def problems(fleet, text: str, name: str = "f.yaml") -> list[str]:
    path = Path(fleet.root) / name
    path.write_text(text)
    try:
        Loader(fleet).load(path)
    except InvalidPlan as invalid:
        return [str(one) for one in invalid.problems]
    return []


NODE = '{"id": "%s", "role": "dev", "task": "%s", "deps": [%s]}'


def graph(*nodes: tuple[str, str, str]) -> str:
    listed = ",\n".join(NODE % node for node in nodes)
    return '// a graph\n{"workflow": [\n' + listed + "\n]}\n"


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ([("a", "x", '"b"')], "f.json:3:50: step 'a' depends on 'b', which is not there"),
        (
            [("a", "x", '"b"'), ("b", "x", '"a"')],
            "f.json:3:49: steps depend on each other in a circle: a -> b -> a",
        ),
        ([("a", "x", ""), ("a", "x", "")], "f.json:4:8: step 'a' is there twice (first on line 3)"),
        (
            [("a", "x", ""), ("b", "{a.output}", "")],
            "f.json:4:36: {a.output} is not among what 'b' depends on (add 'a' to its deps)",
        ),
        (
            [("a", "x", ""), ("b", "{aa.output}", "")],
            "f.json:4:36: {aa.output} names no step (did you mean 'a'?)",
        ),
    ],
)
def test_a_graph_that_does_not_hold_is_told_at_its_place(fleet, nodes, told):
    assert problems(fleet, graph(*nodes), "f.json") == [told]


def test_several_documents_keep_their_lines(fleet):
    text = (
        graph(("a", "say \\ud83d\\ude00 // no comment", ""))
        + "\n// more\n"
        + graph(("b", "x", '"c"'))
    )
    assert problems(fleet, text, "f.json") == [
        "f.json:9:50: step 'b' depends on 'c', which is not there"
    ]


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ("- {id: a, type: promt}", "f.yaml:2:17: no type of step 'promt' (did you mean 'prompt'?)"),
        (
            "- {id: a, type: return, vlue: 1}",
            "f.yaml:2:25: unknown key 'vlue' (did you mean 'value'?)",
        ),
        ("- {id: a, type: return, value: '{{ inputs.y }}'}", "f.yaml:2:32: no input 'y'"),
        (
            "- {id: a, type: return, value: '{{ state.y }}'}",
            "f.yaml:2:32: nothing sets the state 'y'",
        ),
        (
            "- {id: a, type: return, value: '{{ steps.a.output }}'}",
            "f.yaml:2:32: step 'a' does not stand before this one",
        ),
        (
            "- {id: a, type: return, value: '{{ mixx(1) }}'}",
            "f.yaml:2:32: no name 'mixx' in an expression (did you mean 'mix'?)",
        ),
        (
            "- {id: a, type: return, value: '{{ (( }}'}",
            "f.yaml:2:32: cannot be evaluated: line 1 of it: unexpected '}', expected ')'",
        ),
        (
            "- {id: a, type: return, value: \"{{ ''.__class__ }}\"}",
            (
                "f.yaml:2:32: cannot be evaluated: line 1 of it: names such as '__class__'"
                " are not allowed"
            ),
        ),
        (
            "- {id: a, type: return, needs: [b]}",
            "f.yaml:2:33: step 'a' needs 'b', which stands nowhere",
        ),
        (
            "- {id: a, type: delegate, instructions: x}",
            "f.yaml:2:3: step 'a' names no agent (give `agent`)",
        ),
        (
            "- {id: a, type: delegate, instructions: x, agent: '@bob'}",
            "f.yaml:2:51: no agent has the role 'bob' (--role bob=COMMAND or --client bob is one)",
        ),
        (
            "- {id: a, type: mcp_call, tool: memory.sav}",
            "f.yaml:2:33: no tool 'memory.sav' (did you mean 'memory.save'?)",
        ),
        (
            "- {id: a, type: mcp_call, tool: webb.find}",
            "f.yaml:2:33: no MCP server 'webb' (did you mean 'web'?)",
        ),
        (
            "- {id: a, type: mcp_call, tool: other.find}",
            (
                "f.yaml:2:33: no MCP server 'other' (declare it under `mcp_servers`, or a function"
                " of this name under `functions`, in coordination.md)"
            ),
        ),
        (
            "- {id: a, type: mcp_call, tool: web.fnd}",
            "f.yaml:2:33: the server 'web' is not allowed its tool 'fnd' (did you mean 'find'?)",
        ),
        (
            "- {id: a, type: mcp_call, tool: web}",
            "f.yaml:2:33: no tool 'web' (write it as web.TOOL)",
        ),
        (
            "- {id: a, type: verify, of: a, agent: ada}",
            "f.yaml:2:29: no step 'a' stands before this one",
        ),
        (
            "- {id: a, type: verify, of: a}",
            "f.yaml:2:3: a verify has `checks`, `agent` or both",
        ),
        (
            "- {id: s, type: return}\n- {id: a, type: verify, of: s, agent: '@bob'}",
            "f.yaml:3:39: no agent has the role 'bob' (--role bob=COMMAND or --client bob is one)",
        ),
        (
            "- {id: s, type: return}\n- {id: a, type: verify, of: s, checks: x, instructions: y}",
            "f.yaml:3:57: `instructions` are for an agent that verifies",
        ),
        (
            "- {id: a, type: workflow, workflow: gone}",
            "f.yaml:2:37: no workflow 'gone' (did you mean 'one'?)",
        ),
        (
            "- {id: a, type: workflow, workflow: one}",
            (
                "workflows/one.yaml:1:43: workflows call each other in a circle: one -> two -> one"
                " (take one of these calls out)"
            ),
        ),
        (
            "- {id: a, type: workflow, workflow: takes}",
            "f.yaml:2:37: the input 'n' is required (give it under `inputs`)",
        ),
        (
            "- {id: a, type: workflow, workflow: takes, inputs: {n: '2'}}",
            "f.yaml:2:56: the input 'n' must be of type integer, got \"2\"",
        ),
        (
            (
                "- {id: a, type: foreach, items: [1], task: takes, inputs: {n: 1, x: 1}}\n"
                "- {id: b, type: foreach, items: [{n: 1}], task: takes}"
            ),
            "f.yaml:2:69: the workflow takes no input 'x'",
        ),
        (
            "- {id: a, type: shell, command: '{% if 1 %}ls{% endif %}'}",
            "f.yaml:2:33: a command takes expressions, no statements (set the state before)",
        ),
        (
            (
                "- {id: a, type: foreach, items: [1], steps: [{id: b, type: return}]}\n"
                "- {id: c, type: return, value: '{{ steps.b.output }}'}"
            ),
            (
                "f.yaml:3:32: step 'b' is within a foreach, and is seen only there"
                " (the foreach puts out what its items return)"
            ),
        ),
        (
            "- {id: a, type: set_state, type: set_state, updates: {}}",
            "f.yaml:2:28: key 'type' is there twice (first on line 2)",
        ),
    ],
)
def test_steps_that_do_not_hold_are_told_at_their_place(fleet, steps, told):
    assert problems(fleet, f"steps:\n{steps}\n") == [told]


NESTED = "steps: [" + "{id: c, type: condition, if: '1', then: [" * 300 + "]}" * 300 + "]\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["f.yaml: file is empty; expected keys and values"]),
        ("steps: []\n", ["f.yaml:1:8: steps: must hold 1 at least, got 0"]),
        (
            (
                "steps:\n"
                "- {id: a, type: while, condition: '1', max: many, steps: []}\n"
                "- {id: b/.., type: foreach, items: [1], steps: 3}\n"
                "- {id: c, type: return, timeout: soon, attempts: 0}\n"
                "- a\n"
            ),
            [
                "f.yaml:2:45: max: expected a whole number, got 'many'",
                "f.yaml:2:58: steps: must hold 1 at least, got 0",
                (
                    "f.yaml:3:8: id: 'b/..' is no id: letters, digits, '-' and '_',"
                    " beginning with a letter or digit"
                ),
                "f.yaml:3:48: steps: expected a list, got 3",
                (
                    "f.yaml:4:34: timeout: expected a time such as 90s, 10m, 2h or a number of"
                    " seconds, got 'soon'"
                ),
                "f.yaml:4:50: attempts: must be at least 1, got 0",
                "f.yaml:5:3: steps: expected keys and values, got 'a'",
            ],
        ),
        (
            (
                "inputs: {a: {type: strin}, b: {type: number, default: x}}\n"
                "steps: [{id: a, type: return}]\n"
            ),
            [
                (
                    "f.yaml:1:20: type: expected 'string', 'number', 'integer', 'boolean', 'array',"
                    " 'object' or 'any', got 'strin'"
                )
            ],
        ),
        (
            "inputs: {b: {type: number, default: x}}\nsteps: [{id: a, type: return}]\n",
            ["f.yaml:1:37: the default of 'b' is no number"],
        ),
        (
            "colour: red\nsteps: [{id: a, type: return}]\n",
            ["f.yaml:1:1: unknown key 'colour' ('fleet schema workflow' shows the known ones)"],
        ),
        (NESTED, ["f.yaml:1:624: nested deeper than 32 levels (make it flatter)"]),
        (
            "steps: [{id: a, type: return, value: &v [*v]}]\n",
            ["f.yaml:1:42: alias *v stands inside what it repeats (write it out)"],
        ),
        (
            "steps: [{id: a, type: return, value: !!python/name:os.system }]\n",
            [
                (
                    "f.yaml:1:38: tag 'tag:yaml.org,2002:python/name:os.system' is not allowed"
                    " (write the plain value)"
                )
            ],
        ),
    ],
)
def test_what_is_no_workflow_is_told_at_its_place(fleet, text, told):
    assert problems(fleet, text) == told


def test_the_schema_takes_what_the_check_takes(fleet):
    made = schema("workflow")
    jsonschema.Draft202012Validator.check_schema(made)
    check = jsonschema.Draft202012Validator(made)
    here = Path(__file__).resolve().parents[2]
    files = [*here.glob("workflows/*.*"), *here.glob("tests/e2e/workflows/*.*")]
    assert len(files) > 10
    for path in files:
        for page in read_pages(path.read_bytes(), path.name):
            values = resolved(page.values)
            for step in values.get("steps", ()):
                if step["type"] == "prompt":
                    step.pop("input", None)
            check.validate(values)
    for wrong in (
        {"steps": []},
        {"steps": [{"id": "a", "type": "return", "vlue": 1}]},
        {"steps": [{"id": "a", "type": "condition", "if": "1", "then": [{"id": "b"}]}]},
        {"workflow": [{"id": "a", "role": "dev"}]},
    ):
        assert not check.is_valid(wrong), wrong


def test_a_run_gets_the_servers_that_it_calls_and_no_other(fleet):
    path = Path(fleet.root) / "f.yaml"
    path.write_text("steps:\n- {id: a, type: mcp_call, tool: any.thing}\n")
    (loaded,) = Loader(fleet).load(path)
    assert loaded.bundle["servers"] == {"any": {"name": "any", "url": "http://localhost"}}


def test_a_role_is_an_agents_id_or_role(fleet):
    for role in ("ada", "@dev"):
        assert not problems(
            fleet, f"steps:\n- {{id: a, type: delegate, instructions: x, agent: '{role}'}}\n"
        )


@pytest.mark.parametrize(
    "bomb",
    [
        "{{ 'a' * 10 ** 8 }}",
        "{{ ['a'] * 10 ** 8 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ range(10 ** 8) | list }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}.{% endfor %}{% endfor %}",
        "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
        "{% set x = 'a' * 900000 %}{{ x ~ x }}",
        "{{ ('a' * 9999).replace('a', 'b' * 9999) }}",
        "{{ ('a' * 9999) | replace('a', 'b' * 9999) }}",
        "{{ '{:>99999999}'.format(1) }}",
        "{{ '%99999999d' % 1 }}",
        "{{ 'a'.ljust(99999999) }}",
        "{{ 'a' | center(99999999) }}",
        "{{ (range(9999) | list) | join('a' * 9999) }}",
        "{{ [].append }}",
        "{{ inputs.__class__ }}",
        "{{ inputs['__class__'] }}",
        "{{ inputs | attr('__class__') }}",
        "{{ ['x'] | map(attribute='__class__') | list }}",
        "{{ now.__globals__ }}",
        "{{ ''.mro }}",
        "{{ ().__class__.__base__.__subclasses__() }}",
        "{{ '{0.__class__}'.format(inputs) }}",
        "{{ '%s' | format(inputs) }}",
        "{{ inputs | map('attr', '__class__') | list }}",
        "{{ dict.mro() }}",
        "{{ range.__init__ }}",
        "{{ self }}",
        "{{ lipsum }}",
        "{{ " + "(" * 500 + ")" * 500 + " }}",
    ],
)
def test_bombs_and_insides_are_refused(bomb):
    with pytest.raises(FleetError):
        evaluate(bomb, {"inputs": {"x": 1}, "now": str}, {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ state.items[:2] }}\n", [1, 2]),
        (" {{ state.text }} ", "{{ state.items }}"),
        ("{{ state.text }}!", "{{ state.items }}!"),
        ("{{ state.none }}", None),
        ("a {{ state.items }} {{ state.none }}", "a [1, 2, 3] null"),
        ("{{ state.items | tojson(indent=1) }}", "[\n 1,\n 2,\n 3\n]"),
        ("{% for n in state.items if n > 1 %}{{ n }};{% endfor %}", "2;3;"),
        ("{{ 'plan' | hash }}", "2a3c92f7d0bb8b67"),
    ],
)
def test_a_sole_expression_keeps_its_type_and_what_it_finds_is_data(text, value):
    state = {"items": [1, 2, 3], "text": "{{ state.items }}", "none": None}
    if "hash" in text:
        assert len(evaluate(text, {}, {})) == 16
        return
    assert evaluate(text, {"state": state}, {}) == value


def test_an_expression_in_a_command_is_a_variable_quoted_as_its_place_asks():
    text, found = referring('a {{ x }} "b {{ y }}" \'c {{ z }}\' \\" {{ w }}')
    one, two, three, four = (f"${{FLOW_VALUE_{n}}}" for n in range(1, 5))
    assert text == f'a "{one}" "b {two}" \'c \'"{three}"\'\' \\" "{four}"'
    assert list(found.values()) == ["{{ x }}", "{{ y }}", "{{ z }}", "{{ w }}"]
    with pytest.raises(FleetError):
        referring("{% if x %}a{% endif %}")


def test_a_file_is_read_again_when_anything_that_it_is_made_of_has_changed(tmp_path, monkeypatch):
    root = tmp_path / "shop"
    ada = "role: dev\nharness: shell\nargs: echo\n"
    files = {
        "coordination.md": "---\nfleet: shop\nbase: main\n---\n",
        "agents/ada.yaml": ada,
        "workflows/outer.yaml": "steps: [{id: s, type: workflow, workflow: inner}]\n",
        "workflows/inner.yaml": "steps: [{id: d, type: delegate, agent: dev, instructions: x}]\n",
    }
    GitRepo(root, files=files)
    path = root / "workflows/outer.yaml"
    read = []
    documents = Loader._documents
    monkeypatch.setattr(
        Loader, "_documents", lambda self, one: read.append(one.name) or documents(self, one)
    )

    def loaded(**roles: str):
        read.clear()
        (found,) = Loader(load(root), roles).load(path)
        return found, sorted(set(read))

    both = ["inner.yaml", "outer.yaml"]
    first, parsed = loaded()
    assert parsed == both
    again, parsed = loaded()
    assert parsed == []
    assert (again.workflow.form, again.bundle, dict(again.texts)) == (
        first.workflow.form, first.bundle, dict(first.texts)
    )  # fmt: skip
    for change in (
        lambda: (root / "workflows/inner.yaml").write_text(files["workflows/inner.yaml"] + "# x\n"),
        lambda: (root / "agents/ada.yaml").write_text(ada.replace("echo", "cat")),
        lambda: (root / "coordination.md").write_text("---\nfleet: shop\nbase: dev\n---\n"),
    ):
        change()
        assert loaded()[1] == both
        assert loaded()[1] == []
    assert loaded()[0].bundle["agents"]["dev"]["agent"]["args"] == "cat"
    played, parsed = loaded(dev="true")
    assert parsed == both
    assert played.bundle["agents"]["dev"]["agent"]["args"] == "true"
    (kept,) = (root / ".fleet/cache").glob("workflow-*.json")
    kept.write_text("{nonsense")
    assert loaded()[1] == both
    (root / "workflows/inner.yaml").write_text("steps: [{id: d, type: nonsense}]\n")
    for _ in range(2):
        with pytest.raises(InvalidPlan):
            loaded()
