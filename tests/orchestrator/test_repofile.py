"""A repository's own file is read strictly: mistakes are told by line and key, and do no harm."""

from __future__ import annotations

import json
import re
import time
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from pydantic import BaseModel

from orchestrator import components as components_module
from orchestrator.components import SourceBuild
from orchestrator.repoconfig import Check, Filters, RepoConfig, restored
from orchestrator.repofile import Problem, WrongFile, parse
from orchestrator.repovalues import Bounds, bytes_of, cpus_of, matches, pattern, seconds_of

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = re.findall(
    r"^```yaml\n(.*?)^```$", (DOCS / "repository-file.md").read_text(), re.DOTALL | re.MULTILINE
)
SCHEMA = Draft202012Validator(json.loads((DOCS / "toolforge-preview.schema.json").read_text()))


def good(text: str) -> RepoConfig:
    return parse(text.encode(), Bounds())


def wrong(content: str | bytes, bounds: Bounds | None = None) -> list[str]:
    with pytest.raises(WrongFile) as caught:
        parse(content if isinstance(content, bytes) else content.encode(), bounds or Bounds())
    return [str(problem) for problem in caught.value.problems]


def names_of(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def read(content: bytes) -> RepoConfig | tuple[Problem, ...]:
    """The configuration, or what is wrong."""
    try:
        return parse(content, Bounds())
    except WrongFile as error:
        return error.problems


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "{}", "null"])
def test_a_file_without_keys_asks_for_nothing(text: str) -> None:
    assert good(text) == RepoConfig()
    assert good(text).stored() == {}


def test_there_is_an_example_of_every_key() -> None:
    documents = [good(example).stored() for example in EXAMPLES]
    assert {key for document in documents for key in document} == names_of(RepoConfig)
    checks = [check for document in documents for check in document.get("checks", [])]
    # The example shows the method by its default, which is not kept.
    assert {key for check in checks for key in check} == names_of(Check) - {"method"}
    components = [one for document in documents for one in document.get("components", {}).values()]
    # What builds without the newest builder says so by its default, too.
    builds = {key for one in components for key in one.get("build", {})}
    assert builds == names_of(SourceBuild) - {"use_latest_versions"}
    assert {key for one in components for key in one["run"]} == names_of(components_module.Run)
    filters = [document.get("filters", {}) for document in documents]
    assert {key for filter_ in filters for key in filter_} == names_of(Filters)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_documents_are_good_and_come_back_from_the_database(example: str) -> None:
    config = good(example)
    assert restored(json.loads(json.dumps(config.stored()))) == config
    SCHEMA.validate(config.stored())


def test_a_check_has_all_that_it_was_given() -> None:
    (check,) = good(
        "checks: [{path: /a, method: HEAD, status: 204, contains: b, regex: c, json: {$.d: 1},"
        " headers: {E: f}, seconds: 2.5, retries: 0}]"
    ).checks
    assert check.model_dump() == {
        "path": "/a",
        "method": "HEAD",
        "status": (204,),
        "contains": ("b",),
        "regex": ("c",),
        "json_values": {"$.d": 1},
        "headers": {"E": "f"},
        "seconds": 2.5,
        "retries": 0,
    }


