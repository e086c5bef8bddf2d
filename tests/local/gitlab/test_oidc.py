"""Signing in: discovery, the form, codes with PKCE, tokens that are signed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from deploy.local.gitlab import LocalGitLab
from tests.local.gitlab.world import Scene

CALLBACK = "http://127.0.0.1:9/callback"
SCOPES = "openid profile read_api"


def from_base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Flow:
    browser: httpx.Client
    application: dict[str, Any]
    verifier: str

    def query(self, **more: str) -> dict[str, str]:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest())
        return {
            "client_id": self.application["application_id"],
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": SCOPES,
            "state": "st4te",
            "nonce": "n0nce",
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **more,
        }

    def come(self, user: str = "dana", **more: str) -> httpx.Response:
        """What a browser gets that is sent here, after signing in if it has to."""
        answer = self.browser.get("/oauth/authorize", params=self.query(**more))
        if "/users/sign_in" in answer.headers.get("Location", ""):
            answer = self.press(self.browser.get(answer.headers["Location"]), user=user)
            answer = self.browser.get(answer.headers["Location"])
        return answer

    def press(self, page: httpx.Response, **form: str) -> httpx.Response:
        """Send the first form of a page."""
        assert page.status_code == 200
        action = re.search(r'<form method="post" action="([^"]+)"', page.text)
        csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert action
        assert csrf
        return self.browser.post(unescape(action.group(1)), data={"csrf": csrf.group(1), **form})

    def sign_in(self, user: str = "dana", decision: str = "authorize") -> dict[str, str]:
        """What comes back to the client's address."""
        return self.back(self.press(self.come(user), decision=decision))

    def back(self, answer: httpx.Response) -> dict[str, str]:
        """What the client's address is told."""
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith(CALLBACK)
        query = urlsplit(answer.headers["Location"]).query
        return {key: values[0] for key, values in parse_qs(query).items()}

    def redeem(self, code: str, **more: str) -> httpx.Response:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "client_id": self.application["application_id"],
            "client_secret": self.application["secret"],
            "code_verifier": self.verifier,
            **more,
        }
        return self.browser.post("/oauth/token", data=form)


@pytest.fixture
def flow(gl: LocalGitLab, shared_scene: Scene) -> Iterator[Flow]:
    body = {"name": "Previews", "redirect_uri": CALLBACK, "scopes": SCOPES}
    application = shared_scene.root.post("/applications", json=body).json()
    with httpx.Client(base_url=gl.url) as browser:
        yield Flow(browser, application, secrets.token_urlsafe(48))


def test_discovery_names_the_endpoints(gl: LocalGitLab) -> None:
    found = httpx.get(f"{gl.url}/.well-known/openid-configuration").json()
    assert found["issuer"] == gl.url
    assert httpx.get(found["jwks_uri"]).json()["keys"][0]["alg"] == "RS256"


def test_one_signs_in_and_is_known(flow: Flow, gl: LocalGitLab, shared_scene: Scene) -> None:
    back = flow.sign_in()
    assert back["state"] == "st4te"
    tokens = flow.redeem(back["code"]).json()
    assert tokens["token_type"] == "Bearer"
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    info = httpx.get(f"{gl.url}/oauth/userinfo", headers=headers).json()
    assert (info["sub"], info["nickname"]) == (str(shared_scene.seeder.developer.id), "dana")
    assert httpx.get(f"{gl.url}/api/v4{shared_scene.path}", headers=headers).status_code == 200
    write = httpx.post(f"{gl.url}/api/v4{shared_scene.mr_path}/notes", json={"body": "x"}, headers=headers)
    assert write.status_code == 403


def test_the_id_token_is_signed_for_the_client(flow: Flow, gl: LocalGitLab, shared_scene: Scene) -> None:
    token = flow.redeem(flow.sign_in()["code"]).json()["id_token"]
    head, claims, signature = token.split(".")
    (key,) = httpx.get(f"{gl.url}/oauth/discovery/keys").json()["keys"]
    assert json.loads(from_base64(head))["kid"] == key["kid"]
    numbers = rsa.RSAPublicNumbers(*(int.from_bytes(from_base64(key[part])) for part in ("e", "n")))
    signed = f"{head}.{claims}".encode()
    numbers.public_key().verify(from_base64(signature), signed, padding.PKCS1v15(), hashes.SHA256())
    said = json.loads(from_base64(claims))
    assert (said["iss"], said["aud"]) == (gl.url, flow.application["application_id"])
    assert (said["nonce"], said["sub"]) == ("n0nce", str(shared_scene.seeder.developer.id))
    assert said["exp"] > said["iat"] >= said["auth_time"]
    assert said["groups_direct"] == [shared_scene.seeder.group]


def test_names_are_told_by_userinfo_only(flow: Flow, gl: LocalGitLab, shared_scene: Scene) -> None:
    tokens = flow.redeem(flow.sign_in()["code"]).json()
    said = json.loads(from_base64(tokens["id_token"].split(".")[1]))
    assert not {"name", "nickname", "preferred_username", "profile", "email"} & set(said)
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    info = httpx.get(f"{gl.url}/oauth/userinfo", headers=headers).json()
    assert (info["name"], info["preferred_username"]) == ("Dana Developer", "dana")
    assert info["profile"] == f"{gl.url}/dana"
    group = shared_scene.seeder.group
    assert info["groups"] == info["https://gitlab.org/claims/groups/developer"] == [group]
    assert "email" not in info


