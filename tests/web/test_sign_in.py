"""People sign in through GitLab's own pages; nobody is let in otherwise, sent elsewhere, or kept for long."""

from __future__ import annotations

import json
import zlib
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import Seeder
from tests.orchestrator.scripted import Answer, Scripted
from tests.web.house import House, Visitor
from tests.web.scene import WebScene
from web.people import SESSION_SECONDS

COOKIE = "toolforge-preview"


def is_signed_in(visitor: Visitor) -> bool:
    return "Sign out" in visitor.get("/").text


def kept_in(cookie: str) -> dict[str, Any]:
    """What a browser can read of its own session."""
    payload = cookie.removeprefix(".").split(".")[0]
    content = urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    # A dot in front says that it is compressed.
    kept: dict[str, Any] = json.loads(zlib.decompress(content) if cookie.startswith(".") else content)
    return kept


def signed(house: House, content: dict[str, Any], *, key: bytes | None = None) -> str:
    """A session cookie, by our own key or another one."""
    app = house.web.app
    own = app.secret_key
    try:
        app.secret_key = key or own
        serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    finally:
        app.secret_key = own
    made: str = serializer.dumps(content)
    return made


def test_one_signs_in_and_out_again(house: House) -> None:
    with house.visitor() as visitor:
        assert "Sign in" in visitor.get("/").text
        answer = visitor.signs_in("dana", page="/group/tool/-/1?x=y")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/group/tool/-/1?x=y")
        assert "dana" in visitor.get("/").text
        assert visitor.client.get("/sign-out").status_code == 405, "a link or a picture signs nobody out"
        assert visitor.posts("/sign-out").status_code == 303
        assert not is_signed_in(visitor)


def test_a_session_holds_nothing_but_who_it_is_and_until_when(house: House) -> None:
    with house.visitor() as visitor:
        cookie = visitor.signs_in("dana").cookies[COOKIE]
    kept = kept_in(cookie)
    assert set(kept) == {"_permanent", "person"}
    assert set(kept["person"]) == {"id", "name", "until"}
    assert kept["person"]["name"] == "dana"


def test_gitlab_is_asked_for_a_person_with_proof_of_who_asks(house: House) -> None:
    with house.visitor() as visitor:
        answer = visitor.client.get("/sign-in")
    asked = {name: value[0] for name, value in parse_qs(urlsplit(answer.headers["Location"]).query).items()}
    assert asked["code_challenge_method"] == "S256"
    assert asked["scope"] == "openid"
    assert asked["redirect_uri"] == f"{house.url}/sign-in/gitlab"
    assert all(len(asked[name]) >= 20 for name in ("code_challenge", "state", "nonce"))


def test_cookies_are_for_the_browser_and_for_this_site_alone(
    house: House, serve: Callable[..., WebScene]
) -> None:
    with house.visitor() as visitor:
        told = visitor.signs_in("dana").headers["Set-Cookie"]
    assert "HttpOnly" in told
    assert "SameSite=Lax" in told
    assert "Path=/" in told
    assert "Secure" not in told, "this one is not on https"
    settings = house.web.parts.settings
    safe = serve(
        public_url="https://previews.example.org",
        gitlab_url=settings.gitlab_url,
        secret_key="k" * 40,
        gitlab_application_id=settings.gitlab_application_id,
        gitlab_application_secret="gloas",
    )
    told = safe.get("/sign-in").headers["Set-Cookie"]
    assert told.startswith("__Host-")
    assert "Secure" in told
    assert "Domain" not in told


@pytest.mark.parametrize(
    "place",
    [
        "https://elsewhere.example/",
        "//elsewhere.example/",
        "/\\elsewhere.example/",
        "\\\\elsewhere.example/",
        "/\t/elsewhere.example/",
        "/\n/elsewhere.example",
        "javascript:alert(1)",
        "elsewhere",
        "",
        "/" + "a" * 600,
    ],
)
def test_nobody_is_sent_elsewhere_afterwards(house: House, place: str) -> None:
    with house.visitor() as visitor:
        assert visitor.signs_in("dana", page=place).headers["Location"] == "/"


def test_a_session_from_before_is_not_the_one_after(house: House) -> None:
    """Whoever planted a cookie in somebody's browser does not get in with it."""
    with house.visitor() as visitor, house.visitor() as attacker:
        before = signed(house, {"csrf_token": "known", "person": "nobody"})
        visitor.client.cookies.set(COOKIE, before, domain="127.0.0.1", path="/")
        address = visitor.goes_to_gitlab("dana")
        planted = visitor.client.cookies[COOKIE]
        assert kept_in(planted)["csrf_token"] == "known"
        visitor.client.get(address)
        assert is_signed_in(visitor)
        assert kept_in(visitor.client.cookies[COOKIE]).get("csrf_token") != "known"
        attacker.client.cookies.set(COOKIE, planted, domain="127.0.0.1", path="/")
        assert not is_signed_in(attacker)


def test_one_cannot_be_signed_in_as_somebody_else_by_a_link(house: House) -> None:
    with house.visitor() as attacker, house.visitor() as victim:
        address = attacker.goes_to_gitlab("otto")
        answer = victim.client.get(address)
        assert answer.status_code == 403
        assert "You are not signed in" in answer.text
        assert not is_signed_in(victim)
        # What was begun in that browser does not help either.
        victim.client.get("/sign-in")
        assert victim.client.get(address).status_code == 403