MISTAKES = {
    "chekcs: []": "line 1, column 1: chekcs: unknown key; did you mean checks?",
    "\n\nchecks:\n  - metod: GET": "line 4, column 5: checks[0].metod: unknown key; did you mean method?",
    "zzz: 1": (
        "line 1, column 1: zzz: unknown key; expected one of checks, command, health, "
        "build, run, life, filters, config_version, components"
    ),
    "run: {env: {}}": "line 1, column 7: run.env: unknown key; did you mean envvars?",
    "checks: /": 'line 1, column 9: checks: expected a list of checks, at most 20; got "/"',
    "checks: [x]": 'line 1, column 10: checks[0]: expected a list of checks, at most 20; got "x"',
    "checks:\n- status: abc": (
        'line 2, column 11: checks[0].status: expected a status from 100 to 599, or a list of them; got "abc"'
    ),
    "checks:\n- status: [200, 700]": (
        "line 2, column 17: checks[0].status[1]: expected a status from 100 to 599, or a "
        "list of them; got 700"
    ),
    "checks:\n- path: //evil": (
        'line 2, column 9: checks[0].path: expected a path such as /healthz; got "//evil"'
    ),
    "checks:\n- json: {$..a: 1}": (
        "line 2, column 10: checks[0].json.$..a: expected values by JSON paths of the simple kind, such as "
        "$.items[0].id (cannot be read from '..a' on)"
    ),
    "checks:\n- retries: 1.5": (
        "line 2, column 12: checks[0].retries: expected a whole number from 0 to 30; got 1.5"
    ),
    "checks:\n- method: TRACE": (
        'line 2, column 11: checks[0].method: expected GET, HEAD, OPTIONS or POST; got "TRACE"'
    ),
    "command: 3": "line 1, column 10: command: expected a line of text; got 3",
    "health: healthz": 'line 1, column 9: health: expected a path such as /healthz; got "healthz"',
    "build:": "line 1, column 7: build: expected a mapping; got nothing",
    "build: {envvars: {A: b}}": (
        "line 1, column 19: build.envvars.A: expected texts (numbers in quotes) by names "
        "of letters, digits and _, "
        "at least three"
    ),
    "run: {envvars: {PORT: 80}}": (
        "line 1, column 23: run.envvars.PORT: expected texts (numbers in quotes) by "
        "names of A-Z, 0-9 and _, at "
        "least four, no TOOL_ or PREVIEW_; got 80"
    ),
    "run: {memory: 3Gi}": (
        "line 1, column 15: run.memory: expected a size such as 512Mi or 1Gi (at most "
        "2048Mi here, and 1Mi at "
        'least); got "3Gi"'
    ),
    "run: {cpu: 1500m}": (
        "line 1, column 12: run.cpu: expected a share of processors such as 500m or "
        '"0.5" (at most 1 here, and 1m '
        'at least); got "1500m"'
    ),
    "life: {max: 15d}": (
        "line 1, column 13: life.max: expected a duration such as 90m, 48h or 3d (at "
        'most 336h here); got "15d"'
    ),
    "life: {min: 25h}": (
        "line 1, column 13: life.min: expected a duration such as 90m, 48h or 3d (at "
        'most 24h here); got "25h"'
    ),
    "filters: {drafts: 1}": "line 1, column 19: filters.drafts: expected true or false; got 1",
    "components: {web: {}}": "line 1, column 14: components.web: the key run is missing",
    "components: {web: 1}": "line 1, column 19: components.web: expected keys and values; got 1",
    "components: {Web: {run: {command: web}}}": (
        "line 1, column 14: components.Web: expected components by their names (a-z, 0-9 and -), at most 10"
    ),
    "components: {web: {run: {comand: web, command: web}}}": (
        "line 1, column 26: components.web.run.comand: unknown key; did you mean command?"
    ),
    "components: {web: {run: {command: web, mount: all}}}": (
        "line 1, column 47: components.web.run.mount: expected none: previews do not see the home of the dev "
        'account; got "all"'
    ),
    "components: {web: {run: {command: web, memory: 3Gi}}}": (
        "line 1, column 48: components.web.run.memory: expected a size such as 512Mi or 1Gi (at most "
        '2048Mi here, and 1Mi at least); got "3Gi"'
    ),
    "components: {web: {run: {command: web, schedule: often}}}": (
        "line 1, column 50: components.web.run.schedule: expected cron's five fields, or such as "
        '"@daily"; got "often"'
    ),
    "command: a\ncommand: b": "line 2, column 1: command: the key is there twice, first on line 1",
    "- a": "line 1, column 1: expected keys and values; got a list of 1",
    "a:\n\t- b": (
        "line 2, column 1: no YAML: while scanning for the next token, found character "
        "'\\t' that cannot start any "
        "token"
    ),
    "build: &x {}\nrun: *x": "line 1, column 8: aliases and anchors (* and &) are not taken",
    "command: !!python/name:os.system": "line 1, column 10: tags (!) are not taken",
    "? [a]\n: b": "line 1, column 3: expected a text as key; put it in quotes",
    "1: b": "line 1, column 1: expected a text as key; put it in quotes",
    'command: "a\\0b"': "line 1, column 10: command: expected text without NUL and half characters",
    'command: "\\ud800"': "line 1, column 10: command: expected text without NUL and half characters",
    'command: "\\U00110000"': "line 1, column 1: no YAML: a number after \\U or %YAML is too large",
    "command: \x01": "line 1, column 1: no YAML: expected printable characters only",
    "a: 1\n---\nb: 2": (
        "line 2, column 1: no YAML: expected a single document in the stream, but found another document"
    ),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_told_by_line_and_key_with_what_was_expected(text: str) -> None:
    assert wrong(text) == [MISTAKES[text]]


WEB = "web: {run: {command: web, port: 8000, publish: /}}"
#: Components beside a good web part, and why they do not fit.
UNFIT = {
    "preview: {run: {command: a}}": "no component can be called preview here",
    "candidate-d7: {run: {command: a}}": "no component can be called candidate-d7 here",
    "a: {run: {command: a, port: 1, publish: /}}": 'exactly one has to have run.publish: "/"',
    "a: {build: {reuse_from: b}, run: {command: a}}": (
        "a: build.reuse_from names no component that is built: b"
    ),
    "a: {build: {reuse_from: a}, run: {command: a}}": "a: build.reuse_from names itself",
    "a: {build: {reuse_from: b}, run: {command: a}}, b: {build: {reuse_from: web}, run: {command: b}}": (
        "a: build.reuse_from names no component that is built: b"
    ),
    "a: {build: {reuse_from: web, ref: main}, run: {command: a}}": (
        "a: build.reuse_from stands beside a build of its own"
    ),
    "a: {run: {command: a, port: 1, health_check_http: /, health_check_script: b}}": (
        "a: only one of run.health_check_http and run.health_check_script"
    ),
    "a: {run: {command: a, health_check_http: /}}": (
        "a: run.publish and run.health_check_http need run.port"
    ),
    "a: {run: {command: a, port: 1, schedule: '@daily'}}": (
        "a: with run.schedule go neither port, publish, replicas nor health checks"
    ),
    "a: {run: {command: a, retry: 1}}": "a: run.timeout and run.retry need run.schedule",
    "a: {component_type: scheduled, run: {command: a}}": "a: it is scheduled, but has no run.schedule",
    "a: {component_type: continuous, run: {command: a, schedule: '@daily'}}": (
        "a: it is continuous, but has run.schedule"
    ),
}


@pytest.mark.parametrize("others", UNFIT)
def test_components_that_do_not_fit_together_are_told(others: str) -> None:
    assert wrong(f"components: {{{WEB}, {others}}}") == [f"line 1, column 1: components: {UNFIT[others]}"]


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ("command: web", "command stands beside them: say it in the published component"),
        ("health: /", "health stands beside them: say it in the published component"),
        (
            "run: {memory: 1Gi}",
            "run.memory or run.cpu stands beside them: say it in the published component",
        ),
    ],
)
def test_what_a_component_says_is_not_said_beside_it(beside: str, said: str) -> None:
    assert wrong(f"components: {{{WEB}}}\n{beside}") == [f"line 1, column 1: components: {said}"]
    assert good(f"components: {{{WEB}}}\nrun: {{envvars: {{NAME: x}}}}").run.envvars == {"NAME": "x"}


