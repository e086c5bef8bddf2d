"""Maintainers set secret envvars on the page, by the API and from a terminal, and nobody sees them again."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from orchestrator import tables as t
from orchestrator.project_secrets import ProjectSecrets
from orchestrator.sealing import Vault
from orchestrator.secret_rules import Opened
from orchestrator.settings import PREFIX
from tests.web.house import House, Visitor
from tests.web.test_api_actions import Program, program_of
from tests.web.test_pages import tags_in, words_in
from tests.web.test_tokens import made

SETTINGS = "/group/tool/-/settings"
API = "/api/v1/projects/group/tool/-/secrets"
VALUE = "hunter2-<hunter2>"


@pytest.fixture
def maintainer(house: House) -> Iterator[Visitor]:
    with house.visitor("maintainer") as visitor:
        yield visitor


@pytest.fixture
def program(house: House) -> Iterator[Program]:
    with program_of(house, "maintainer", "set") as one:
        yield one


def kept(house: House) -> Opened:
    """What the newest preview would get."""
    return house.web.parts.secrets.opened(house.world.preview())


def sends(visitor: Visitor, path: str = f"{SETTINGS}/secrets", **form: str) -> str:
    """Sends a form, and reads what came of it."""
    answer = visitor.posts(path, **form)
    assert answer.status_code == 303
    assert VALUE not in answer.headers["Location"]
    return visitor.get(answer.headers["Location"]).text


def everything(house: House) -> str:
    """All that the database holds."""
    return repr(house.web.everything())


# --- on the page --------------------------------------------------------------------------------------


def test_a_secret_is_set_replaced_and_removed_and_never_shown(house: House, maintainer: Visitor) -> None:
    page = sends(maintainer, name="API_KEY", value=VALUE)
    assert "API_KEY is set, and counts from the next deployment" in words_in(page)
    assert "max its secret API_KEY was set" in words_in(page)
    assert kept(house).values == {"API_KEY": VALUE}
    replaced = sends(
        maintainer, name="API_KEY", value="-----BEGIN KEY-----\r\nabcdef\r\n-----END KEY-----\r\n"
    )
    assert "API_KEY is replaced" in words_in(replaced)
    assert kept(house).values == {"API_KEY": "-----BEGIN KEY-----\nabcdef\n-----END KEY-----"}
    for text in (page, replaced, maintainer.get(SETTINGS).text, everything(house)):
        assert "hunter2" not in text
        assert "abcdef" not in text
    gone = words_in(sends(maintainer, f"{SETTINGS}/secrets/API_KEY/remove"))
    assert "API_KEY is removed" in gone
    assert "max its secret API_KEY was removed" in gone
    assert kept(house) == Opened()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("", VALUE, "Toolforge's rules"),
        ("api_key", VALUE, "Toolforge's rules"),
        ("<script>", VALUE, "Toolforge's rules"),
        ("TOOL_API_KEY", VALUE, "Toolforge sets those that begin with TOOL_ itself"),
        ("PREVIEW_URL", VALUE, "are set by Toolforge Preview"),
        ("API_KEY", "", "less than 8 characters"),
        ("API_KEY", f"{VALUE}\0", "control characters"),
        ("API_KEY", VALUE * 500, "4000 are the most"),
    ],
)
def test_what_cannot_be_is_told_with_the_reason_and_changes_nothing(
    house: House, maintainer: Visitor, name: str, value: str, words: str
) -> None:
    before = everything(house)
    page = sends(maintainer, name=name, value=value)
    assert "No secret was set." in words_in(page)
    assert words in words_in(page)
    assert "hunter2" not in page
    assert everything(house) == before


def test_what_is_not_there_cannot_be_removed(house: House, maintainer: Visitor) -> None:
    before = everything(house)
    assert "no such secret" in sends(maintainer, f"{SETTINGS}/secrets/API_KEY/remove")
    assert everything(house) == before


def test_the_page_says_for_whom_they_are_and_when_they_count(maintainer: Visitor) -> None:
    words = words_in(maintainer.get(SETTINGS).text)
    assert "A merge request from a fork never gets them, whoever approved it." in words
    assert "counts from the next deployment" in words
    assert "There are none." in words


def test_changes_are_in_the_audit_for_operators_and_for_nobody_else(
    house: House, maintainer: Visitor
) -> None:
    sends(maintainer, name="API_KEY", value=VALUE)
    said = "max its secret API_KEY was set"
    other = house.world.connects(88, "group/other")
    with house.visitor("operator") as operator:
        for query in ("", "?project=group/tool", "?subject=project"):
            words = words_in(operator.get(f"/audit{query}").text)
            assert said in words
            assert "project group/tool" in words
            assert "hunter2" not in words
        assert said not in words_in(operator.get("/audit?project=group/other").text)
        assert "its secret API_KEY was set" in operator.get("/audit.csv?subject=project").text
        assert "its secret API_KEY was set" in operator.get("/api/v1/events?subject=project").text
    assert other
    for who in ("nobody", "developer", "maintainer"):
        with house.visitor(who) as visitor:
            assert "API_KEY" not in visitor.get("/audit").text
            assert visitor.get("/audit?subject=project").status_code == 400
            assert "API_KEY" not in visitor.get("/api/v1/events").text


def test_a_name_by_whomever_is_text(house: House, maintainer: Visitor) -> None:
    sends(maintainer, name="API_KEY", value=VALUE)
    with house.web.parts.store.engine.begin() as connection:
        connection.execute(update(t.secret).values(set_by="<script>alert(1)</script>"))
    page = maintainer.get(SETTINGS).text
    assert "alert(1)" in page
    assert [tag for tag, _ in tags_in(page)].count("script") == 1, "our own file, and nothing else"


def test_what_no_key_opens_is_said_to_maintainers_and_to_nobody_else(
    house: House, maintainer: Visitor
) -> None:
    store = house.web.parts.store
    ProjectSecrets(store, Vault(["x" * 40])).put(house.web.project_id, "LOST_KEY", VALUE, "max", 1.0)
    for page in ("/group/tool/-/", SETTINGS):
        words = words_in(maintainer.get(page).text)
        assert "No key of this installation opens" in words
        assert "LOST_KEY" in words
    with house.visitor("developer") as developer:
        assert "LOST_KEY" not in developer.get("/group/tool/-/").text
    assert "No key of this installation opens" not in sends(maintainer, name="LOST_KEY", value=VALUE)


def test_a_bug_while_one_is_set_shows_it_neither_on_the_page_nor_in_the_log(
    house: House, maintainer: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with house.web.parts.store.engine.begin() as connection:
        t.secret.drop(connection)
    try:
        answer = maintainer.posts(f"{SETTINGS}/secrets", name="API_KEY", value=VALUE)
        by_program = maintainer.client.post(f"{API}/API_KEY", json={"value": VALUE})
    finally:
        with house.web.parts.store.engine.begin() as connection:
            t.secret.create(connection)
    assert answer.status_code >= 500
    assert by_program.status_code >= 400
    assert caplog.text, "it was logged"
    for text in (answer.text, by_program.text, caplog.text):
        assert "hunter2" not in text


# --- by the API ---------------------------------------------------------------------------------------


def test_a_program_sets_lists_and_removes_them(house: House, program: Program) -> None:
    answer = program.client.post(f"{API}/API_KEY", json={"value": VALUE})
    assert answer.status_code == 200
    (one,) = answer.json()["items"]
    assert (one["name"], one["set_by"], one["is_readable"]) == ("API_KEY", "max", True)
    assert program.client.get(API).json() == answer.json()
    assert kept(house).values == {"API_KEY": VALUE}
    assert "hunter2" not in answer.text
    assert program.client.post(f"{API}/API_KEY/remove").json()["items"] == []
    assert kept(house) == Opened()


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("PORT", {"value": VALUE}, "the port on which"),
        ("API_KEY", {"value": "hunter2"}, "less than 8"),
        ("API_KEY", {"value": VALUE * 500}, "value"),
        ("API_KEY", {"value": [VALUE]}, "value"),
        ("API_KEY", {"vale": VALUE}, "value"),
        ("API_KEY", {}, "value"),
    ],
)
def test_what_a_program_sends_that_cannot_be_is_refused_and_not_repeated(
    house: House, program: Program, name: str, body: dict[str, object], words: str
) -> None:
    before = everything(house).count("API_KEY")
    answer = program.client.post(f"{API}/{name}", json=body)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]
    assert "hunter2" not in answer.text
    assert everything(house).count("API_KEY") == before


@pytest.mark.parametrize(
    ("who", "scope"), [("maintainer", "act"), ("maintainer", "read"), ("developer", "set")]
)
def test_a_token_needs_the_scope_and_its_person_the_role(house: House, who: str, scope: str) -> None:
    with program_of(house, who, scope) as program:
        assert program.client.get(API).status_code == 403
        assert program.client.post(f"{API}/API_KEY", json={"value": VALUE}).status_code == 403
        assert program.client.post(f"{API}/API_KEY/remove").status_code == 403
    assert kept(house) == Opened()


# --- from a terminal ----------------------------------------------------------------------------------


def runs(house: House, token: str, *arguments: str, value: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The command line of somebody who has a token and nothing else; the value by standard input."""
    command = [sys.executable, "-m", "deploy", "project", "secret", *arguments, "--server", house.url]
    given = {"PATH": "/usr/bin:/bin", f"{PREFIX}TOKEN": token}
    folder = Path(__file__).parents[2]
    return subprocess.run(
        command, env=given, input=value, capture_output=True, timeout=60, check=False, cwd=folder
    )


