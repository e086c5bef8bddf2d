"""The page on which somebody lets a program in (GitLab's `Oauth::AuthorizationsController`).

First one signs in, then the request is looked at: what is wrong with it is told on a page, never to the
address that it names. Who let the same program in for the same scopes before is sent on without being asked,
if the program can keep a secret; and so is everybody if it is trusted. (GitLab sends them on by a script,
here it is a redirect: no page here has a script.)
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from deploy.local.gitlab.model import Application, User
from deploy.local.gitlab.oauth_errors import BAD_CLIENT, BAD_GRANT, OauthError
from deploy.local.gitlab.sign_in import Session, SignIn
from deploy.local.gitlab.signing import base64url
from deploy.local.gitlab.templates import OPEN_POLICY, csrf_cookie, csrf_holds, page

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

CODE_SECONDS = 600
#: GitLab's words for what a scope allows.
MEANINGS = {
    "openid": "Authenticate using OpenID Connect",
    "profile": "Allows read-only access to the user's personal information using OpenID Connect",
    "email": "Allows read-only access to the user's primary email address using OpenID Connect",
    "read_user": "Read the authenticated user's personal information",
    "read_api": "Read API",
    "api": "Access the authenticated user's API",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A valid authorization request."""

    application: Application
    redirect_uri: str
    scopes: list[str]
    state: str
    nonce: str
    challenge: str
    method: str

    def back(self, **answer: str) -> str:
        """The client's address with an answer."""
        joint = "&" if "?" in self.redirect_uri else "?"
        state = {"state": self.state} if self.state else {}
        return self.redirect_uri + joint + urlencode(answer | state)

    def verified(self, verifier: str) -> bool:
        """PKCE: whether who redeems the code is who asked for it."""
        if not self.challenge:
            return True
        shown = base64url(hashlib.sha256(verifier.encode()).digest()) if self.method == "S256" else verifier
        return hmac.compare_digest(shown.encode(), self.challenge.encode())


@dataclass(frozen=True, slots=True)
class Grant:
    """What a code stands for; times in epoch seconds."""

    asked: Asked
    user_id: int
    signed_in: int
    issued: float


class Consent:
    """Asks people, and keeps the codes that come of it until they are redeemed."""

    def __init__(self, lab: Lab, sign_in: SignIn) -> None:
        self._lab = lab
        self._sign_in = sign_in
        self._codes: dict[str, Grant] = {}

    async def show(self, request: web.Request) -> web.Response:
        """The question, or the way on for whom it was answered before."""
        session = self._sign_in.session(request)
        if session is None:
            return self._sign_in.needed(request)
        try:
            asked = self._asked(request.query)
        except OauthError as error:
            return page(request, "oauth_error.html", description=error.body["error_description"])
        if self._answered_before(asked, session.user):
            return self._let_in(asked, session)
        return page(
            request,
            "authorize.html",
            asked=asked,
            user=session.user,
            meanings=MEANINGS,
            action=request.rel_url,
            leave="/users/sign_out?" + urlencode({"return_to": str(request.rel_url)}),
            host=urlsplit(asked.redirect_uri).netloc,
            policy=OPEN_POLICY,
        )

    async def answer(self, request: web.Request) -> web.Response:
        """Somebody pressed a button: back to the client with a code, or with `access_denied`."""
        session = self._sign_in.session(request)
        if session is None:
            return self._sign_in.needed(request)
        asked = self._asked(request.query)
        form = await request.post()
        if not csrf_holds(request, form):
            return web.Response(status=422, text="The form is too old. Go back and try again.\n")
        if form.get("decision") == "authorize":
            response = self._let_in(asked, session)
        else:
            denied = "The resource owner or authorization server denied the request."
            location = asked.back(error="access_denied", error_description=denied)
            response = web.Response(status=302, headers={"Location": location})
        csrf_cookie(request, response)
        return response

    def redeem(self, application: Application, form: Mapping[str, str]) -> Grant:
        """What a code stands for, once and only for who asked for it. OauthError."""
        self._forget_old()
        grant = self._codes.pop(form.get("code", ""), None)
        if grant is None or grant.asked.application.id != application.id:
            raise BAD_GRANT
        if form.get("redirect_uri") != grant.asked.redirect_uri:
            raise BAD_GRANT
        if not grant.asked.verified(form.get("code_verifier", "")):
            raise BAD_GRANT
        if not application.confidential and not grant.asked.challenge:
            raise BAD_GRANT
        return grant

    def _let_in(self, asked: Asked, session: Session) -> web.Response:
        self._forget_old()
        code = secrets.token_hex(32)
        self._codes[code] = Grant(asked, session.user.id, session.since, time.time())
        return web.Response(status=302, headers={"Location": asked.back(code=code)})

    def _forget_old(self) -> None:
        oldest = time.time() - CODE_SECONDS
        self._codes = {code: grant for code, grant in self._codes.items() if grant.issued > oldest}

    def _answered_before(self, asked: Asked, user: User) -> bool:
        application = asked.application
        if application.trusted:
            return True
        return application.confidential and any(
            token.application_id == application.id
            and not token.revoked
            and set(token.scopes) == set(asked.scopes)
            for token in self._lab.store.tokens.by("user_id", user.id)
        )

    def _asked(self, query: Mapping[str, str]) -> Asked:
        """Check an authorization request. OauthError for what must not be sent back to the client's
        address.
        """
        found = self._lab.store.applications.by("uid", query.get("client_id", ""))
        if not found:
            raise BAD_CLIENT
        application = found[0]
        redirect_uri = query.get("redirect_uri", "")
        if redirect_uri not in application.redirect_uri.split():
            raise OauthError("invalid_redirect_uri", "The redirect URI included is not valid.")
        scopes = query.get("scope", "").split() or application.scopes[:1]
        if set(scopes) - set(application.scopes):
            raise OauthError("invalid_scope", "The requested scope is invalid, unknown, or malformed.")
        if query.get("response_type") != "code":
            raise OauthError(
                "unsupported_response_type", "The authorization server does not support this response type."
            )
        challenge = query.get("code_challenge", "")
        method = query.get("code_challenge_method", "plain" if challenge else "")
        if challenge and method not in ("S256", "plain"):
            raise OauthError(
                "invalid_code_challenge_method", "The code challenge method must be plain or S256."
            )
        state, nonce = query.get("state", ""), query.get("nonce", "")
        return Asked(application, redirect_uri, scopes, state, nonce, challenge, method)
