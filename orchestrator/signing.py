"""Whether GitLab sent a delivery: by its secret token, or its signature (Standard Webhooks); keys. Pure.

The key of a project's signatures is derived from the installation's own secret, so that no database holds it.
The newest secret and key of a project always count, older ones while a change is under way.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.records import Project

#: A signature that is older, or from further in the future, is a replay or a wrong clock. The
#: specification (github.com/standard-webhooks) recommends a tolerance and its libraries have five minutes.
TOLERANCE_SECONDS = 300.0
_TOKEN_HEADER = "x-gitlab-token"  # noqa: S105 - the name of a header
_SIGNATURE_HEADER = "webhook-signature"
_MOMENT = re.compile(r"[0-9]{1,12}")
#: While a sender rotates its keys it may send several.
_MOST_SIGNATURES = 10


def digest(token: str) -> str:
    """What is kept of a secret token: to compare is all that it is needed for."""
    return hashlib.sha256(token.encode()).hexdigest()


def signing_key(secret_key: str, gitlab_id: int, generation: int) -> bytes:
    """The key with which GitLab signs the deliveries of a project, changed with each `generation`."""
    purpose = f"gitlab-webhook:{gitlab_id}:{generation}"
    return hmac.digest(secret_key.encode(), purpose.encode(), "sha256")


def signing_token(key: bytes) -> str:
    """The key in the form in which GitLab takes it."""
    return f"whsec_{base64.b64encode(key).decode()}"


def session_key(secret_key: str, gitlab_url: str) -> bytes:
    """The key that signs the sessions of people; they are people of one GitLab."""
    return hmac.digest(secret_key.encode(), f"web-session:{gitlab_url}".encode(), "sha256")


@dataclass(frozen=True)
class Trusted:
    """What proves that GitLab sent it: a signature by one of the keys, or a token with one of the digests."""

    keys: Sequence[bytes]
    digests: Sequence[str]


def trusted(project: Project, secret_key: str | None, now: float) -> Trusted:
    """What proves it for a project just now.

    Where GitLab signs, a token alone proves nothing: it could be read where a signature cannot be made. While
    it has only just begun to sign, deliveries without a signature are still on their way.
    """
    is_changing = project.old_secrets_until is not None and now < project.old_secrets_until
    counting = None if is_changing else 1
    generations = project.signing[:counting] if secret_key else ()
    has_begun = is_changing and len(project.signing) == 1
    return Trusted(
        keys=[signing_key(secret_key or "", project.gitlab_id, one) for one in generations],
        digests=project.secret_digests[:counting] if has_begun or not generations else (),
    )


def refusal(trusted: Trusted, headers: Mapping[str, str], body: bytes, now: float) -> str | None:
    """Why a delivery is not believed to be GitLab's; None when it is. `headers` have names in lower case.

    Every key and every digest is compared, so that the time tells nothing about which one fits.
    """
    if trusted.keys and (_SIGNATURE_HEADER in headers or not trusted.digests):
        return _signature_refusal(trusted.keys, headers, body, now)
    given = digest(headers.get(_TOKEN_HEADER, ""))
    fits = [hmac.compare_digest(given, known) for known in trusted.digests]
    return None if any(fits) else "The secret token in X-Gitlab-Token is wrong or missing."


def _signature_refusal(
    keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: float
) -> str | None:
    moment = headers.get("webhook-timestamp", "")
    if not _MOMENT.fullmatch(moment) or abs(now - int(moment)) > TOLERANCE_SECONDS:
        return "The webhook-timestamp is missing, or too far from this machine's clock."
    signed = f"{headers.get('webhook-id', '')}.{moment}.".encode("utf-8", "replace") + body
    given = headers.get(_SIGNATURE_HEADER, "").split()[:_MOST_SIGNATURES]
    expected = [f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}" for key in keys]
    fits = [
        hmac.compare_digest(one.encode("utf-8", "replace"), two.encode()) for one in given for two in expected
    ]
    return None if any(fits) else "The webhook-signature is wrong or missing."
