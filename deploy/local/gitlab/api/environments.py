"""Environments: found by name, stopped before they may be deleted."""

from __future__ import annotations

import re
import secrets
import string
from typing import Any

from deploy.local.gitlab import present_ci
from deploy.local.gitlab.api.call import NO_CONTENT, Call, Reply
from deploy.local.gitlab.api.errors import bad_parameter, bad_request, forbidden, not_found
from deploy.local.gitlab.api.routes import routes
from deploy.local.gitlab.model import AccessLevel, Environment, Project, now

NAME = re.compile(r"[a-zA-Z0-9\-_/${}. ]+")
TIERS = ("production", "staging", "testing", "development", "other")
SHORTEST_SEARCH = 3


@routes.route("GET /projects/:id/environments")
async def list_environments(call: Call) -> Any:
    project = call.project(AccessLevel.REPORTER)
    store = call.lab.store.environments
    name, search, state = call.text("name"), call.text("search"), call.text("states")
    if name and search:
        raise bad_parameter("name, search cannot be used together")
    if search and len(search) < SHORTEST_SEARCH:
        raise bad_request(f"400 Bad request - Search query is less than {SHORTEST_SEARCH} characters")
    found = store.by("place", (project.id, name)) if name else store.by("project_id", project.id)
    if state:
        call.choice("states", ("available", "stopping", "stopped"))
        found = [item for item in found if item.state == state]
    if search:
        found = [item for item in found if search.lower() in item.name.lower()]
    return call.page(found, lambda item: present_ci.environment(call.lab, item))


@routes.route("POST /projects/:id/environments")
async def create(call: Call) -> Any:
    project = call.project(AccessLevel.DEVELOPER)
    (name,) = call.require("name")
    environment = make(call, project, str(name))
    return present_ci.environment(call.lab, environment)


def find(call: Call, project: Project, name: str) -> Environment | None:
    """An environment by its name, which is unique in a project."""
    found = call.lab.store.environments.by("place", (project.id, name))
    return found[0] if found else None


def make(call: Call, project: Project, name: str) -> Environment:
    """A new environment out of the call's parameters; 400 for what GitLab's model refuses."""
    problems: dict[str, list[str]] = {}
    if not name:
        problems["name"] = ["can't be blank"]
    elif len(name) > 255:
        problems["name"] = ["is too long (maximum is 255 characters)"]
    elif not NAME.fullmatch(name) or name.startswith("/") or name.endswith("/"):
        problems["name"] = [
            "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, "
            "but it cannot start or end with '/'"
        ]
    elif find(call, project, name):
        problems["name"] = ["has already been taken"]
    problems |= _url_problems(call)
    if problems:
        raise bad_request(problems)
    tier = call.choice("tier", TIERS, _guess_tier(name))
    return call.lab.store.environments.insert(
        project_id=project.id,
        name=name,
        slug=_slug(name),
        external_url=call.text("external_url") or None,
        tier=tier,
        description=call.params.get("description"),
    )


def _url_problems(call: Call) -> dict[str, list[str]]:
    url = call.text("external_url")
    if len(url) > 255:
        return {"external_url": ["is too long (maximum is 255 characters)"]}
    scheme = url.partition(":")[0].lower()
    if scheme in ("javascript", "data", "vbscript"):
        return {"external_url": [f"{scheme} scheme is not allowed"]}
    return {}


def _slug(name: str) -> str:
    """At most 24 characters of a-z, 0-9 and -; made unique by a random end when the name had others."""
    slug = re.sub(r"-+", "-", re.sub(r"[^a-z0-9]", "-", name.lower()))
    if not slug[:1].isalpha():
        slug = "env-" + slug
    slug = slug[:24].rstrip("-")
    if slug == name:
        return slug
    letters = string.ascii_lowercase + string.digits
    return slug[:17].rstrip("-") + "-" + "".join(secrets.choice(letters) for _ in range(6))


def _guess_tier(name: str) -> str:
    """GitLab's guess from the name, when none was given."""
    guesses = (
        (r"(dev|review|trunk)", "development"),
        (r"(test|tst|int|ac(ce|)pt|qa|qc|control|quality)", "testing"),
        (r"(st(a|)g|mod(e|)l|pre|demo|non)", "staging"),
        (r"(pr(o|)d|live)", "production"),
    )
    for pattern, tier in guesses:
        if re.search(pattern, name, re.IGNORECASE):
            return tier
    return "other"


def _one(call: Call, project: Project) -> Environment:
    environment = call.lab.store.environments.get(call.number_in_path("environment_id"))
    if environment is None or environment.project_id != project.id:
        raise not_found()
    return environment


@routes.route("GET /projects/:id/environments/:environment_id")
async def show(call: Call) -> Any:
    environment = _one(call, call.project(AccessLevel.REPORTER))
    return present_ci.environment(call.lab, environment, with_deployment=True)


@routes.route("PUT /projects/:id/environments/:environment_id")
async def update(call: Call) -> Any:
    """Address, tier and description may change; the name may not any more."""
    environment = _one(call, call.project(AccessLevel.DEVELOPER))
    problems = _url_problems(call)
    if problems:
        raise bad_request(problems)
    if "external_url" in call.params:
        environment.external_url = call.text("external_url") or None
    if "tier" in call.params:
        environment.tier = call.choice("tier", TIERS)
    if "description" in call.params:
        environment.description = call.text("description")
    return _saved(call, environment)


@routes.route("POST /projects/:id/environments/:environment_id/stop", status=200)
async def stop(call: Call) -> Any:
    environment = _one(call, call.project(AccessLevel.DEVELOPER))
    environment.state = "stopped"
    return _saved(call, environment)


@routes.route("DELETE /projects/:id/environments/:environment_id")
async def delete(call: Call) -> Reply:
    """Only a stopped one; the rights for another are missing, says GitLab."""
    environment = _one(call, call.project(AccessLevel.DEVELOPER))
    if environment.state != "stopped":
        raise forbidden()
    for deployment in call.lab.store.deployments.by("environment_id", environment.id):
        call.lab.store.deployments.delete(deployment)
    call.lab.store.environments.delete(environment)
    return NO_CONTENT


def _saved(call: Call, environment: Environment) -> dict[str, Any]:
    environment.updated_at = now()
    call.lab.store.environments.save(environment)
    return present_ci.environment(call.lab, environment)
