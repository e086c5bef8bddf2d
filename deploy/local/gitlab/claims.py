"""What GitLab says of a user to whom they sign in (`config/initializers/doorkeeper_openid_connect.rb`).

Everything comes with the scope `openid`; the scope `profile` adds nothing. Names are told by userinfo only,
the id token has the number, the groups, and the address if that was asked for. What is not known is left out.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from deploy.local.gitlab.model import AccessLevel, User

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

_ROLES = (AccessLevel.OWNER, AccessLevel.MAINTAINER, AccessLevel.DEVELOPER)


def id_token(lab: Lab, user: User, scopes: list[str]) -> dict[str, Any]:
    """The claims about a user in an id token, besides `sub`."""
    return {**_both(user, scopes), "groups_direct": [path for path, _ in _groups(lab, user)]}


def userinfo(lab: Lab, user: User, scopes: list[str]) -> dict[str, Any]:
    """The answer of userinfo."""
    groups = _groups(lab, user)
    claims = {
        "sub": str(user.id),
        **_both(user, scopes),
        "name": user.name,
        "nickname": user.username,
        "preferred_username": user.username,
        "profile": f"{lab.url}/{user.username}",
        "groups": [path for path, _ in groups],
    }
    for role in _ROLES:
        paths = [path for path, level in groups if level == role]
        if paths:
            claims[f"https://gitlab.org/claims/groups/{role.name.lower()}"] = paths
    return claims


def _both(user: User, scopes: list[str]) -> dict[str, Any]:
    claims: dict[str, Any] = {"sub_legacy": hashlib.sha256(f"{user.id}-local".encode()).hexdigest()}
    if "email" in scopes:
        claims |= {"email": user.email, "email_verified": True}
    return claims


def _groups(lab: Lab, user: User) -> list[tuple[str, int]]:
    """(path, level) of the groups that somebody is a member of."""
    return [
        (member.source.removeprefix("group:"), member.access_level)
        for member in lab.store.members.by("user_id", user.id)
        if member.source.startswith("group:")
    ]
