"""Groups and projects: making, finding, forking and deleting them."""

from __future__ import annotations

import re
from typing import Any

from deploy.local.gitlab import auth, present
from deploy.local.gitlab.api.call import Call
from deploy.local.gitlab.api.errors import ApiError, bad_parameter, bad_request, forbidden, not_found
from deploy.local.gitlab.api.routes import routes
from deploy.local.gitlab.model import AccessLevel, Group, Project

PATH = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,254}")
VISIBILITIES = ("private", "internal", "public")


@routes.route("GET /groups", who="anyone")
async def list_groups(call: Call) -> Any:
    search = call.text("search").lower()
    groups = [group for group in call.lab.store.groups if search in group.path.lower()]
    return call.page(groups, lambda group: present.group(call.lab, group))


@routes.route("POST /groups")
async def create_group(call: Call) -> Any:
    name, path = (str(value) for value in call.require("name", "path"))
    if not PATH.fullmatch(path):
        raise bad_request({"path": ["can contain only letters, digits, '_', '-' and '.'."]})
    if call.lab.find_group(path) or call.lab.find_user(path):
        raise bad_request('Failed to save group {:path=>["has already been taken"]}')
    group = call.lab.store.groups.insert(
        path=path,
        name=name,
        visibility=call.choice("visibility", VISIBILITIES, "private"),
        description=call.text("description"),
    )
    call.lab.store.members.insert(
        source=f"group:{path}", user_id=call.user.id, access_level=AccessLevel.OWNER
    )
    return present.group(call.lab, group)


@routes.route("GET /groups/:id", who="anyone")
async def show_group(call: Call) -> Any:
    return present.group(call.lab, _group(call))


@routes.route("GET /groups/:id/projects", who="anyone")
async def group_projects(call: Call) -> Any:
    found = call.lab.store.projects.by("namespace", _group(call).path)
    return call.page(_visible(call, found), lambda item: present.project(call.lab, item))


@routes.route("GET /projects", who="anyone")
async def list_projects(call: Call) -> Any:
    found = _visible(call, list(call.lab.store.projects))
    search = call.text("search").lower()
    if search:
        found = [item for item in found if search in item.path.lower() or search in item.name.lower()]
    if call.boolean("membership"):
        store, user = call.lab.store, call.user
        found = [item for item in found if auth.membership(store, item, user.id)]
    least = call.number("min_access_level", 0)
    if least:
        found = [item for item in found if auth.level(call.lab.store, item, call.user) >= least]
    if call.text("pagination") == "keyset":
        return call.keyset_page(found, lambda item: present.project(call.lab, item))
    newest_first = call.choice("sort", ("asc", "desc"), "desc") == "desc"
    return call.page(found[::-1] if newest_first else found, lambda item: present.project(call.lab, item))


@routes.route("POST /projects")
async def create_project(call: Call) -> Any:
    name = call.text("name") or call.text("path")
    if not name:
        raise bad_parameter("name, path are missing, at least one parameter must be provided")
    path = call.text("path") or re.sub(r"[^a-zA-Z0-9_.]+", "-", name).strip("-.").lower()
    if not PATH.fullmatch(path) or path.endswith((".git", ".atom")):
        raise bad_request({"path": ["can contain only letters, digits, '_', '-' and '.'."]})
    namespace = _namespace(call)
    _free(call, namespace, path)
    project = await call.lab.create_project(
        namespace=namespace,
        path=path,
        name=name,
        creator_id=call.user.id,
        visibility=call.choice("visibility", VISIBILITIES, "private"),
        description=call.text("description"),
        default_branch=call.text("default_branch", "main"),
    )
    _owner(call, project)
    if call.boolean("initialize_with_readme"):
        await _first_commit(call, project)
    return present.project(call.lab, project, empty=not await call.lab.git.refs(project.id))


@routes.route("GET /projects/:id", who="anyone")
async def show_project(call: Call) -> Any:
    project = call.project()
    shown = present.project(call.lab, project, empty=not await call.lab.git.refs(project.id))
    if call.identity:
        shown["permissions"] = _permissions(call, project)
    return shown


