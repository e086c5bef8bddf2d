"""Secrets in logs are replaced; the rest stays as it was, line for line."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.masking import MASKED, SHAPES, Mask
from orchestrator.settings import load_settings

_OWN = "s3cret/of+ours"
_BEGIN, _END = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
_PREFIX = "[step-build] 2026-01-01T00:00:00.000000000Z "
_TOKEN = "AbCdEfGhIjKlMnOpQrSt0123456789"
#: A line for each shape, and what of it must not be seen.
_LINES = {
    "GitLab's tokens": (f"git clone with glpat-{_TOKEN} failed", f"glpat-{_TOKEN}"),
    "webhook signing tokens": (f"secret whsec_{_TOKEN}= is set", _TOKEN),
    "GitHub's tokens": (f"\x1b[32mghp_{_TOKEN}\x1b[0m", _TOKEN),
    "tokens of npm and PyPI": (f"//registry/:_authToken npm_{_TOKEN}", _TOKEN),
    "JSON web tokens": ("got eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl back", "eyJhbGciOiJI"),
    "headers that authorise": ("> \x1b[1mAuthorization\x1b[0m: Basic Zm9vOmJhcg==", "Zm9vOmJhcg=="),
    "headers with a token": ("curl -H 'PRIVATE-TOKEN: hunter2' https://x", "hunter2"),
    "bearer tokens": (f"sent bearer {_TOKEN}", _TOKEN),
    "passwords in URLs": ("redis://:hunter2@redis:6379/0 is away", "hunter2"),
    "tokens in URLs": (f"fetch https://{_TOKEN}@example.org/x.git", _TOKEN),
    "variables by their name": ("{'TOOL_TOOLSDB_PASSWORD': 'hunter2', 'USER': 'x'}", "hunter2"),
    "private keys on one line": (rf'KEY="{_BEGIN}\nMIIEow\n{_END}"', "MIIEow"),
}


@pytest.fixture(scope="module")
def mask() -> Mask:
    return Mask([_OWN])


@pytest.mark.parametrize("shape", SHAPES)
def test_what_has_the_shape_of_a_secret_is_masked(mask: Mask, shape: str) -> None:
    line, secret = _LINES[shape]
    shown = mask.text(f"before\n{line}\nafter")
    assert secret not in shown
    assert MASKED in shown
    assert (shown.split("\n")[0], shown.split("\n")[-1]) == ("before", "after")


@pytest.mark.parametrize("form", [_OWN, "s3cret%2Fof%2Bours"])
def test_our_own_secrets_are_masked_by_their_values(mask: Mask, form: str) -> None:
    assert mask.text(f"x{form}y {form}") == f"x{MASKED}y {MASKED}"


def test_a_secret_is_no_expression() -> None:
    assert Mask(["a.c*(d)+[e"]).text("abcccdde a.c*(d)+[e") == f"abcccdde {MASKED}"


def test_the_longer_of_two_secrets_goes_first() -> None:
    assert Mask(["password", "password-of-ours"]).text("password-of-ours") == MASKED


def test_what_is_too_short_to_be_told_from_a_word_is_left() -> None:
    assert Mask(["", "none", "redis"]).text("none of redis") == "none of redis"


@pytest.mark.parametrize("before", ["", _PREFIX, "  ", '    "'])
def test_a_private_key_over_several_lines_is_masked_with_its_prefixes_kept(mask: Mask, before: str) -> None:
    lines = ["key:", _BEGIN, "Proc-Type: 4,ENCRYPTED", "", "MIIEowIBAAKCAQEA", "wq/+w==", _END, "ok then"]
    shown = list(mask.lines(before + line for line in lines))
    assert len(shown) == len(lines)
    assert not any(secret in "".join(shown) for secret in ("MIIEow", "wq/+w", "4,ENCRYPTED"))
    assert shown[0].endswith("key:")
    assert shown[-1] == f"{before}ok then"
    if before == _PREFIX:
        assert shown[4] == f"{_PREFIX}{MASKED}"


def test_a_key_without_end_hides_no_more_than_a_key_has(mask: Mask) -> None:
    shown = list(mask.lines([_BEGIN, *["word"] * 1000]))
    assert shown.count("word") == 800
    assert mask.text(f"{_BEGIN}\nan error, plainly\nword") == f"{_BEGIN}\nan error, plainly\nword"


@pytest.mark.parametrize(
    "line",
    [
        "KeyError: 'SECRET_KEY'",
        "ssh://git@gitlab.wikimedia.org:22/group/tool.git",
        "http://127.0.0.1:8000/a@b",
        "the token is wrong: expected one",
        "Collecting glpatterns-2.0 (from -r requirements.txt)",
        "",
    ],
)
def test_usual_lines_stay(mask: Mask, line: str) -> None:
    assert mask.text(line) == line


SEVERAL_LINES = "first line of it\nshort\nthird line of it"


@pytest.mark.parametrize(
    "form",
    [
        "hunter2/+?&ü-x",
        "hunter2%2F%2B%3F%26%C3%BC-x",
        "hunter2/%2B%3F%26%C3%BC-x",
        "hunter2/+?&\\u00fc-x",
        *(base64.b64encode(b"y" * before + "hunter2/+?&ü-x".encode()).decode() for before in range(4)),
        *(
            base64.urlsafe_b64encode(b"y" * before + "hunter2/+?&ü-x!".encode()).decode()
            for before in range(4)
        ),
    ],
)
def test_what_is_added_is_masked_in_the_forms_that_it_usually_has(mask: Mask, form: str) -> None:
    also = mask.also(["hunter2/+?&ü-x"])
    shown = also.text(f"before {form} after {_OWN}")
    before, after = shown.removeprefix("before ").removesuffix(f" after {MASKED}").split(MASKED)
    # In base64 some signs remain of what stands beside it.
    assert len(before) <= 6
    assert len(after) <= 4
    assert mask.text("hunter2/+?&ü-x") == "hunter2/+?&ü-x", "the first one is as it was"


def test_of_a_secret_of_several_lines_each_is_masked_that_is_no_usual_word(mask: Mask) -> None:
    text = f"a\n> {SEVERAL_LINES}\nb"
    assert mask.also([SEVERAL_LINES]).text(text) == f"a\n> {MASKED}\nshort\n{MASKED}\nb"


def test_as_many_and_as_long_secrets_as_there_can_be_are_masked(mask: Mask) -> None:
    many = [f"{number:03}" + "x+/é " * 660 + "y" for number in range(30)]
    also = mask.also(many)
    assert also.text(f"a {many[17]} b {many[29]}") == f"a {MASKED} b {MASKED}"
    longer = "x+/é" * 50_000
    assert mask.also([longer]).text(f"a {longer} b") == f"a {MASKED * 40} b"
    shorter = [value[:480] for value in many]
    assert mask.also(shorter).text(f"a {quote(shorter[29])} b") == f"a {MASKED} b"


def test_no_log_by_which_a_cause_is_known_is_changed(mask: Mask) -> None:
    logs = list((Path(__file__).parent / "logs").glob("*.log"))
    assert logs
    for log in logs:
        assert mask.text(log.read_text()) == log.read_text(), log.name


@given(st.lists(st.text() | st.sampled_from([line for line, _ in _LINES.values()] + [_BEGIN, _OWN])))
def test_whatever_comes_as_many_lines_go_out_and_nothing_of_ours(lines: list[str]) -> None:
    mask = Mask([_OWN])
    shown = list(mask.lines(lines))
    assert len(shown) == len(lines)
    assert not any(_OWN in line for line in shown)


@pytest.mark.parametrize(
    "piece", ["glpat-", "://a:", "TOKEN=", "Authorization: ", "bearer ", "A", "-----BEGIN ", "eyJaaaaaaaa."]
)
def test_a_line_without_end_is_read_once(mask: Mask, piece: str) -> None:
    # An engine that goes back would not come to an end here.
    assert "\n" not in mask.text(piece * 300_000)


def test_half_characters_and_nul_do_not_stop_it(mask: Mask) -> None:
    assert mask.text(f"\ud83d \0 {_OWN}") == f"? \0 {MASKED}"


def test_what_is_known_to_be_secret_is_what_the_settings_say() -> None:
    settings = load_settings(
        gitlab_token="glpat-of-gitlab",
        secret_key="k" * 32,
        metrics_token="m" * 16,
        gitlab_application_id="app",
        gitlab_application_secret="of-the-application",
        redis_url="redis://:of%2Fredis@127.0.0.1/0",
        database_url="postgresql+psycopg://u:of%2Fthe-database@h/n",
    )
    assert settings.secrets() == [
        *("glpat-of-gitlab", "k" * 32, "of-the-application", "m" * 16),
        *("of/the-database", "of/redis"),
    ]