def test_from_a_terminal_the_value_comes_by_standard_input(house: House, maintainer: Visitor) -> None:
    token = made(maintainer, scope="set")
    done = runs(house, token, "set", "group/tool", "API_KEY", value=f"{VALUE}\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"API_KEY is set" in done.stdout
    assert kept(house).values == {"API_KEY": VALUE}
    listed = runs(house, token, "list", "group/tool")
    assert listed.stdout.startswith(b"API_KEY  set ")
    assert listed.stdout.endswith(b" by max\n")
    assert b"hunter2" not in done.stdout + listed.stdout
    assert runs(house, token, "remove", "group/tool", "API_KEY").returncode == 0
    assert kept(house) == Opened()


def test_from_a_terminal_what_cannot_be_is_one_sentence(house: House, maintainer: Visitor) -> None:
    token = made(maintainer, scope="set")
    for name, value, words in (
        ("PORT", VALUE.encode(), b"the port on which"),
        ("API_KEY", b"short", b"less than 8"),
        ("API_KEY", b"\xff" * 20, b"no text in UTF-8"),
        ("API_KEY", VALUE.encode() * 10_000, b"4000 are the most"),
    ):
        done = runs(house, token, "set", "group/tool", name, value=value)
        assert done.returncode == 2, done
        assert words in done.stderr
        assert done.stderr.count(b"\n") == 1
        assert b"hunter2" not in done.stderr
    assert b"no such secret" in runs(house, token, "remove", "group/tool", "API_KEY").stderr
    as_argument = runs(house, token, "set", "group/tool", "API_KEY", VALUE)
    assert as_argument.returncode == 2, "a value is no argument"
    assert kept(house) == Opened()
    with house.web.parts.store.engine.connect() as connection:
        assert connection.execute(select(t.secret)).all() == []
