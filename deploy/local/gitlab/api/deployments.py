"""Deployments to environments, told by somebody outside of CI (GitLab's `Deployment` and its state
machine).
"""

from __future__ import annotations

from typing import Any

from deploy.local.gitlab import present_ci
from deploy.local.gitlab.api import environments
from deploy.local.gitlab.api.call import NO_CONTENT, Call, Reply
from deploy.local.gitlab.api.errors import bad_request, not_found
from deploy.local.gitlab.api.routes import routes
from deploy.local.gitlab.model import AccessLevel, Deployment, Project, now

STATUSES = ("running", "success", "failed", "canceled")
EVENTS = {"running": "run", "success": "succeed", "failed": "drop", "canceled": "cancel"}
ORDERS = ("id", "iid", "created_at", "updated_at", "finished_at", "ref")


@routes.route("GET /projects/:id/deployments")
async def list_deployments(call: Call) -> Any:
    project = call.project(AccessLevel.REPORTER)
    found = call.lab.store.deployments.by("project_id", project.id)
    names = {item.id: item.name for item in call.lab.store.environments.by("project_id", project.id)}
    if call.text("environment"):
        found = [item for item in found if names.get(item.environment_id) == call.text("environment")]
    if call.text("status"):
        wanted = call.choice("status", ("created", "blocked", *STATUSES))
        found = [item for item in found if item.status == wanted]
    order = call.choice("order_by", ORDERS, "id")
    found = _between(call, found, order)
    descending = call.choice("sort", ("asc", "desc"), "asc") == "desc"
    found.sort(key=lambda item: (getattr(item, order) or "", item.id), reverse=descending)
    return call.page(found, lambda item: present_ci.deployment(call.lab, item))


def _between(call: Call, found: list[Deployment], order: str) -> list[Deployment]:
    """Filters by time must go with sorting by the same column."""
    for end in ("after", "before"):
        moment = call.text(f"updated_{end}")
        if moment and order != "updated_at":
            raise bad_request("400 Bad request - `updated_at` filter and `updated_at` sorting must be paired")
        if moment:
            found = [item for item in found if (item.updated_at >= moment) == (end == "after")]
    return found


@routes.route("GET /projects/:id/deployments/:deployment_id")
async def show(call: Call) -> Any:
    return present_ci.deployment(call.lab, _one(call, call.project(AccessLevel.REPORTER)))


@routes.route("POST /projects/:id/deployments")
async def create(call: Call) -> Any:
    """The environment is made if it is not there; commit and ref must be known to the project."""
    project = call.project(AccessLevel.DEVELOPER)
    name, sha, ref, _, _ = call.require("environment", "sha", "ref", "tag", "status")
    status = call.choice("status", STATUSES)
    tag = call.boolean("tag")
    await _known(call, project, str(sha), str(ref))
    environment = environments.find(call, project, str(name))
    if environment is None:
        call.params.pop("description", None)
        environment = environments.make(call, project, str(name))
    deployment = call.lab.store.deployments.insert(
        iid=project.next_iid("deployments"),
        project_id=project.id,
        environment_id=environment.id,
        sha=str(sha),
        ref=str(ref),
        tag=tag,
        user_id=call.user.id,
    )
    call.lab.store.projects.save(project)
    _move(call, deployment, status)
    return present_ci.deployment(call.lab, deployment)


async def _known(call: Call, project: Project, sha: str, ref: str) -> None:
    problems: dict[str, list[str]] = {}
    if await call.lab.git.resolve(project.id, sha) is None:
        problems["sha"] = ["The commit does not exist"]
    if await call.lab.git.resolve(project.id, ref) is None:
        problems["ref"] = ["The branch or tag does not exist"]
    if problems:
        raise bad_request(problems)


@routes.route("PUT /projects/:id/deployments/:deployment_id")
async def update(call: Call) -> Any:
    deployment = _one(call, call.project(AccessLevel.DEVELOPER))
    _move(call, deployment, call.choice("status", STATUSES))
    return present_ci.deployment(call.lab, deployment)


def _move(call: Call, deployment: Deployment, status: str) -> None:
    """`running` only at first, the others from anything but themselves; a success opens the environment
    again.
    """
    before = deployment.status
    if before == status or (status == "running" and before != "created"):
        raise bad_request({"status": [f'cannot transition via "{EVENTS[status]}"']})
    deployment.status = status
    deployment.updated_at = now()
    if status != "running":
        deployment.finished_at = deployment.updated_at
    call.lab.store.deployments.save(deployment)
    environment = call.lab.store.environments.get(deployment.environment_id)
    if status == "success" and environment and environment.state != "available":
        environment.state, environment.updated_at = "available", now()
        call.lab.store.environments.save(environment)


@routes.route("DELETE /projects/:id/deployments/:deployment_id")
async def delete(call: Call) -> Reply:
    deployment = _one(call, call.project(AccessLevel.MAINTAINER))
    if deployment.status == "running":
        raise bad_request("400 Bad request - Cannot destroy running deployment")
    siblings = call.lab.store.deployments.by("environment_id", deployment.environment_id)
    successes = [item for item in siblings if item.status == "success"]
    if successes and successes[-1].id == deployment.id:
        raise bad_request("400 Bad request - Deployment currently deployed to environment")
    call.lab.store.deployments.delete(deployment)
    return NO_CONTENT


def _one(call: Call, project: Project) -> Deployment:
    deployment = call.lab.store.deployments.get(call.number_in_path("deployment_id"))
    if deployment is None or deployment.project_id != project.id:
        raise not_found()
    return deployment
