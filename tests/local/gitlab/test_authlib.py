"""Authlib, a client that we did not write, signs people in with the local GitLab, in a Flask application."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import gitlab
import httpx
import pytest
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.flask_client import OAuth
from flask import Flask, jsonify, url_for
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue

from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import Seeder

SITE = "http://previews.localhost"


@pytest.fixture
def site(gl: LocalGitLab, seeder: Seeder) -> FlaskClient:
    """A site that knows of GitLab no more than its address, and its own client id and secret."""
    application = seeder.api(
        "POST",
        "/applications",
        name="Previews",
        redirect_uri=f"{SITE}/callback",
        scopes="openid profile read_api",
        confidential=True,
    )
    app = Flask("site")
    app.secret_key = "k" * 32
    oauth = OAuth(app)
    oauth.register(
        "gitlab",
        client_id=application["application_id"],
        client_secret=application["secret"],
        server_metadata_url=f"{gl.url}/.well-known/openid-configuration",
        client_kwargs={"scope": "openid profile read_api", "code_challenge_method": "S256"},
    )

    @app.get("/login")
    def login() -> ResponseReturnValue:
        answer: ResponseReturnValue = oauth.gitlab.authorize_redirect(url_for("callback", _external=True))
        return answer

    @app.get("/callback")
    def callback() -> ResponseReturnValue:
        try:
            token = oauth.gitlab.authorize_access_token()
        except OAuthError as error:
            return jsonify(error=error.error), 403
        told = dict(oauth.gitlab.userinfo(token=token))
        return jsonify(claims=token["userinfo"], userinfo=told, access_token=token["access_token"])

    return app.test_client()


@pytest.fixture
def browser(gl: LocalGitLab) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gl.url) as made:
        yield made


def press(browser: httpx.Client, page: httpx.Response, **form: str) -> str:
    """Send the first form of a page; where it leads."""
    action = re.search(r'<form method="post" action="([^"]+)"', page.text)
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert action
    assert csrf
    answer = browser.post(unescape(action.group(1)), data={"csrf": csrf.group(1), **form})
    return str(answer.headers["Location"])


def go_there(site: FlaskClient, browser: httpx.Client, decision: str) -> str:
    """From the site to GitLab and, with an answer, back: the address of the site that one is sent to."""
    to_gitlab = site.get("/login", base_url=SITE).headers["Location"]
    to_sign_in = browser.get(to_gitlab).headers["Location"]
    to_consent = press(browser, browser.get(to_sign_in), user="dana")
    return press(browser, browser.get(to_consent), decision=decision)


def come_back(site: FlaskClient, address: str) -> Any:
    """The site's answer to whom GitLab sent back."""
    assert address.startswith(f"{SITE}/callback?")
    parts = urlsplit(address)
    return site.get(f"{parts.path}?{parts.query}", base_url=SITE)


def test_one_signs_in_from_end_to_end(
    site: FlaskClient, browser: httpx.Client, gl: LocalGitLab, seeder: Seeder
) -> None:
    answer = come_back(site, go_there(site, browser, "authorize"))
    assert answer.status_code == 200
    told = answer.get_json()
    assert told["claims"]["sub"] == told["userinfo"]["sub"] == str(seeder.developer.id)
    assert told["claims"]["iss"] == gl.url
    assert told["userinfo"]["nickname"] == "dana"
    with gitlab.Gitlab(gl.url, oauth_token=told["access_token"]) as client:
        client.auth()
        assert client.user is not None
        assert client.user.username == "dana"
        # Only to read.
        with pytest.raises(gitlab.GitlabCreateError) as error:
            client.projects.create({"name": "mine"})
        assert error.value.response_code == 403


def test_who_says_no_is_not_signed_in(site: FlaskClient, browser: httpx.Client) -> None:
    answer = come_back(site, go_there(site, browser, "deny"))
    assert (answer.status_code, answer.get_json()) == (403, {"error": "access_denied"})


def test_a_code_is_good_once(site: FlaskClient, browser: httpx.Client) -> None:
    address = go_there(site, browser, "authorize")
    code = re.search(r"code=([0-9a-f]+)", address)
    assert code
    assert come_back(site, address).status_code == 200
    second = site.get("/login", base_url=SITE).headers["Location"]
    again = browser.get(second).headers["Location"]
    stolen = re.sub(r"code=[0-9a-f]+", f"code={code.group(1)}", again)
    answer = come_back(site, stolen)
    assert (answer.status_code, answer.get_json()) == (403, {"error": "invalid_grant"})