def test_there_are_few_components() -> None:
    others = ", ".join(f"a{number}: {{run: {{command: a}}}}" for number in range(10))
    (problem,) = wrong(f"components: {{{WEB}, {others}}}")
    assert "at most 10" in problem


@pytest.mark.parametrize("name", ["TOOL_DATA", "PREVIEW_URL"])
def test_envvars_that_others_set_cannot_be_set(name: str) -> None:
    (problem,) = wrong(f"run: {{envvars: {{{name}: x}}}}")
    assert f"{name} is set by others" in problem


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    problems = wrong("checks:\n- path: 1\n  status: x\nlife: 3\nzzz: 1\n")
    assert [problem.split(",")[0] for problem in problems] == ["line 2", "line 3", "line 4", "line 5"]


def test_of_many_mistakes_the_first_are_told() -> None:
    assert len(wrong("\n".join(f"key{number}: 1" for number in range(1000)))) == 20


def test_foreign_words_are_told_short_and_on_one_line() -> None:
    (problem,) = wrong(json.dumps({"x" * 5000 + "\nline 2\x1b[31m": 1}))
    assert len(problem) < 200
    assert problem.isprintable()


def test_the_operators_limits_count() -> None:
    text = "run: {memory: 512Mi, cpu: 0.5}\nlife: {min: 2h, max: 2h}"
    assert good(text).run.memory == "512Mi"
    narrow = Bounds(memory_bytes=2**20, cpu=0.1, longest_live_seconds=3600.0, longest_min_live_seconds=60.0)
    assert [problem.split(":")[1].strip() for problem in wrong(text, narrow)] == [
        "run.memory",
        "run.cpu",
        "life.min",
        "life.max",
    ]


def test_what_was_taken_stays_good_when_the_operators_narrow_their_limits() -> None:
    assert restored(good("run: {memory: 2Gi}").stored()).run.memory == "2Gi"


