"""Members of projects and groups."""

from __future__ import annotations

from typing import Any

from deploy.local.gitlab import auth, present
from deploy.local.gitlab.api.call import NO_CONTENT, Call, Reply
from deploy.local.gitlab.api.errors import ApiError, bad_parameter, forbidden, not_found
from deploy.local.gitlab.api.routes import routes
from deploy.local.gitlab.model import AccessLevel, Member


@routes.route("GET /projects/:id/members", who="anyone")
async def direct(call: Call) -> Any:
    return _listed(call, _direct(call, f"project:{call.project().id}"))


@routes.route("GET /projects/:id/members/all", who="anyone")
async def everybody(call: Call) -> Any:
    project = call.project()
    best: dict[int, Member] = {}
    for member in auth.memberships(call.lab.store, project):
        known = best.get(member.user_id)
        if known is None or member.access_level > known.access_level:
            best[member.user_id] = member
    return _listed(call, list(best.values()))


@routes.route("GET /projects/:id/members/all/:user_id", who="anyone")
async def one_of_all(call: Call) -> Any:
    project = call.project()
    member = auth.membership(call.lab.store, project, call.number_in_path("user_id"))
    if member is None:
        raise not_found()
    return present.member(call.lab, member)


@routes.route("GET /projects/:id/members/:user_id", who="anyone")
async def one(call: Call) -> Any:
    return present.member(call.lab, _one(call, f"project:{call.project().id}"))


@routes.route("POST /projects/:id/members")
async def add(call: Call) -> Any:
    project = call.project(AccessLevel.MAINTAINER)
    return _add(call, f"project:{project.id}")


@routes.route("PUT /projects/:id/members/:user_id")
async def change(call: Call) -> Any:
    project = call.project(AccessLevel.MAINTAINER)
    return _change(call, f"project:{project.id}")


@routes.route("DELETE /projects/:id/members/:user_id")
async def remove(call: Call) -> Reply:
    project = call.project(AccessLevel.MAINTAINER)
    call.lab.store.members.delete(_one(call, f"project:{project.id}"))
    return NO_CONTENT


@routes.route("GET /groups/:id/members", who="anyone")
async def of_group(call: Call) -> Any:
    return _listed(call, _direct(call, _group(call)))


@routes.route("POST /groups/:id/members")
async def add_to_group(call: Call) -> Any:
    return _add(call, _group(call, change=True))


@routes.route("PUT /groups/:id/members/:user_id")
async def change_in_group(call: Call) -> Any:
    return _change(call, _group(call, change=True))


@routes.route("DELETE /groups/:id/members/:user_id")
async def remove_from_group(call: Call) -> Reply:
    call.lab.store.members.delete(_one(call, _group(call, change=True)))
    return NO_CONTENT


def _direct(call: Call, source: str) -> list[Member]:
    return call.lab.store.members.by("source", source)


def _listed(call: Call, members: list[Member]) -> Reply:
    return call.page(members, lambda member: present.member(call.lab, member))


def _one(call: Call, source: str) -> Member:
    wanted = call.number_in_path("user_id")
    for member in _direct(call, source):
        if member.user_id == wanted:
            return member
    raise not_found()


def _group(call: Call, *, change: bool = False) -> str:
    group = call.lab.find_group(call.path["id"])
    if group is None:
        raise not_found("Group")
    source = f"group:{group.path}"
    if change and not call.user.admin:
        mine = [item.access_level for item in _direct(call, source) if item.user_id == call.user.id]
        if max(mine, default=0) < AccessLevel.OWNER:
            raise forbidden()
    return source


def _level(call: Call) -> int:
    level = call.number("access_level")
    if level not in list(AccessLevel)[1:]:
        raise bad_parameter("access_level does not have a valid value")
    return level


def _add(call: Call, source: str) -> Any:
    user = call.lab.store.users.get(call.number("user_id"))
    if user is None:
        raise not_found("User")
    level = _level(call)
    if any(member.user_id == user.id for member in _direct(call, source)):
        raise ApiError(409, {"message": "Member already exists"})
    member = call.lab.store.members.insert(
        source=source, user_id=user.id, access_level=level, expires_at=call.params.get("expires_at")
    )
    return present.member(call.lab, member)


def _change(call: Call, source: str) -> Any:
    member = _one(call, source)
    member.access_level = _level(call)
    call.lab.store.members.save(member)
    return present.member(call.lab, member)
