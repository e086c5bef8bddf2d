"""Signing in with GitLab: OAuth 2 authorization code with PKCE, and OpenID Connect on top.

The sign-in page lets one choose any local user (there are no passwords on this machine). Errors are
Doorkeeper's, GitLab's OAuth library. Codes live ten minutes and are used once; access tokens live two
hours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from deploy.local.gitlab import auth
from deploy.local.gitlab.answers import answer
from deploy.local.gitlab.model import Application, Token, User
from deploy.local.gitlab.signing import SigningKey, base64url
from deploy.local.gitlab.templates import OPEN_POLICY, csrf_cookie, csrf_holds, page

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

CODE_SECONDS = 600
TOKEN_SECONDS = 7200
ID_TOKEN_SECONDS = 120


class OauthError(Exception):
    """An error of the protocol: its code and the sentence that goes with it."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(code)
        self.body = {"error": code, "error_description": description}
        self.status = status


_BAD_GRANT = OauthError(
    "invalid_grant",
    "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used "
    "in the authorization request, or was issued to another client.",
)
_BAD_CLIENT = OauthError(
    "invalid_client",
    "Client authentication failed due to unknown client, no client authentication included, or unsupported "
    "authentication method.",
    401,
)


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


@dataclass(frozen=True, slots=True)
class Grant:
    """What a code stands for."""

    asked: Asked
    user_id: int
    issued: float


