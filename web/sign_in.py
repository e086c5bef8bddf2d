"""Signing in with GitLab: OpenID Connect by Authlib, with PKCE, state and nonce. Signing out.

What GitLab gives out is looked at once, for the user's number and name, and not kept.
"""

from __future__ import annotations

import logging
import ssl
import time
from typing import Any

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.flask_client import OAuth
from flask import (
    Blueprint,
    Flask,
    abort,
    current_app,
    flash,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from joserfc.errors import JoseError
from requests import RequestException

from orchestrator.errors import TryLater
from orchestrator.settings import Settings
from web import people
from web.parts import parts_of
from web.people import Person

log = logging.getLogger(__name__)
blueprint = Blueprint("sign_in", __name__)

_EXTENSION = "toolforge_preview_gitlab"
_PATH = "/sign-in/gitlab"
#: Where to go on afterwards, in the session.
_NEXT = "next"
#: Somebody who begins in several tabs can end in the newest of them; a cookie holds no more.
_MOST_BEGUN = 3
_BEGUN = "_state_gitlab_"
_ANSWER_SECONDS = 10.0
#: GitLab is away, or what it says has not the form that it should have.
_ODD = (RequestException, ValueError, LookupError, TypeError, AttributeError, RuntimeError)
_LONGEST_PLACE = 500


def back_url(public_url: str) -> str:
    """Where GitLab sends people back to; its application has to name it."""
    return f"{public_url}{_PATH}"


def install(app: Flask) -> None:
    """Give `app` its client of GitLab's, where signing in is set up."""
    app.context_processor(lambda: {"here": here()})
    settings = parts_of(app).settings
    if not settings.gitlab_application_id or settings.gitlab_application_secret is None:
        return
    oauth = OAuth(app)
    app.extensions[_EXTENSION] = oauth.register(
        "gitlab",
        client_id=settings.gitlab_application_id,
        client_secret=settings.gitlab_application_secret.get_secret_value(),
        server_metadata_url=f"{settings.gitlab_url}/.well-known/openid-configuration",
        user_agent=settings.user_agent,
        client_kwargs={
            # Who it is, and nothing else: rights are asked for with our own token.
            "scope": "openid",
            "code_challenge_method": "S256",
            "default_timeout": _ANSWER_SECONDS,
            "verify": _authorities(settings),
            # The environment must not be able to send the secret through a proxy.
            "trust_env": False,
        },
    )


def _authorities(settings: Settings) -> str | bool:
    """The file or folder of the certificate authorities that GitLab is believed by."""
    usual = ssl.get_default_verify_paths()
    return str(settings.gitlab_ca_file or usual.cafile or usual.capath or "") or True


def own_page(address: str) -> str:
    """`address` if it is the path of a page of ours, else the first page's: nobody is sent elsewhere."""
    # Two slashes begin a host; browsers read a backslash as a slash, and pass over line breaks and tabs.
    is_path = address.startswith("/") and address[1:2] not in {"/", "\\"} and address.isprintable()
    return address if is_path and len(address) <= _LONGEST_PLACE else url_for("pages.overview")


def here() -> str:
    """The page that somebody looks at, or that has sent the form: where to go on after signing in."""
    if request.method == "GET":
        return request.full_path.removesuffix("?")
    own, sender = parts_of(current_app).settings.public_url, request.referrer or ""
    return sender.removeprefix(own) if sender.startswith(f"{own}/") else ""


@blueprint.get("/sign-in")
def begin() -> ResponseReturnValue:
    """Send somebody to GitLab, and after that to the page ``?next=`` of ours."""
    client = _client()
    begun = {name: value for name, value in session.items() if name.startswith(_BEGUN)}
    for name in sorted(begun, key=lambda name: float(begun[name]["exp"]))[: 1 - _MOST_BEGUN]:
        del session[name]
    session[_NEXT] = own_page(request.args.get("next", ""))
    try:
        answer: ResponseReturnValue = client.authorize_redirect(
            back_url(parts_of(current_app).settings.public_url)
        )
    except _ODD as error:
        raise _away(client, error) from None
    return answer


@blueprint.get(_PATH)
def come_back() -> ResponseReturnValue:
    """GitLab has sent somebody back; who it is it tells us itself."""
    client = _client()
    try:
        token = client.authorize_access_token()
        found = _person(client, token)
    except (AuthlibBaseError, JoseError) as error:
        log.warning("somebody could not sign in: %s", getattr(error, "error", type(error).__name__))
        has_refused = request.args.get("error") == "access_denied"
        return render_template("not_signed_in.html", has_refused=has_refused), 403
    except _ODD as error:
        raise _away(client, error) from None
    place = own_page(str(session.get(_NEXT, "")))
    people.begin(found, time.time())
    return redirect(place, 303)


def _person(client: Any, token: dict[str, Any]) -> Person:
    """Whom a token is of; the id token, which is checked, says the number, GitLab itself the name."""
    claims = token.get("userinfo")
    told = client.userinfo(token=token)
    if claims is None or str(told.get("sub")) != str(claims["sub"]):
        raise AuthlibBaseError(error="wrong_user")
    number, name = str(claims["sub"]), told.get("nickname")
    if not (number.isascii() and number.isdigit()) or not isinstance(name, str) or not name:
        raise AuthlibBaseError(error="no_user")
    return Person(int(number), name[:255])


@blueprint.post("/sign-out")
def end() -> ResponseReturnValue:
    """Forget who it was."""
    session.clear()
    flash("You are signed out here. At GitLab you still are signed in.", "success")
    return redirect(url_for("pages.overview"), 303)


def _client() -> Any:
    client = current_app.extensions.get(_EXTENSION)
    if client is None:
        abort(404)
    return client


def _away(client: Any, error: Exception) -> TryLater:
    # What it said of itself may have been wrong for a moment: next time it is asked anew.
    client.server_metadata.pop("_loaded_at", None)
    log.warning("GitLab cannot be asked who somebody is: %s", type(error).__name__)
    return TryLater("GitLab does not answer")