def test_who_let_a_program_in_is_not_asked_again(flow: Flow) -> None:
    tokens = flow.redeem(flow.sign_in()["code"]).json()
    again = flow.redeem(flow.back(flow.come())["code"]).json()
    assert "is requesting access" in flow.come(scope="openid").text
    client = {"client_id": flow.application["application_id"], "client_secret": flow.application["secret"]}
    for token in (tokens["access_token"], again["access_token"]):
        flow.browser.post("/oauth/revoke", data={"token": token, **client})
    assert "is requesting access" in flow.come().text


def test_a_trusted_program_is_let_in_at_once(flow: Flow, shared_scene: Scene) -> None:
    body = {"name": "Ours", "redirect_uri": CALLBACK, "scopes": SCOPES, "trusted": True}
    flow.application = shared_scene.root.post("/applications", json=body).json()
    assert "code" in flow.back(flow.come())


def test_one_signs_out_and_in_as_somebody_else(flow: Flow) -> None:
    page = flow.come("dana")
    assert "@dana" in page.text
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert csrf
    flow.browser.post("/users/sign_out", data={"csrf": csrf.group(1)})
    assert "@rene" in flow.come("rene").text


@pytest.mark.parametrize("elsewhere", ["//evil.example/", "https://evil.example/", "/oauth/authorize", ""])
def test_signing_in_leads_nowhere_else(flow: Flow, elsewhere: str) -> None:
    page = flow.browser.get("/users/sign_in", params={"return_to": elsewhere})
    assert flow.press(page, user="dana").headers["Location"] == "/"


def test_who_has_agreed_is_sent_on_by_the_sign_in_form_itself(flow: Flow) -> None:
    """To another site: a browser asks the policy of the page with the form whether it may."""
    flow.redeem(flow.sign_in()["code"])
    flow.browser.cookies.clear()
    to_sign_in = flow.browser.get("/oauth/authorize", params=flow.query()).headers["Location"]
    page = flow.browser.get(to_sign_in)
    assert "form-action" not in page.headers["Content-Security-Policy"]
    to_consent = flow.press(page, user="dana").headers["Location"]
    assert "code" in flow.back(flow.browser.get(to_consent))


def test_a_code_is_used_once(flow: Flow) -> None:
    code = flow.sign_in()["code"]
    assert flow.redeem(code).status_code == 200
    again = flow.redeem(code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"code_verifier": "x" * 43}, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1:9/other"}, "invalid_grant"),
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
def test_a_code_is_redeemed_only_by_who_asked_for_it(flow: Flow, wrong: dict[str, str], error: str) -> None:
    assert flow.redeem(flow.sign_in()["code"], **wrong).json()["error"] == error


def test_who_says_no_is_sent_back_without_a_code(flow: Flow) -> None:
    back = flow.sign_in(decision="deny")
    assert back["error"] == "access_denied"
    assert "code" not in back


@pytest.mark.parametrize(
    ("wrong", "error", "told"),
    [
        ({"client_id": "nobody"}, "invalid_client", "unknown client"),
        (
            {"redirect_uri": "http://evil.example/"},
            "invalid_redirect_uri",
            "redirect URI included is not valid",
        ),
        ({"scope": "openid api"}, "invalid_scope", "requested scope is invalid"),
        ({"response_type": "token"}, "unsupported_response_type", "does not support this response type"),
        ({"code_challenge_method": "S1"}, "invalid_code_challenge_method", "must be plain or S256"),
    ],
)
def test_a_wrong_request_leads_nowhere(flow: Flow, wrong: dict[str, str], error: str, told: str) -> None:
    page = flow.come(**wrong)
    assert page.status_code == 200
    assert "An error has occurred" in page.text
    assert told in page.text
    assert "evil.example" not in page.text
    answer = flow.browser.post("/oauth/authorize", params=flow.query(**wrong))
    assert answer.status_code in (400, 401)
    assert answer.json()["error"] == error


def test_the_form_of_another_site_is_refused(flow: Flow) -> None:
    for path in ("/users/sign_in", "/users/sign_out"):
        assert flow.browser.post(path, data={"user": "root", "csrf": "guessed"}).status_code == 422
    flow.come()
    form = {"decision": "authorize", "csrf": "guessed"}
    assert flow.browser.post("/oauth/authorize", params=flow.query(), data=form).status_code == 422


def test_nobody_is_let_in_without_signing_in(flow: Flow) -> None:
    for answer in (
        flow.browser.get("/oauth/authorize", params=flow.query()),
        flow.browser.post("/oauth/authorize", params=flow.query(), data={"decision": "authorize"}),
    ):
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/users/sign_in?")


def test_a_token_is_refreshed_and_revoked(flow: Flow, gl: LocalGitLab) -> None:
    first = flow.redeem(flow.sign_in()["code"]).json()
    client = {
        "client_id": flow.application["application_id"],
        "client_secret": flow.application["secret"],
    }
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"], **client}
    second = flow.browser.post("/oauth/token", data=form).json()

    def known(token: str) -> int:
        return httpx.get(f"{gl.url}/oauth/userinfo", headers={"Authorization": f"Bearer {token}"}).status_code

    assert (known(first["access_token"]), known(second["access_token"])) == (401, 200)
    flow.browser.post("/oauth/revoke", data={"token": second["access_token"], **client})
    assert known(second["access_token"]) == 401


def test_only_the_administrator_registers_applications(shared_scene: Scene) -> None:
    body = {"name": "x", "redirect_uri": CALLBACK, "scopes": SCOPES}
    assert shared_scene.service.post("/applications", json=body).status_code == 403
