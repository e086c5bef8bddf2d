"""Users, access tokens and OAuth applications."""

from __future__ import annotations

import re
import secrets
from typing import Any

from deploy.local.gitlab import auth, present
from deploy.local.gitlab.api.call import NO_CONTENT, Call, Reply
from deploy.local.gitlab.api.errors import ApiError, bad_parameter, bad_request, forbidden, not_found
from deploy.local.gitlab.api.routes import routes
from deploy.local.gitlab.model import AccessLevel, Token, User
from deploy.local.gitlab.webhooks import VERSION

USERNAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,254}")
ANY_SCOPE = tuple(auth.KNOWN_SCOPES)


@routes.route("GET /version")
@routes.route("GET /metadata")
async def version(call: Call) -> Any:
    return {"version": VERSION, "revision": "local", "enterprise": False}


@routes.route("GET /user", scopes=("read_user",))
async def current(call: Call) -> Any:
    return present.full_user(call.lab, call.user)


@routes.route("GET /users", scopes=("read_user",))
async def list_users(call: Call) -> Any:
    users = sorted(call.lab.store.users, key=lambda user: -user.id)
    username, search = call.text("username"), call.text("search").lower()
    if username:
        users = [user for user in users if user.username.lower() == username.lower()]
    if search:
        users = [user for user in users if search in user.username.lower() or search in user.name.lower()]
    return call.page(users, lambda user: present.user(call.lab, user.id))


@routes.route("GET /users/:user_id", scopes=("read_user",))
async def show_user(call: Call) -> Any:
    user = _user(call)
    asker = call.user
    if asker.admin or asker.id == user.id:
        return present.full_user(call.lab, user)
    return present.user(call.lab, user.id)


@routes.route("POST /users", who="admin")
async def create_user(call: Call) -> Any:
    email, name, username = (str(value) for value in call.require("email", "name", "username"))
    if not USERNAME.fullmatch(username):
        raise bad_request({"username": ["can contain only letters, digits, '_', '-', '.'"]})
    if call.lab.find_user(username) or call.lab.find_group(username):
        raise ApiError(409, {"message": "Username has already been taken"})
    if any(user.email == email for user in call.lab.store.users):
        raise ApiError(409, {"message": "Email has already been taken"})
    user = call.lab.store.users.insert(username=username, name=name, email=email, admin=call.boolean("admin"))
    return present.full_user(call.lab, user)


@routes.route("POST /users/:user_id/personal_access_tokens", who="admin")
async def create_token(call: Call) -> Any:
    user = _user(call)
    name, _ = call.require("name", "scopes")
    token = call.lab.store.new_token(user, str(name), _scopes(call), expires_at=call.params.get("expires_at"))
    return present.token(token, with_secret=True)


@routes.route("POST /projects/:id/access_tokens")
async def create_project_token(call: Call) -> Any:
    """A bot user that is a member of the project, and its token."""
    project = call.project(AccessLevel.MAINTAINER)
    return _bot_token(call, f"project_{project.id}_bot", f"project:{project.id}", "project")


@routes.route("POST /groups/:id/access_tokens")
async def create_group_token(call: Call) -> Any:
    """A bot user that is a member of the group, and its token."""
    group = call.lab.find_group(call.path["id"])
    if group is None:
        raise not_found("Group")
    source = f"group:{group.path}"
    mine = [item for item in call.lab.store.members.by("source", source) if item.user_id == call.user.id]
    if not call.user.admin and not any(item.access_level >= AccessLevel.OWNER for item in mine):
        raise forbidden()
    return _bot_token(call, f"group_{group.id}_bot", source, "group")


def _bot_token(call: Call, prefix: str, source: str, kind: str) -> dict[str, Any]:
    name, _ = call.require("name", "scopes")
    level = call.number("access_level", AccessLevel.MAINTAINER)
    if level not in list(AccessLevel)[1:]:
        raise bad_parameter("access_level does not have a valid value")
    username = f"{prefix}_{secrets.token_hex(16)}"
    bot = call.lab.store.users.insert(
        username=username, name=str(name), email=f"{username}@noreply.localhost", bot=True
    )
    call.lab.store.members.insert(source=source, user_id=bot.id, access_level=level)
    token = call.lab.store.new_token(
        bot, str(name), _scopes(call), kind=kind, expires_at=call.params.get("expires_at")
    )
    return {**present.token(token, with_secret=True), "access_level": level}


@routes.route("GET /personal_access_tokens/self", scopes=ANY_SCOPE)
async def own_token(call: Call) -> Any:
    assert call.identity is not None
    return present.token(call.identity.token)


@routes.route("GET /personal_access_tokens")
async def list_tokens(call: Call) -> Any:
    whose = call.number("user_id", call.user.id)
    if whose != call.user.id and not call.user.admin:
        raise forbidden()
    return call.page(call.lab.store.tokens.by("user_id", whose), present.token)


@routes.route("DELETE /personal_access_tokens/self", scopes=("self_rotate",))
async def revoke_own_token(call: Call) -> Reply:
    assert call.identity is not None
    return _revoke(call, call.identity.token)


@routes.route("DELETE /personal_access_tokens/:token_id")
async def revoke_token(call: Call) -> Reply:
    token = call.lab.store.tokens.get(call.number_in_path("token_id"))
    if token is None or (token.user_id != call.user.id and not call.user.admin):
        raise not_found()
    return _revoke(call, token)


def _revoke(call: Call, token: Token) -> Reply:
    token.revoked = True
    call.lab.store.tokens.save(token)
    return NO_CONTENT


@routes.route("POST /applications", who="admin")
async def create_application(call: Call) -> Any:
    name, redirect_uri, _ = call.require("name", "redirect_uri", "scopes")
    scopes = " ".join(call.words("scopes")).split()
    unknown = set(scopes) - auth.KNOWN_SCOPES
    if unknown:
        raise bad_request({"scopes": ["doesn't match configured on the server."]})
    application = call.lab.store.applications.insert(
        name=str(name),
        uid=secrets.token_hex(32),
        secret="gloas-" + secrets.token_hex(32),
        redirect_uri=str(redirect_uri),
        scopes=scopes,
        confidential=call.boolean("confidential", True),
        trusted=call.boolean("trusted"),
    )
    return {
        "id": application.id,
        "application_id": application.uid,
        "application_name": application.name,
        "callback_url": application.redirect_uri,
        "confidential": application.confidential,
        "secret": application.secret,
    }


@routes.route("GET /applications", who="admin")
async def list_applications(call: Call) -> Any:
    return call.page(
        list(call.lab.store.applications),
        lambda item: {
            "id": item.id,
            "application_id": item.uid,
            "application_name": item.name,
            "callback_url": item.redirect_uri,
            "confidential": item.confidential,
        },
    )


def _user(call: Call) -> User:
    user = call.lab.store.users.get(call.number_in_path("user_id"))
    if user is None:
        raise not_found("User")
    return user


def _scopes(call: Call) -> list[str]:
    scopes = call.words("scopes")
    if not scopes or set(scopes) - auth.KNOWN_SCOPES:
        raise bad_parameter("scopes does not have a valid value")
    return scopes