@routes.route("PUT /projects/:id")
async def change_project(call: Call) -> Any:
    project = call.project(AccessLevel.MAINTAINER)
    if "visibility" in call.params:
        project.visibility = call.choice("visibility", VISIBILITIES)
    for field in ("name", "description", "default_branch"):
        if field in call.params:
            setattr(project, field, call.text(field))
    call.lab.store.projects.save(project)
    return present.project(call.lab, project)


@routes.route("DELETE /projects/:id", status=202)
async def delete_project(call: Call) -> Any:
    call.lab.delete_project(call.project(AccessLevel.OWNER))
    return {"message": "202 Accepted"}


@routes.route("POST /projects/:id/fork")
async def fork_project(call: Call) -> Any:
    """GitLab copies in the background; here the copy is there when the answer is."""
    origin = call.project()
    namespace = _namespace(call)
    path = call.text("path", origin.path)
    if any(
        item.forked_from_id == origin.id for item in call.lab.store.projects.by("namespace", namespace)
    ) or call.lab.find_project(f"{namespace}/{path}"):
        raise ApiError(
            409,
            {"message": {"name": ["has already been taken"], "path": ["has already been taken"]}},
        )
    project = await call.lab.create_project(
        fork_of=origin,
        namespace=namespace,
        path=path,
        name=call.text("name", origin.name),
        creator_id=call.user.id,
        visibility=origin.visibility,
        description=origin.description,
        default_branch=origin.default_branch,
    )
    _owner(call, project)
    return present.project(call.lab, project)


@routes.route("GET /projects/:id/forks", who="anyone")
async def list_forks(call: Call) -> Any:
    project = call.project()
    found = call.lab.store.projects.by("forked_from_id", project.id)
    return call.page(_visible(call, found), lambda item: present.project(call.lab, item))


def _group(call: Call) -> Group:
    group = call.lab.find_group(call.path["id"])
    if group is None:
        raise not_found("Group")
    return group


def _visible(call: Call, projects: list[Project]) -> list[Project]:
    user = call.identity.user if call.identity else None
    return [item for item in projects if auth.can_read(call.lab.store, item, user)]


def _namespace(call: Call) -> str:
    """Where to put a project: a group by number or path, else the user's own namespace."""
    wanted = call.text("namespace_id") or call.text("namespace_path") or call.text("namespace")
    user = call.user
    if wanted in ("", user.username, str(present.USER_NAMESPACE + user.id)):
        return user.username
    group = call.lab.find_group(wanted)
    if group is None:
        raise not_found("Target Namespace")
    members = call.lab.store.members.by("source", f"group:{group.path}")
    mine = [item.access_level for item in members if item.user_id == user.id]
    if not user.admin and max(mine, default=0) < AccessLevel.DEVELOPER:
        raise forbidden()
    return group.path


def _free(call: Call, namespace: str, path: str) -> None:
    if call.lab.find_project(f"{namespace}/{path}"):
        taken = ["has already been taken"]
        raise bad_request({"project_namespace.name": taken, "name": taken, "path": taken})


def _owner(call: Call, project: Project) -> None:
    if project.namespace != call.user.username and not call.user.admin:
        call.lab.store.members.insert(
            source=f"project:{project.id}", user_id=call.user.id, access_level=AccessLevel.OWNER
        )


async def _first_commit(call: Call, project: Project) -> None:
    git, user = call.lab.git, call.user
    text = f"# {project.name}\n".encode()
    blob = (await git.run(project.id, "hash-object", "-w", "--stdin", stdin=text)).decode().strip()
    tree = await git.run(project.id, "mktree", stdin=f"100644 blob {blob}\tREADME.md\n".encode())
    sha = await git.commit_tree(
        project.id, tree.decode().strip(), [], "Initial commit", user.name, user.email
    )
    await git.set_ref(project.id, f"refs/heads/{project.default_branch}", sha)


def _permissions(call: Call, project: Project) -> dict[str, Any]:
    user = call.user
    shown: dict[str, Any] = {"project_access": None, "group_access": None}
    for member in auth.memberships(call.lab.store, project):
        if member.user_id == user.id:
            key = "project_access" if member.source.startswith("project:") else "group_access"
            shown[key] = {"access_level": member.access_level, "notification_level": 3}
    return shown
