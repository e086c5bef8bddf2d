"""Signing in with GitLab: OAuth 2 authorization code with PKCE, and OpenID Connect on top.

People are asked by :mod:`deploy.local.gitlab.consent`; here are the addresses that programs call. Errors are
Doorkeeper's, GitLab's OAuth library. Codes live ten minutes and are used once; access tokens live two hours.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from deploy.local.gitlab import auth, claims
from deploy.local.gitlab.answers import answer
from deploy.local.gitlab.consent import Consent
from deploy.local.gitlab.model import Application, Token, User
from deploy.local.gitlab.oauth_errors import BAD_CLIENT, BAD_GRANT, OauthError
from deploy.local.gitlab.sign_in import SignIn
from deploy.local.gitlab.signing import SigningKey

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

TOKEN_SECONDS = 7200
ID_TOKEN_SECONDS = 120


class Oidc:
    """The provider's endpoints."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._sign_in = SignIn(lab)
        self._consent = Consent(lab, self._sign_in)
        self._key = SigningKey(lab.state / "oidc-key.pem")

    def add_to(self, app: web.Application) -> None:
        """Put the addresses on the application; each is an operation for faults, as `GET /oauth/userinfo`."""
        self._sign_in.add_to(app)
        for method, path, handler in (
            ("GET", "/.well-known/openid-configuration", self._discovery),
            ("GET", "/oauth/discovery/keys", self._keys),
            ("GET", "/oauth/authorize", self._consent.show),
            ("POST", "/oauth/authorize", self._consent.answer),
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

    async def _token(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        application = self._client(request, form)
        kind = form.get("grant_type")
        if kind == "authorization_code":
            grant = self._consent.redeem(application, form)
            user, asked = self._lab.store.users[grant.user_id], grant.asked
            more = {"auth_time": grant.signed_in, **({"nonce": asked.nonce} if asked.nonce else {})}
            return web.json_response(self._tokens(application, user, asked.scopes, more))
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
                raise BAD_CLIENT from None
        found = self._lab.store.applications.by("uid", uid)
        if not found:
            raise BAD_CLIENT
        wrong = not hmac.compare_digest(secret.encode(), found[0].secret.encode())
        if wrong and (found[0].confidential or secret):
            raise BAD_CLIENT
        return found[0]

    def _refreshed(self, application: Application, secret: str) -> dict[str, Any]:
        for token in self._lab.store.tokens:
            if secret and token.refresh_secret == secret and token.application_id == application.id:
                if token.revoked:
                    break
                token.revoked = True
                self._lab.store.tokens.save(token)
                return self._tokens(application, self._lab.store.users[token.user_id], token.scopes, {})
        raise BAD_GRANT

    def _tokens(
        self, application: Application, user: User, scopes: list[str], more: dict[str, Any]
    ) -> dict[str, Any]:
        """The answer of the token address; `more`: what the id token tells of the signing in."""
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
            answered["id_token"] = self._id_token(application, token, user, more)
        return answered

    def _id_token(self, application: Application, token: Token, user: User, more: dict[str, Any]) -> str:
        moment = int(time.time())
        return self._key.sign(
            {
                "iss": self._lab.url,
                "sub": str(user.id),
                "aud": application.uid,
                "exp": moment + ID_TOKEN_SECONDS,
                "iat": moment,
                **more,
                **claims.id_token(self._lab, user, token.scopes),
            }
        )

    async def _userinfo(self, request: web.Request) -> web.Response:
        secret = auth.secret_from(request.headers, {})
        try:
            identity = auth.find(self._lab.store, secret or "")
        except auth.BadToken as problem:
            description = str(problem) or "The access token is invalid"
            raise OauthError("invalid_token", description, 401) from None
        if "openid" not in identity.token.scopes:
            raise OauthError("insufficient_scope", "The access token lacks the scope openid.", 403)
        return web.json_response(claims.userinfo(self._lab, identity.user, identity.token.scopes))

    async def _revoke(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        application = self._client(request, form)
        for token in self._lab.store.tokens.by("secret", form.get("token", "")):
            if token.application_id == application.id:
                token.revoked = True
                self._lab.store.tokens.save(token)
        return web.json_response({})
