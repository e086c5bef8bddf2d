"""HTML pages: the templates, the headers that keep them harmless, and the forms' tokens.

A form carries the token of a cookie that other sites can neither read nor send along.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from aiohttp import web
from markupsafe import Markup

from deploy.local.gitlab import markdown
from deploy.local.gitlab.emoji import EMOJI

COOKIE = "local_gitlab_csrf"
_FOLDER = Path(__file__).parent / "html"
#: For a form that leads to another site in the end (signing in), as GitLab's own policy lets all forms do
#: (`lib/gitlab/content_security_policy/config_loader.rb`); the usual one keeps forms at home.
OPEN_POLICY = "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'"
POLICY = OPEN_POLICY + "; form-action 'self'"
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


def _ago(moment: str) -> str:
    """How long ago a moment was, in the largest unit."""
    then = datetime.fromisoformat(moment)
    seconds = max(0, int((datetime.now(UTC) - then).total_seconds()))
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


_ENVIRONMENT.filters["ago"] = _ago
_ENVIRONMENT.filters["markdown"] = lambda text: Markup(markdown.render(text))  # noqa: S704 - render() sanitises
_ENVIRONMENT.filters["emoji"] = lambda name: EMOJI.get(name, f":{name}:")
_ENVIRONMENT.filters["web_link"] = lambda url: url if str(url).startswith(("http://", "https://")) else ""


def page(
    request: web.Request, template: str, status: int = 200, policy: str = POLICY, **values: Any
) -> web.Response:
    """A rendered page."""
    token = request.cookies.get(COOKIE) or secrets.token_urlsafe(24)
    text = _ENVIRONMENT.get_template(template).render(csrf=token, **values)
    response = web.Response(status=status, text=text, content_type="text/html")
    response.headers["Content-Security-Policy"] = policy
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if COOKIE not in request.cookies:
        response.set_cookie(COOKIE, token, httponly=True, samesite="Lax", path="/")
    return response


def csrf_cookie(request: web.Request, response: web.Response) -> None:
    """Renew the forms' token after it was used to sign in."""
    response.set_cookie(COOKIE, secrets.token_urlsafe(24), httponly=True, samesite="Lax", path="/")


def csrf_holds(request: web.Request, form: Mapping[str, Any]) -> bool:
    """Whether a form was filled in on a page of ours."""
    cookie, given = request.cookies.get(COOKIE, ""), str(form.get("csrf", ""))
    return bool(cookie) and hmac.compare_digest(cookie.encode(), given.encode())


def stylesheet() -> str:
    """The one style sheet."""
    return (_FOLDER / "style.css").read_text()
