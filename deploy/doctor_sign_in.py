"""The doctor's look at signing in: whether GitLab knows the application, and whether sessions are safe."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from deploy.finding import Finding
from orchestrator.settings import Settings
from web.sign_in import back_url

_SUBJECT = "sign-in"
_ANSWER_SECONDS = 10.0


def examine_sign_in(settings: Settings) -> Iterator[Finding]:
    """What is wrong with it; where it is not set up there is nothing to be wrong."""
    if not settings.gitlab_application_id:
        yield Finding(_SUBJECT, True, "is not set up: pages can be read, and nothing be done on them")
        return
    yield _application(settings)
    if settings.public_url.startswith("http://") and not _is_here(settings.public_url):
        remedy = "Put the web process behind https and say so in public_url."
        yield Finding(_SUBJECT, False, f"goes over plain http to {settings.public_url}", remedy)
    if not settings.operator_names:
        yield Finding(_SUBJECT, True, "nobody is an operator on the pages (setting operators)")


def _application(settings: Settings) -> Finding:
    """Redeems a code that there is not: who the application is, is looked at before."""
    try:
        with _client(settings) as client:
            issuer = client.get("/.well-known/openid-configuration").raise_for_status().json()["issuer"]
            answer = client.post("/oauth/token", data=_attempt(settings)).json().get("error")
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = f"Look at {settings.gitlab_url}/.well-known/openid-configuration."
        return Finding(
            _SUBJECT, False, f"GitLab does not answer as it should: {type(error).__name__}", remedy
        )
    if issuer != settings.gitlab_url:
        remedy = "Set gitlab_url to the address that GitLab has of itself."
        return Finding(_SUBJECT, False, f"GitLab calls itself {str(issuer)[:200]}", remedy)
    if answer == "invalid_client":
        remedy = "Check the settings gitlab_application_id and gitlab_application_secret."
        return Finding(
            _SUBJECT, False, "GitLab does not know the application, or its secret is wrong", remedy
        )
    return Finding(_SUBJECT, True, "GitLab knows the application")


def _attempt(settings: Settings) -> dict[str, str]:
    secret = settings.gitlab_application_secret
    return {
        "grant_type": "authorization_code",
        "code": "none",
        "redirect_uri": back_url(settings.public_url),
        "client_id": settings.gitlab_application_id,
        "client_secret": secret.get_secret_value() if secret else "",
    }


def _client(settings: Settings) -> httpx.Client:
    authorities = settings.gitlab_ca_file
    return httpx.Client(
        base_url=settings.gitlab_url,
        headers={"User-Agent": settings.user_agent},
        timeout=_ANSWER_SECONDS,
        verify=ssl.create_default_context(cafile=str(authorities) if authorities else None),
        trust_env=False,
    )


def _is_here(url: str) -> bool:
    """True for this machine: what is said to it goes over no wire."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
