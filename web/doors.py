"""What every answer forbids and allows: no foreign origin, no inline script or style, no frame; what is kept.

The pages show text that strangers wrote; should an escape ever be missed, it still must not run.
"""

from __future__ import annotations

from flask import Flask, Response, current_app, request

from orchestrator.errors import BadInput
from web.parts import parts_of

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_KEPT_SECONDS = 365 * 86400
#: Where people look without signing in, if the setting lets them.
_PUBLIC = frozenset({"pages", "audit", "live", "logs", "api"})


class NotPublic(BadInput):
    """The pages of this installation are not public."""


def install(app: Flask) -> None:
    """Put the doors in."""
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = _KEPT_SECONDS
    app.before_request(_let_in)
    app.after_request(_close)


def _let_in() -> None:
    is_public = parts_of(current_app).settings.public_pages
    if request.blueprint in _PUBLIC and not is_public:
        raise NotPublic("The pages of this installation are not public.")


def _close(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("Content-Security-Policy", _POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
    if parts_of(current_app).settings.public_url.startswith("https://"):
        headers.setdefault("Strict-Transport-Security", f"max-age={_KEPT_SECONDS}; includeSubDomains")
    if request.endpoint != "static" and response.status_code == 200 and not response.is_streamed:
        # Asked again, a page that has not changed costs a few bytes.
        headers.setdefault("Cache-Control", "no-cache")
        response.add_etag()
        response.make_conditional(request)
    return response