HOSTILE = [
    "[" * 60_000,
    "{" * 60_000,
    "- " * 30_000,
    "? " * 30_000,
    "a: " * 15_000,
    "'" + "x" * 60_000,
    "x: 1\n" * 10_000,
    "checks: [" + "{}," * 20_000 + "]",
    "a: &a [x,x,x]\n" + "".join(f"{new}: &{new} [*{old},*{old}]\n" for old, new in pairwise("abcdefghijk")),
    "x" * (64 * 1024 + 1),
    "checks: [{regex: '" + "(a{1,1000}){1,1000}" + "'}]",
    "checks: [{regex: '" + "(?:.?){600}" + "'}]",
    "checks: [{regex: '(a+)+$\\1'}]",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_file_that_is_made_to_do_harm_is_refused(text: str) -> None:
    assert wrong(text)


def test_a_file_that_is_no_text_is_refused() -> None:
    assert wrong(b"command: a\nhealth: \xff") == ["line 2, column 1: expected text in UTF-8"]


def test_the_time_of_an_expression_grows_with_the_text_only() -> None:
    """What takes others as many steps as there are ways to read the text."""
    started = time.process_time()
    assert pattern("(a*)*(a*)*(a*)*b").search("a" * 100_000) is None
    assert time.process_time() - started < 60


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
def test_any_file_is_good_or_told_what_is_wrong(content: bytes) -> None:
    config = read(content)
    if isinstance(config, RepoConfig):
        assert restored(config.stored()) == config
    else:
        assert config
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", "".join(map(str, config)))


_YAML = st.text(st.sampled_from("\n\t :-[]{},\"'\\&*!|>%@`#?=.~09axU"), max_size=6)


@given(st.sampled_from(EXAMPLES), st.lists(st.tuples(st.integers(0, 1000), _YAML), max_size=4))
def test_any_slip_in_a_good_file_is_told_or_harmless(text: str, slips: list[tuple[int, str]]) -> None:
    for at, slip in slips:
        text = text[:at] + slip + text[at + 1 :]
    config = read(text.encode())
    assert config if isinstance(config, tuple) else restored(config.stored()) == config


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(0, 100) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_check_keys = st.sampled_from(sorted(names_of(Check)))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.dictionaries(
                st.sampled_from(["envvars", "memory", "cpu", "min", "max", "paths", "labels", "drafts"]),
                _values,
                max_size=3,
            )
            | _values
            for name in RepoConfig.model_fields
        }
        | {"checks": st.lists(st.dictionaries(_check_keys, _values, max_size=4), max_size=3)},
    )
)
def test_any_values_are_good_or_told_what_is_wrong(document: dict[str, object]) -> None:
    config = read(json.dumps(document).encode())
    if isinstance(config, RepoConfig):
        assert restored(config.stored()) == config
        SCHEMA.validate(document)
    else:
        assert config
        assert all(problem.line == 1 for problem in config)


SHAPES = [
    "chekcs: 1",
    "checks: /",
    "build: {envvars: {A: b}}",
    "run: {envvars: {fooo: b}}",
    "filters: {drafts: 1}",
]


@pytest.mark.parametrize("text", SHAPES)
def test_the_schema_for_editors_refuses_what_the_service_refuses(text: str) -> None:
    assert wrong(text)
    with pytest.raises(ValidationError):
        SCHEMA.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("globs", "name", "fits"),
    [
        (("docs/**",), "docs/a/b.md", True),
        (("docs/**",), "docs", False),
        (("*.md",), "README.md", True),
        (("*.md",), "docs/a.md", False),
        (("**/*.md",), "docs/sub/a.md", True),
        (("**/*.md",), "README.md", True),
        (("a?c",), "abc", True),
        (("a?c",), "a/c", False),
        (("release/*",), "release/1.0", True),
        (("release/*",), "release/1/0", False),
        (("x", "main"), "main", True),
        (("a.b",), "axb", False),
        (("[ab](c",), "[ab](c", True),
        ((), "anything", False),
        (("*",), "line\nbreak", True),
    ],
)
def test_patterns_fit_names_of_files_and_branches(globs: tuple[str, ...], name: str, fits: bool) -> None:
    assert matches(globs, name) is fits


def test_units_are_what_they_say() -> None:
    assert [seconds_of(text) for text in ("90m", "48h", "3d")] == [5400.0, 172800.0, 259200.0]
    assert [bytes_of(text) for text in ("512Mi", "1.5Gi")] == [512 * 2**20, 1536 * 2**20]
    assert [cpus_of(share) for share in ("500m", "0.5", 0.5, 1)] == [0.5, 0.5, 0.5, 1.0]
