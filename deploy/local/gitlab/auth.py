"""Who is asking, and what they may do.

Tokens come as `PRIVATE-TOKEN`, `Authorization: Bearer` or (for git) the password of basic authentication.
Rights are the highest of what a project's own members and its group's members say (GitLab inherits
downwards).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from deploy.local.gitlab.model import AccessLevel, Member, Project, Token, User
from deploy.local.gitlab.store import Store

READ_SCOPES = frozenset({"api", "read_api"})
# Every scope that a token may be made with (GitLab REST, "Token scopes").
KNOWN_SCOPES = frozenset(
    {
        "api", "read_api", "read_user", "read_repository", "write_repository", "sudo", "admin_mode",
        "read_registry", "write_registry", "create_runner", "manage_runner", "ai_features", "k8s_proxy",
        "openid", "profile", "email", "read_observability", "write_observability", "self_rotate",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Identity:
    """A user together with the token that they came with."""

    user: User
    token: Token


class BadToken(Exception):
    """The token cannot be used; the message is what GitLab says."""


def expired(token: Token) -> bool:
    """Whether a token's last day (a date, as for access tokens) or moment (OAuth) has passed."""
    if token.expires_at is None:
        return False
    if len(token.expires_at) == 10:
        return token.expires_at <= datetime.now(UTC).date().isoformat()
    return token.expires_at <= datetime.now(UTC).isoformat()


def find(store: Store, secret: str) -> Identity:
    """The holder of a token; BadToken with GitLab's text when it is unknown, revoked or expired."""
    found = store.tokens.by("secret", secret)
    if not found:
        raise BadToken("")
    token = found[0]
    if token.revoked:
        raise BadToken("Token was revoked. You have to re-authorize from the user.")
    if expired(token):
        raise BadToken("Token is expired. You can either do re-authorization or token refresh.")
    return Identity(store.users[token.user_id], token)


def secret_from(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """The token of an API request, or None when it carries none."""
    secret = headers.get("PRIVATE-TOKEN")
    if secret:
        return secret
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    return query.get("private_token") or query.get("access_token")


def basic_password(headers: Mapping[str, str]) -> str | None:
    """The password of basic authentication: git clients send the token there, under any user name."""
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return decoded.partition(":")[2]


def memberships(store: Store, project: Project) -> list[Member]:
    """Direct members, then the group's, as they count for a project."""
    return store.members.by("source", f"project:{project.id}") + store.members.by(
        "source", f"group:{project.namespace}"
    )


def membership(store: Store, project: Project, user_id: int) -> Member | None:
    """The membership with the most rights that a user has in a project, inherited ones too."""
    found = [member for member in memberships(store, project) if member.user_id == user_id]
    return max(found, key=lambda member: member.access_level, default=None)


def level(store: Store, project: Project, user: User | None) -> int:
    """A user's access level in a project; administrators and owners of the namespace have all of it."""
    if user is None:
        return AccessLevel.NONE
    if user.admin or project.namespace == user.username:
        return AccessLevel.OWNER
    member = membership(store, project, user.id)
    return member.access_level if member else AccessLevel.NONE


def can_read(store: Store, project: Project, user: User | None) -> bool:
    """Whether a project can be seen: public by all, internal by the signed in, private by members."""
    if project.visibility == "public":
        return True
    if user is None:
        return False
    return project.visibility == "internal" or level(store, project, user) > AccessLevel.NONE


def can_push(store: Store, project: Project, identity: Identity) -> bool:
    """Whether a token may push: a Developer or above, with `api` or `write_repository`."""
    if not {"api", "write_repository"} & set(identity.token.scopes):
        return False
    return level(store, project, identity.user) >= AccessLevel.DEVELOPER


def can_fetch(store: Store, project: Project, identity: Identity) -> bool:
    """Whether a token may fetch from a project that its user can read."""
    scopes = {"api", "read_api", "read_repository", "write_repository"}
    return bool(scopes & set(identity.token.scopes)) and can_read(store, project, identity.user)
