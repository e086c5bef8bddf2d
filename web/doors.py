"""Who is let in where; and what every answer forbids: no foreign origin, no inline script or style, no frame.

The pages show text that strangers wrote; should an escape ever be missed, it still must not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, request
from flask_wtf.csrf import CSRFProtect

from orchestrator.errors import BadInput, NotFound
from orchestrator.gitlab import DEVELOPER, MAINTAINER, REPORTER
from orchestrator.records import Project
from orchestrator.tokens import Scope
from web import people, probes, webhook
from web.parts import parts_of

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_KEPT_SECONDS = 365 * 86400
_PORTS = {"http": 80, "https": 443}
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Need(StrEnum):
    """What somebody has to be to be let in; an operator may everything."""

    NOTHING = "nothing"
    #: Anybody where the pages are public; else a Reporter of the project.
    READER = "reader"
    #: Anybody who has signed in.
    PERSON = "person"
    #: The Developer role in the project.
    DEVELOPER = "developer"
    #: The Maintainer role in the project.
    MAINTAINER = "maintainer"
    OPERATOR = "operator"


#: By blueprint. What does not stand here is for operators, so that nothing new is open by mistake.
NEEDS: Mapping[str, Need] = {
    "static": Need.NOTHING,
    "health": Need.NOTHING,
    # Has a token of its own.
    "metrics": Need.NOTHING,
    # GitLab's deliveries prove themselves; badges show nothing where the pages are not public.
    "webhook": Need.NOTHING,
    "badge": Need.NOTHING,
    # Toolforge's build service clones it, and signs in nowhere.
    "probes": Need.NOTHING,
    "sign_in": Need.NOTHING,
    "pages": Need.READER,
    "audit": Need.READER,
    "live": Need.READER,
    "logs": Need.READER,
    "pictures": Need.READER,
    "api": Need.READER,
    "actions": Need.DEVELOPER,
    "api_actions": Need.DEVELOPER,
    "api_settings": Need.MAINTAINER,
    # Everybody sees and changes their own alone.
    "tokens": Need.PERSON,
    # What is set for a project is public nowhere.
    "project_settings": Need.MAINTAINER,
    "operations": Need.OPERATOR,
}

#: Where a token counts; elsewhere it is as if there were none.
BY_TOKEN = frozenset({"api", "api_actions", "api_settings"})
#: What a token must be good for, to be used where this is needed; it opens nothing else.
SCOPES: Mapping[Need, Scope] = {
    Need.READER: Scope.READ,
    Need.DEVELOPER: Scope.ACT,
    Need.MAINTAINER: Scope.SET,
}


class KeptOut(BadInput):
    """Who asks may not do this."""

    def __init__(self, need: Need) -> None:
        super().__init__(f"This needs more rights than you have: {need}.")
        self.need = need


class OutOfScope(BadInput):
    """The token is not good for this."""

    def __init__(self, scope: Scope | None) -> None:
        words = f"the scope '{scope}', which your token does not have" if scope else "more than a token"
        super().__init__(f"This needs {words}.")
        self.scope = scope


class ForeignForm(BadInput):
    """The form does not come from a page of ours, or from one that was made before you signed in."""


def install(app: Flask) -> None:
    """Put the doors in."""
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = _KEPT_SECONDS
    # A token is good for as long as its session; where a form comes from is looked at here.
    # When the token of a form is looked at is decided here, too.
    app.config.update(WTF_CSRF_TIME_LIMIT=None, WTF_CSRF_SSL_STRICT=False, WTF_CSRF_CHECK_DEFAULT=False)
    csrf = CSRFProtect(app)
    app.before_request(_let_in)
    app.before_request(partial(_refuse_foreign_forms, csrf))
    app.after_request(_close)


def _let_in() -> None:
    if request.endpoint is None:
        return
    need = NEEDS.get(request.blueprint or request.endpoint, Need.OPERATOR)
    token = people.take_token() if request.blueprint in BY_TOKEN else None
    if token is not None and SCOPES.get(need) not in token.scopes:
        raise OutOfScope(SCOPES.get(need))
    if not _is_met(need):
        raise KeptOut(need)


def _is_met(need: Need) -> bool:
    match need:
        case Need.NOTHING:
            return True
        case Need.READER if parts_of(current_app).settings.public_pages:
            return True
        case Need.READER:
            return people.is_operator() or _is_met_in_project(REPORTER)
        case Need.PERSON:
            return people.person() is not None
        case Need.DEVELOPER:
            return people.is_operator() or _is_met_in_project(DEVELOPER)
        case Need.MAINTAINER:
            return people.is_operator() or _is_met_in_project(MAINTAINER)
        case Need.OPERATOR:
            return people.is_operator()


def _is_met_in_project(level: int) -> bool:
    if people.person() is None:
        return False
    project = _asked_about()
    return project is not None and people.has_level(level, project)


def _asked_about() -> Project | None:
    """The project that an address names, and that all of its answer is about."""
    path = (request.view_args or {}).get("project")
    deployment_id = (request.view_args or {}).get("deployment_id")
    preview_id = request.args.get("preview", type=int) if request.endpoint == "live.live" else None
    with parts_of(current_app).store.read() as tx:
        if isinstance(path, str):
            return tx.project_at(path)
        try:
            if isinstance(deployment_id, int) and 0 < deployment_id < 2**31:
                preview_id = tx.deployment(deployment_id).preview_id
            if preview_id is None or not 0 < preview_id < 2**31:
                return None
            return tx.project(tx.preview(preview_id).project_id)
        except NotFound:
            return None


def _refuse_foreign_forms(csrf: CSRFProtect) -> None:
    """Browsers say from where a form was sent, and a form of ours has a token.

    Deliveries prove themselves, and the bearer of an API token has been given it: no browser sends one along.
    Who clones the probes changes nothing.
    """
    if request.method in _SAFE or request.endpoint is None:
        return
    is_no_form = request.blueprint in {webhook.blueprint.name, probes.blueprint.name}
    if is_no_form or people.came_with_token():
        return
    origin = request.headers.get("Origin")
    if origin is not None and _origin(origin) != _origin(parts_of(current_app).settings.public_url):
        raise ForeignForm()
    csrf.protect()


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port, as browsers compare them; None for what has none."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None


def _close(response: Response) -> Response:
    headers, settings = response.headers, parts_of(current_app).settings
    headers.setdefault("Content-Security-Policy", _POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
    if settings.public_url.startswith("https://"):
        headers.setdefault("Strict-Transport-Security", f"max-age={_KEPT_SECONDS}; includeSubDomains")
    if request.endpoint != "static" and response.status_code == 200 and not response.is_streamed:
        # Asked again, a page that has not changed costs a few bytes.
        headers.setdefault("Cache-Control", "private, no-cache" if people.is_known() else "no-cache")
        response.add_etag()
        response.make_conditional(request)
    return response
