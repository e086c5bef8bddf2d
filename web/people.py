"""Who asks, and what they may do: a person from the signed session or a token, rights as GitLab has them now.

A session holds a user's id and name and when it ends, and nothing that GitLab gave out.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Flask, current_app, g, request, session

from orchestrator.errors import BadInput, TryLater
from orchestrator.gitlab import GitLabError
from orchestrator.records import Project
from orchestrator.rights import Rights
from orchestrator.settings import Settings
from orchestrator.signing import session_key
from orchestrator.tokens import Token
from web.parts import parts_of

log = logging.getLogger(__name__)

#: Then one signs in again, however busy one was.
SESSION_SECONDS = 12 * 3600
_EXTENSION = "toolforge_preview_rights"
_KEY = "person"
_TOKEN = "token"  # noqa: S105 - the name of a place
#: So long a GitLab that does not answer is left alone: not every page must wait for it.
_REST_SECONDS = 5.0


@dataclass(frozen=True)
class Person:
    """Somebody who has signed in."""

    #: GitLab's number of the user.
    id: int
    #: The user name.
    name: str


class BadToken(BadInput):
    """The token is none of ours, or has expired or been revoked."""


def install(app: Flask) -> None:
    """Give `app` sessions, and its templates the person who looks."""
    parts = parts_of(app)
    settings = parts.settings
    is_https = settings.public_url.startswith("https://")
    app.secret_key = _session_key(settings)
    app.config.update(
        # With this prefix a browser takes the cookie from this host alone, and not from one beside it.
        SESSION_COOKIE_NAME="__Host-toolforge-preview" if is_https else "toolforge-preview",
        SESSION_COOKIE_SECURE=is_https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH="/",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=SESSION_SECONDS),
    )
    app.extensions[_EXTENSION] = Rights(parts.gitlab, rest_seconds=_REST_SECONDS)
    app.context_processor(_for_templates)


def _session_key(settings: Settings) -> bytes:
    if settings.secret_key is None:
        # Nobody signs in; what needs a key needs none that lasts.
        return secrets.token_bytes(32)
    return session_key(settings.secret_key.get_secret_value(), settings.gitlab_url)


def can_sign_in() -> bool:
    """True where signing in is set up."""
    return bool(parts_of(current_app).settings.gitlab_application_id)


def begin(person: Person, now: float) -> None:
    """Begin a session; whatever the browser brought along is forgotten."""
    session.clear()
    session.permanent = True
    session[_KEY] = {"id": person.id, "name": person.name, "until": now + SESSION_SECONDS}


def person() -> Person | None:
    """Who asks; None for somebody who has not signed in, or too long ago."""
    if _KEY not in g:
        g.setdefault(_KEY, _from_session())
    found: Person | None = g.get(_KEY)
    return found


def take_token() -> Token | None:
    """The token of the request, whose person asks then, whatever session there is; None: there is none.

    Raises :class:`BadToken` for one that does not count.
    """
    given = request.authorization
    if given is None or given.type != "bearer":
        return None
    found = parts_of(current_app).tokens.used(given.token or "", time.time()) if can_sign_in() else None
    if found is None:
        raise BadToken()
    g.setdefault(_TOKEN, found)
    g.setdefault(_KEY, Person(found.user_id, found.user_name))
    return found


def came_with_token() -> bool:
    """True when who asks is known by a token, which no browser sends along by itself."""
    return _TOKEN in g


def _from_session() -> Person | None:
    kept = session.get(_KEY)
    if kept is None or not can_sign_in() or kept["until"] <= time.time():
        return None
    return Person(kept["id"], kept["name"])


def known_person() -> Person:
    """Who asks, in a view that nobody enters without having signed in."""
    found = person()
    if found is None:
        raise RuntimeError("the doors let somebody in who has not signed in")
    return found


def name() -> str:
    """The user name of :func:`known_person`."""
    return known_person().name


def is_known() -> bool:
    """True when the answer was made for somebody in particular; an answer that asked for nobody was not."""
    return g.get(_KEY) is not None


def is_operator() -> bool:
    """True when who asks is on the operators' list.

    Raises :class:`TryLater` when GitLab does not tell; it is asked for those who come with a token.
    """
    found = person()
    if found is None or found.name.lower() not in parts_of(current_app).settings.operator_names:
        return False
    # The list goes by name. A session ends soon; while a token lasts, the name may become somebody else's.
    return not came_with_token() or _told(lambda rights: rights.is_still(found.id, found.name))


def has_level(level: int, project: Project) -> bool:
    """True when who asks has this access level of GitLab's in the project, or a higher one.

    Raises :class:`TryLater` when GitLab does not tell.
    """
    found = person()
    if found is None or project.is_ours:
        # Of what is ours GitLab knows nothing.
        return False
    return _told(lambda rights: rights.level(project.gitlab_id, found.id) >= level)


def _told(ask: Callable[[Rights], bool]) -> bool:
    rights: Rights = current_app.extensions[_EXTENSION]
    try:
        return ask(rights)
    except TryLater:
        raise
    except GitLabError as error:
        log.warning("GitLab does not tell rights: %s", error)
        raise TryLater("GitLab does not tell who has which rights") from None


def _for_templates() -> dict[str, Any]:
    return {
        "person": person(),
        "is_operator": is_operator(),
        "can_sign_in": can_sign_in(),
        "sees_all": parts_of(current_app).settings.public_pages or is_operator(),
    }
