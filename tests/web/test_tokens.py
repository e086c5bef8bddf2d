"""Tokens for the API: made by people for their programs, shown once, good for what they say and no longer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from sqlalchemy import select, update

from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import Seeder
from orchestrator import rights
from orchestrator import tables as t
from orchestrator.tokens import MOST
from tests.web.house import House, Visitor
from tests.web.scene import WebScene
from tests.web.test_pages import words_in

_SECRET = re.compile(r'<code id="secret">(tfp_[A-Za-z0-9_-]{43})</code>')


def made(visitor: Visitor, *, scope: str = "act", name: str = "a script", days: str = "30") -> str:
    """Makes a token on the page."""
    answer = visitor.posts("/tokens", name=name, scope=scope, days=days)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    found = _SECRET.search(answer.text)
    assert found
    return found[1]


def asks(house: House, secret: str, path: str = "/api/v1/projects", **more: str) -> httpx.Response:
    """A program that has nothing but a token."""
    headers = {"Authorization": f"Bearer {secret}", **more}
    return httpx.get(f"{house.url}{path}", headers=headers, trust_env=False)


@pytest.fixture
def developer(house: House) -> Iterator[Visitor]:
    with house.visitor("developer") as visitor:
        yield visitor


def changes(house: House, **values: object) -> None:
    with house.web.parts.store.engine.begin() as connection:
        assert connection.execute(update(t.api_token).values(values)).rowcount


def test_a_token_is_shown_once_and_only_its_digest_is_kept(house: House, developer: Visitor) -> None:
    secret = made(developer)
    assert secret not in developer.get("/tokens").text
    assert "a script" in developer.get("/tokens").text
    with house.web.parts.store.engine.connect() as connection:
        (row,) = connection.execute(select(t.api_token)).all()
    assert secret not in str(row)
    assert secret.removeprefix("tfp_") not in str(row)


def test_what_does_not_count_is_refused_even_where_everybody_may_read(
    house: House, developer: Visitor
) -> None:
    secret = made(developer)
    assert asks(house, secret).status_code == 200
    for wrong in ("tfp_wrong", "x", secret[:-1], secret.upper()):
        answer = asks(house, wrong)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert developer.posts("/tokens/1/revoke").status_code == 303
    assert asks(house, secret).status_code == 401


def test_a_token_that_has_expired_counts_no_more(house: House, developer: Visitor) -> None:
    secret = made(developer)
    changes(house, expires_at=1.0)
    assert asks(house, secret).status_code == 401
    assert "expired" in words_in(developer.get("/tokens").text)
    made(developer)
    assert "expired" not in words_in(developer.get("/tokens").text), "it has made room"


def test_when_it_was_used_is_seen_to_the_minute(house: House, developer: Visitor) -> None:
    secret = made(developer)
    assert ">never<" in developer.get("/tokens").text
    asks(house, secret)
    assert ">never<" not in developer.get("/tokens").text
    with house.web.parts.store.engine.connect() as connection:
        first = connection.scalar(select(t.api_token.c.used_at))
        asks(house, secret)
        assert connection.scalar(select(t.api_token.c.used_at)) == first, "not every look writes"
    changes(house, used_at=1.0)
    asks(house, secret)
    with house.web.parts.store.engine.connect() as connection:
        assert connection.scalar(select(t.api_token.c.used_at)) != 1.0


def test_everybody_sees_and_revokes_their_own_alone(house: House, developer: Visitor) -> None:
    secret = made(developer, name="of dana")
    with house.visitor("operator") as operator:
        assert "of dana" not in operator.get("/tokens").text
        assert operator.posts("/tokens/1/revoke").status_code == 404
        assert operator.posts(f"/tokens/{10**30}/revoke").status_code == 404
    assert asks(house, secret).status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        {"name": " "},
        {"name": "x" * 101},
        {"name": "a\x07b"},
        {"scope": "all"},
        {"days": "36500"},
        {"days": "-1"},
        {"days": ""},
    ],
)
def test_what_cannot_be_chosen_makes_no_token(developer: Visitor, form: dict[str, str]) -> None:
    answer = developer.posts("/tokens", **{"name": "x", "scope": "read", "days": "30", **form})
    assert answer.status_code == 303
    assert "You have none." in developer.get("/tokens").text


def test_a_name_is_text(developer: Visitor) -> None:
    made(developer, name="<script>alert(1)</script>")
    assert "&lt;script&gt;alert(1)" in developer.get("/tokens").text


def test_nobody_has_more_than_some(house: House, developer: Visitor) -> None:
    for _ in range(MOST):
        made(developer)
    answer = developer.posts("/tokens", name="x", scope="read", days="30")
    assert answer.status_code == 303
    assert f"You have {MOST} tokens" in words_in(developer.get("/tokens").text)
    with house.visitor("operator") as operator:
        made(operator)


def test_a_token_counts_for_the_api_alone(closed_house: House) -> None:
    closed_house.begins_anew()
    with closed_house.visitor("operator") as operator:
        secret = made(operator)
    assert asks(closed_house, secret).status_code == 200
    for path in ("/", "/group/tool/-/1", "/audit", "/tokens"):
        assert asks(closed_house, secret, path).status_code == 403


def test_with_a_token_one_is_its_person_whatever_the_cookie_says(closed_house: House) -> None:
    closed_house.begins_anew()
    with closed_house.visitor("operator") as operator, closed_house.visitor("stranger") as stranger:
        secret = made(stranger)
        assert operator.client.get("/api/v1/projects").status_code == 200
        headers = {"Authorization": f"Bearer {secret}"}
        assert operator.client.get("/api/v1/projects", headers=headers).status_code == 403


def test_an_operators_token_is_none_once_the_name_is_somebody_elses(
    closed_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed_house.begins_anew()
    monkeypatch.setattr(rights, "REMEMBERED_SECONDS", 0.0)
    with closed_house.visitor("operator") as operator:
        secret = made(operator)
    assert asks(closed_house, secret).status_code == 200
    # As if Olga had given her name up, and this token were of whoever has another one by now.
    changes(closed_house, user_id=closed_house.user_id("otto"))
    assert asks(closed_house, secret).status_code == 403


def test_while_gitlab_is_away_an_operators_token_waits(
    gitlab: LocalGitLab, seeder: Seeder, serve: Callable[..., WebScene]
) -> None:
    house = House(gitlab, seeder, serve, public_pages=False)
    with house.visitor("operator") as operator:
        secret = made(operator)
    fault = gitlab.faults.add("GET /users/:user_id", "status", status=500, count=1)
    assert asks(house, secret).status_code == 503
    assert fault.struck == 1


def test_the_audit_says_who_made_and_revoked_which_token_and_not_the_token(
    house: House, developer: Visitor
) -> None:
    secret = made(developer, name="nightly <b>bot</b>")
    made(developer, scope="read", name="a badge")
    assert developer.posts("/tokens/1/revoke").status_code == 303
    assert developer.posts("/tokens/1/revoke").status_code == 404
    with house.visitor("operator") as operator:
        told = _told(operator)
        page = operator.get("/audit?subject=token&who=dana").text
    assert {row["who"] for row in told.values()} == {"dana"}
    assert list(told) == ["1 revoked", "2 made", "1 made"]
    revoked, read, act = told.values()
    assert act["why"].startswith("the API token 'nightly <b>bot</b>', good for read and act, until ")
    assert read["why"].startswith("the API token 'a badge', good for read, until ")
    assert revoked["why"] == "the API token 'nightly <b>bot</b>', good for read and act"
    assert "nightly &lt;b&gt;bot" in page
    with house.web.parts.store.engine.connect() as connection:
        everything = str(connection.execute(select(t.event)).all())
    assert secret not in everything
    assert secret.removeprefix("tfp_") not in everything


def _told(visitor: Visitor) -> dict[str, dict[str, str]]:
    """What the audit says of tokens, by number and what became of it."""
    rows = visitor.get("/audit.json?subject=token").json()
    return {f"{row['subject_id']} {row['after']}": row for row in rows}


def test_who_makes_tokens_is_told_to_operators_alone(house: House, developer: Visitor) -> None:
    secret = made(developer, name="a script")
    for visitor in (developer, house.visitor()):
        with visitor:
            page = visitor.get("/audit").text
            assert "a script" not in page
            assert 'value="token"' not in page
            assert "a script" not in visitor.get("/audit.csv").text
            assert "a script" not in visitor.get("/api/v1/events").text
            for path in ("/audit", "/audit.csv", "/api/v1/events"):
                assert visitor.get(f"{path}?subject=token").status_code == 400
    assert asks(house, secret, "/api/v1/events?subject=token").status_code == 400
    with house.visitor("operator") as operator:
        assert "a script" in operator.get("/audit").text
        token = made(operator, name="of the operator")
        told = asks(house, token, "/api/v1/events?subject=token").json()["items"]
        assert [event["who"] for event in told] == ["olga", "dana"]


def test_a_token_that_could_not_be_made_or_revoked_leaves_no_line(house: House, developer: Visitor) -> None:
    developer.posts("/tokens", name="", scope="read", days="30")
    developer.posts("/tokens/7/revoke")
    with house.visitor("operator") as operator:
        made(operator, name="theirs")
        assert developer.posts("/tokens/1/revoke").status_code == 404
        assert list(_told(operator)) == ["1 made"]