def test_an_answer_of_gitlab_is_good_once(house: House) -> None:
    with house.visitor() as visitor:
        address = visitor.goes_to_gitlab("dana")
        assert visitor.client.get(address).status_code == 303
        assert visitor.client.get(address).status_code == 403


@pytest.mark.parametrize(
    "told",
    [
        {"sub": "1", "nickname": "root"},
        {"nickname": "dana"},
        {"sub": "own", "nickname": ""},
        {"sub": "own", "nickname": None},
        {"sub": "own"},
    ],
)
def test_a_name_counts_only_for_the_person_of_the_id_token(
    house: House, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any]
) -> None:
    own = str(house.user_id("dana"))
    answer = {**told, "sub": own} if told.get("sub") == "own" else told
    client = house.web.app.extensions["toolforge_preview_gitlab"]
    with house.visitor() as visitor:
        address = visitor.goes_to_gitlab("dana")
        monkeypatch.setattr(client, "userinfo", lambda **_: answer)
        assert visitor.client.get(address).status_code == 403
        assert not is_signed_in(visitor)


def test_who_does_not_let_us_know_is_told_so(house: House) -> None:
    with house.visitor() as visitor:
        # Asked is who has not agreed before.
        house.user_id("nora")
        answer = visitor.client.get(visitor.goes_to_gitlab("nora", decision="deny"))
    assert answer.status_code == 403
    assert "you did not let Toolforge Preview know" in answer.text


def test_hostile_words_of_an_answer_are_not_shown(house: House) -> None:
    with house.visitor() as visitor:
        answer = visitor.client.get("/sign-in/gitlab?error=%3Cscript%3E&error_description=call+me")
    assert answer.status_code == 403
    assert "call me" not in answer.text
    assert "<script>alert" not in answer.text


def test_many_that_are_begun_fit_into_a_cookie(house: House) -> None:
    with house.visitor() as visitor:
        for _ in range(20):
            visitor.client.get("/sign-in")
        assert len(visitor.client.cookies[COOKIE]) < 3000
        assert visitor.signs_in("dana").status_code == 303


def test_a_session_has_an_end_and_cannot_be_made_by_others(house: House) -> None:
    content = kept_in(_cookie_of(house))

    def is_known(cookie: str) -> bool:
        with house.visitor() as visitor:
            visitor.client.cookies.set(COOKIE, cookie, domain="127.0.0.1", path="/")
            return is_signed_in(visitor)

    assert SESSION_SECONDS <= 86400
    assert is_known(signed(house, content))
    late = {**content, "person": {**content["person"], "until": content["person"]["until"] - SESSION_SECONDS}}
    assert not is_known(signed(house, late))
    assert not is_known(signed(house, content, key=b"another key"))


def _cookie_of(house: House) -> str:
    with house.visitor("developer") as visitor:
        return visitor.client.cookies[COOKIE]


def test_a_page_for_somebody_is_kept_by_no_proxy(house: House) -> None:
    with house.visitor("developer") as visitor:
        answer = visitor.get("/")
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert "Cookie" in answer.headers["Vary"]
    assert "Cookie" not in house.web.get("/badge/group/tool.svg").headers.get("Vary", "")


def test_while_gitlab_is_away_signing_in_says_so(serve: Callable[..., WebScene]) -> None:
    web = serve(
        gitlab_url="http://127.0.0.1:1",
        secret_key="k" * 40,
        gitlab_application_id="id",
        gitlab_application_secret="gloas",
    )
    answer = web.get("/sign-in")
    assert answer.status_code == 503
    assert "Not just now" in answer.text
    assert web.get("/").status_code == 200


@pytest.mark.parametrize("body", [{}, [], "words", None, b"<html>", {"authorization_endpoint": 7}])
def test_a_gitlab_that_describes_itself_oddly_is_away(serve: Callable[..., WebScene], body: object) -> None:
    with Scripted() as server:
        server.answer = Answer(body)
        web = serve(
            gitlab_url=server.url,
            secret_key="k" * 40,
            gitlab_application_id="id",
            gitlab_application_secret="gloas",
        )
        assert web.get("/sign-in").status_code == 503
        server.answer = Answer({"authorization_endpoint": f"{server.url}/authorize"})
        assert web.get("/sign-in").headers["Location"].startswith(f"{server.url}/authorize?")


def test_where_it_is_not_set_up_nothing_offers_it(web: WebScene) -> None:
    assert "Sign in" not in web.get("/").text
    assert web.get("/sign-in").status_code == 404
    assert web.get("/sign-in/gitlab?code=x&state=y").status_code == 404


def test_with_a_wrong_secret_nobody_gets_in(
    gitlab: LocalGitLab, seeder: Seeder, serve: Callable[..., WebScene], caplog: pytest.LogCaptureFixture
) -> None:
    house = House(gitlab, seeder, lambda **given: serve(**given | {"gitlab_application_secret": "gloas-x"}))
    with house.visitor() as visitor:
        answer: httpx.Response = visitor.signs_in("dana")
        assert answer.status_code == 403
        assert not is_signed_in(visitor)
    assert "invalid_client" in caplog.text, "the operators' log has the reason"
