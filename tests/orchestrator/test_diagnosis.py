"""From a log to a cause and a remedy: the logs in ``logs/`` say what has to come of each."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from string import Formatter

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from bench.diagnosis import PORT, STAMP, Sample, samples
from orchestrator.diagnosis import (
    CAUSES,
    excerpt,
    explain_build,
    explain_check,
    explain_crash,
    explain_refusal,
    explain_unready,
)
from orchestrator.diagnosis.engine import Cause, Finding, read

SAMPLES = samples()
STAGES = {"build": "build", "refusal": "build", "crash": "start", "unready": "start", "check": "check"}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_log_has_its_cause(sample: Sample) -> None:
    failure = sample.explained()
    assert failure.cause == sample.cause
    assert sample.head.get("says", "") in failure.summary
    assert failure.stage == sample.head.get("stage", STAGES[sample.head["of"]])
    # What is refused is told in Toolforge's words as a whole.
    if failure.cause and sample.head["of"] != "refusal":
        assert any(sample.head.get("shows", "") in line.text for line in failure.evidence)
    assert failure.summary
    assert failure.remedy
    assert sample.head["source"]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_evidence_names_the_lines_of_the_kept_log(sample: Sample) -> None:
    kept = sample.log.split("\n")
    for line in sample.explained().evidence:
        assert line.line == 0 or line.text in re.sub(r"^\[step-[a-z]+\] ", "", kept[line.line - 1])


def test_every_cause_is_shown_by_a_log() -> None:
    assert {cause.id for cause in CAUSES} - {sample.head["cause"] for sample in SAMPLES} == NOT_SEEN


#: Their signs have an example each; of these alone there is no whole log.
NOT_SEEN = {
    "dotnet-dependency-conflict",
    "dotnet-hash-mismatch",
    "dotnet-lock-outdated",
    "java-build-failed",
    "java-download-failed",
    "java-version-invalid",
    "node-native-build",
    "node-script-missing",
    "php-composer-json-invalid",
    "php-install-failed",
    "ruby-dependency-conflict",
    "ruby-hash-mismatch",
    "ruby-install-failed",
    "ruby-version-excluded",
}


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.id)
def test_every_sign_fits_its_example_and_every_sentence_has_its_values(cause: Cause) -> None:
    details = {name for pattern in cause.details for name in re2.compile(pattern).groupindex}
    for sign in cause.signs:
        match = re2.match(sign.pattern, sign.example)
        assert match, sign.example
        given_values = {name for name, value in match.groupdict().items() if value} | set(sign.values)
        for sentence in (cause.summary, cause.remedy):
            needed = {name for _, name, _, _ in Formatter().parse(sentence) if name}
            assert needed <= given_values | set(cause.otherwise)
            assert needed <= given_values | set(cause.otherwise) | details


def test_every_cause_has_a_name_of_its_own() -> None:
    assert len({cause.id for cause in CAUSES}) == len(CAUSES)


def test_an_unknown_failure_is_told_in_toolforges_words() -> None:
    failure = explain_build("whatever", "Tasks failed: build. Check the logs with `toolforge build logs x`")
    assert failure.summary == "Tasks failed: build"
    assert failure.remedy


def test_a_failure_without_any_words_is_still_told() -> None:
    failure = explain_build("", "")
    assert (failure.summary, failure.excerpt) == ("the build failed", "")


def test_what_is_given_up_for_counts_however_long_the_output_before_it_is() -> None:
    noise = "\n".join(f"building {number}" for number in range(1000))
    sign, end = (
        "ERROR: No matching distribution found for x==1",
        "[Error: Unable to install dependencies using pip]",
    )
    assert explain_build(f"{sign}\n{noise}\n{end}", "").cause == "python-dependency-not-found"
    assert explain_build(f"{sign}\n{noise}", "").cause == ""
    assert explain_build(f"{end}\n{sign}", "").cause == "python-install-failed", "it was said afterwards"
    assert explain_build(f"[Error: The runtime.txt file isn't supported]\n{noise}", "").cause == ""


def test_what_builds_api_refuses_is_told_in_its_words_with_a_remedy() -> None:
    words = (
        "Failed to resolve ref refs/heads/x, maybe the repository URL is not public? Error: exit status 128"
    )
    failure = explain_refusal(words)
    assert failure.cause == "git-not-readable"
    assert words in failure.summary
    assert "public" in failure.remedy
    assert explain_refusal("Deprecated version are not supported anymore (22)").cause == "builder-gone"
    assert explain_refusal("Not valid environment variables passed").cause == ""


def test_a_sign_that_comes_again_and_again_is_shown_once_with_the_tools_own_line() -> None:
    trace = [
        "Traceback (most recent call last):",
        '  File "/workspace/app.py", line 2, in <module>',
        "    os.environ['API_KEY']",
        '  File "<frozen os>", line 685, in __getitem__',
        "KeyError: 'API_KEY'",
    ]
    failure = explain_crash("\n".join(trace * 3), 1, "web")
    assert [(line.line, line.text) for line in failure.evidence] == [
        (12, 'File "/workspace/app.py", line 2, in <module>'),
        (14, 'File "<frozen os>", line 685, in __getitem__'),
        (15, "KeyError: 'API_KEY'"),
    ]


@pytest.mark.parametrize(
    ("procfile", "words"),
    [
        (
            "clock: python app.py\nworker: celery\n",
            "(exit code 127): its Procfile names clock, worker and no web",
        ),
        ("", "(exit code 127): the commit has no Procfile"),
        ("# nothing\n", "(exit code 127): its Procfile is empty"),
        ("web: gunicorn app:app\n", "(exit code 127)"),
        (None, "(exit code 127)"),
    ],
)
def test_a_command_that_is_not_found_is_looked_up_in_the_procfile(procfile: str | None, words: str) -> None:
    failure = explain_crash("", 127, "web", commits_procfile=procfile)
    assert failure.summary == f"the command 'web' was not found {words}"


def test_the_procfile_says_nothing_about_another_cause() -> None:
    log = "ModuleNotFoundError: No module named 'x'"
    assert "Procfile" not in explain_crash(log, 1, "web", commits_procfile="").summary


def test_values_in_a_remedy_are_code() -> None:
    cause = Cause("x", "no {name}", "Add {name}.", (), "")
    finding = Finding(cause, {"name": "`@all` {name} [x](y)"}, ())
    assert finding.summary == "no `@all` {name} [x](y)"
    assert finding.remedy == "Add `'@all' {name} [x](y)`."


def test_a_progress_bar_does_not_hide_what_follows_it() -> None:
    bar = "".join(f"{step}%\r" for step in range(2000))
    assert (
        explain_build(f"{bar}[Error: The runtime.txt file isn't supported]", "").cause == "python-runtime-txt"
    )
    log = f"[step-clone] {STAMP} {bar}fatal: couldn't find remote ref refs/merge-requests/12/head"
    assert explain_build(log, "").cause == "git-ref-gone"


@pytest.mark.parametrize(("exit_code", "words"), [(1, "(exit code 1)"), (None, "start")])
def test_a_crash_is_told_with_its_exit_code(exit_code: int | None, words: str) -> None:
    failure = explain_crash("Good night.", exit_code, "web")
    assert failure.stage == "start"
    assert failure.summary.endswith(words)
    assert failure.excerpt == "Good night."


def test_an_excerpt_is_the_end_without_prefixes_and_empty_lines() -> None:
    stamp = f"[step-build] {STAMP} "
    log = "\n".join([f"{stamp}line {number}" for number in range(40)] + [stamp, "-----", "   ", "====="])
    assert excerpt(log).splitlines() == [f"line {number}" for number in range(25, 40)]


def test_a_line_that_only_looks_like_a_prefix_stays() -> None:
    assert excerpt("[Error: no prefix] text") == "[Error: no prefix] text"


#: Pieces of signs, so that the expressions get into the middle of what they look for.
PIECES = st.sampled_from(
    [sign.example[:at] for cause in CAUSES for sign in cause.signs for at in (len(sign.example) // 2, 400)]
    + [
        "\n",
        "\r",
        "\x00",
        "\x1b[31m",
        " " * 50,
        "@all",
        "\ud800",
        "Traceback (most recent call last):\n",
        '  File "a", line 1\n',
    ]
)
ANYTHING = st.one_of(
    st.binary(max_size=400).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    st.lists(PIECES, max_size=20).map("".join),
    st.lists(PIECES, max_size=20).map("\n".join),
    st.text(st.characters(exclude_categories=()), max_size=300),
)


@given(log=ANYTHING, words=ANYTHING, code=st.none() | st.integers(0, 255))
def test_whatever_a_log_holds_it_is_answered_shortly(log: str, words: str, code: int | None) -> None:
    for failure in (
        explain_build(log, words),
        explain_crash(log, code, "web", words),
        explain_unready(log, words, health="/healthz", port=PORT, seconds=300),
        explain_check(log, "GET /: 500"),
    ):
        assert failure.summary
        assert failure.remedy
        assert len(failure.remedy) < 2000
        assert len(failure.evidence) <= 5
        assert all(len(line.text) <= 300 for line in failure.evidence)
        lines = failure.excerpt.split("\n")
        assert len(lines) <= 15
        assert all(len(line) <= 400 for line in lines)
        json.dumps(asdict(failure)).encode()


def test_a_long_log_is_read_from_its_end() -> None:
    lines = read("\n".join(f"line {number}" for number in range(1, 200_001)))
    assert len(lines) == 20_000
    assert (lines[0].number, lines[-1].number) == (180_001, 200_000)