class Oidc:
    """The provider's endpoints."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._codes: dict[str, Grant] = {}
        self._key = SigningKey(lab.state / "oidc-key.pem")

    def add_to(self, app: web.Application) -> None:
        """Put the addresses on the application; each is an operation for faults, as `GET /oauth/userinfo`."""
        for method, path, handler in (
            ("GET", "/.well-known/openid-configuration", self._discovery),
            ("GET", "/oauth/discovery/keys", self._keys),
            ("GET", "/oauth/authorize", self._authorize),
            ("POST", "/oauth/authorize", self._chosen),
            ("POST", "/oauth/token", self._token),
            ("POST", "/oauth/revoke", self._revoke),
            ("GET", "/oauth/userinfo", self._userinfo),
            ("POST", "/oauth/userinfo", self._userinfo),
        ):
            app.router.add_route(method, path, self._wrapped(f"{method} {path}", handler))

    def _wrapped(self, operation: str, handler: Any) -> Any:
        async def wrapped(request: web.Request) -> web.StreamResponse:
            async def work() -> web.StreamResponse:
                try:
                    response: web.StreamResponse = await handler(request)
                except OauthError as error:
                    return web.json_response(error.body, status=error.status)
                return response

            return await answer(self._lab, request, operation, work)

        return wrapped

    async def _discovery(self, request: web.Request) -> web.Response:
        url = self._lab.url
        return web.json_response(
            {
                "issuer": url,
                "authorization_endpoint": f"{url}/oauth/authorize",
                "token_endpoint": f"{url}/oauth/token",
                "revocation_endpoint": f"{url}/oauth/revoke",
                "userinfo_endpoint": f"{url}/oauth/userinfo",
                "jwks_uri": f"{url}/oauth/discovery/keys",
                "scopes_supported": sorted(auth.KNOWN_SCOPES),
                "response_types_supported": ["code"],
                "response_modes_supported": ["query", "fragment", "form_post"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "claim_types_supported": ["normal"],
                "claims_supported": [
                    "iss", "sub", "aud", "exp", "iat", "sub_legacy", "name", "nickname", "preferred_username",
                    "email", "email_verified", "website", "profile", "picture", "groups", "groups_direct",
                ],
                "code_challenge_methods_supported": ["plain", "S256"],
            }
        )  # fmt: skip

    async def _keys(self, request: web.Request) -> web.Response:
        return web.json_response({"keys": [self._key.public()]})

    def _asked(self, query: Any) -> Asked:
        """Check an authorization request. OauthError for what must not be sent back to the client's
        address.
        """
        found = self._lab.store.applications.by("uid", query.get("client_id", ""))
        if not found:
            raise _BAD_CLIENT
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

    async def _authorize(self, request: web.Request) -> web.Response:
        asked = self._asked(request.query)
        users = [user for user in self._lab.store.users if not user.bot]
        return page(
            request,
            "authorize.html",
            asked=asked,
            users=users,
            action=request.rel_url,
            host=urlsplit(asked.redirect_uri).netloc,
            policy=OPEN_POLICY,
        )

    async def _chosen(self, request: web.Request) -> web.Response:
        """Somebody chose who they are: back to the client with a code, or with `access_denied`."""
        asked = self._asked(request.query)
        form = await request.post()
        if not csrf_holds(request, form):
            return web.Response(status=422, text="The form is too old. Go back and try again.\n")
        user = self._lab.find_user(str(form.get("user", "")))
        answered = {"state": asked.state} if asked.state else {}
        if form.get("decision") != "authorize" or user is None:
            answered |= {
                "error": "access_denied",
                "error_description": "The resource owner or authorization server denied the request.",
            }
        else:
            code = secrets.token_hex(32)
            self._forget_old()
            self._codes[code] = Grant(asked, user.id, time.time())
            answered["code"] = code
        joint = "&" if "?" in asked.redirect_uri else "?"
        response = web.Response(
            status=302, headers={"Location": asked.redirect_uri + joint + urlencode(answered)}
        )
        csrf_cookie(request, response)
        return response

    def _forget_old(self) -> None:
        oldest = time.time() - CODE_SECONDS
        self._codes = {code: grant for code, grant in self._codes.items() if grant.issued > oldest}

    async def _token(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        application = self._client(request, form)
        kind = form.get("grant_type")
        if kind == "authorization_code":
            grant = self._redeem(application, form)
            user, asked = self._lab.store.users[grant.user_id], grant.asked
            return web.json_response(self._tokens(application, user, asked.scopes, asked.nonce))
        if kind == "refresh_token":
            return web.json_response(self._refreshed(application, form.get("refresh_token", "")))
        raise OauthError(
            "unsupported_grant_type",
            "The authorization grant type is not supported by the authorization server.",
        )

    def _client(self, request: web.Request, form: dict[str, str]) -> Application:
        """The client of a token request, by basic authentication or by the form's fields."""
        uid, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                uid, _, secret = base64.b64decode(encoded).decode().partition(":")
            except ValueError:
                raise _BAD_CLIENT from None
        found = self._lab.store.applications.by("uid", uid)
        if not found:
            raise _BAD_CLIENT
        wrong = not hmac.compare_digest(secret.encode(), found[0].secret.encode())
        if wrong and (found[0].confidential or secret):
            raise _BAD_CLIENT
        return found[0]

    def _redeem(self, application: Application, form: dict[str, str]) -> Grant:
        self._forget_old()
        grant = self._codes.pop(form.get("code", ""), None)
        if grant is None or grant.asked.application.id != application.id:
            raise _BAD_GRANT
        if form.get("redirect_uri") != grant.asked.redirect_uri:
            raise _BAD_GRANT
        if not _verified(grant.asked, form.get("code_verifier", "")):
            raise _BAD_GRANT
        if not application.confidential and not grant.asked.challenge:
            raise _BAD_GRANT
        return grant

    def _refreshed(self, application: Application, secret: str) -> dict[str, Any]:
        for token in self._lab.store.tokens:
            if secret and token.refresh_secret == secret and token.application_id == application.id:
                if token.revoked:
                    break
                token.revoked = True
                self._lab.store.tokens.save(token)
                return self._tokens(application, self._lab.store.users[token.user_id], token.scopes, "")
        raise _BAD_GRANT

    def _tokens(self, application: Application, user: User, scopes: list[str], nonce: str) -> dict[str, Any]:
        expires = datetime.now(UTC) + timedelta(seconds=TOKEN_SECONDS)
        token = self._lab.store.tokens.insert(
            user_id=user.id,
            name=application.name,
            secret=secrets.token_hex(32),
            refresh_secret=secrets.token_hex(32),
            scopes=scopes,
            kind="oauth",
            application_id=application.id,
            expires_at=expires.isoformat(),
        )
        answered = {
            "access_token": token.secret,
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "refresh_token": token.refresh_secret,
            "scope": " ".join(scopes),
            "created_at": int(time.time()),
        }
        if "openid" in scopes:
            answered["id_token"] = self._id_token(application, token, user, nonce)
        return answered

    def _id_token(self, application: Application, token: Token, user: User, nonce: str) -> str:
        moment = int(time.time())
        claims = {
            "iss": self._lab.url,
            "sub": str(user.id),
            "aud": application.uid,
            "exp": moment + ID_TOKEN_SECONDS,
            "iat": moment,
            "auth_time": moment,
            **({"nonce": nonce} if nonce else {}),
            **self._claims(user, token.scopes),
        }
        return self._key.sign(claims)

    def _claims(self, user: User, scopes: list[str]) -> dict[str, Any]:
        claims: dict[str, Any] = {"sub_legacy": hashlib.sha256(f"{user.id}-local".encode()).hexdigest()}
        if "profile" in scopes or "read_user" in scopes:
            claims |= {
                "name": user.name,
                "nickname": user.username,
                "preferred_username": user.username,
                "profile": f"{self._lab.url}/{user.username}",
                "picture": None,
            }
        if "email" in scopes:
            claims |= {"email": user.email, "email_verified": True}
        groups = [
            member.source.removeprefix("group:")
            for member in self._lab.store.members.by("user_id", user.id)
            if member.source.startswith("group:")
        ]
        return {**claims, "groups_direct": groups}

    async def _userinfo(self, request: web.Request) -> web.Response:
        secret = auth.secret_from(request.headers, {})
        try:
            identity = auth.find(self._lab.store, secret or "")
        except auth.BadToken as problem:
            description = str(problem) or "The access token is invalid"
            raise OauthError("invalid_token", description, 401) from None
        if "openid" not in identity.token.scopes:
            raise OauthError("insufficient_scope", "The access token lacks the scope openid.", 403)
        user = identity.user
        return web.json_response({"sub": str(user.id), **self._claims(user, identity.token.scopes)})

    async def _revoke(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        application = self._client(request, form)
        for token in self._lab.store.tokens.by("secret", form.get("token", "")):
            if token.application_id == application.id:
                token.revoked = True
                self._lab.store.tokens.save(token)
        return web.json_response({})


def _verified(asked: Asked, verifier: str) -> bool:
    """PKCE: whether who redeems the code is who asked for it."""
    if not asked.challenge:
        return True
    shown = verifier
    if asked.method == "S256":
        shown = base64url(hashlib.sha256(verifier.encode()).digest())
    return hmac.compare_digest(shown.encode(), asked.challenge.encode())
