"""builds-api behind the gateway: endpoints, order of checks, texts and codes (contract section 2)."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from deploy.local.toolforge.answers import ApiError, as_go_reads, echo_error, messages_error, rfc3339
from deploy.local.toolforge.builds import Builds
from deploy.local.toolforge.engine import Engine
from deploy.local.toolforge.image_store import ImageStore
from deploy.local.toolforge.log_streams import stream_build_log
from deploy.local.toolforge.model import Build, BuildStatus, Tool
from deploy.local.toolforge.refs import RefError
from deploy.local.toolforge.registry import percent_used, storage_quota
from deploy.local.toolforge.world import World

ENVVAR_NAME = re.compile(r"^[A-Za-z_][A-Za-z_0-9]{2,}$")
STRING_KEYS = ("source_url", "ref", "image_name")
BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "t": True, "f": False}


class BuildsApi:
    """The handlers; each takes a request that the gateway has let through."""

    prefix = "/builds"

    def __init__(self, world: World, builds: Builds, engine: Engine, store: ImageStore) -> None:
        self._world = world
        self._builds = builds
        self._store = store
        self._engine = engine

    def routes(self) -> list[tuple[str, str, str, Any]]:
        """(operation, method, path, handler); builds-api registers no path with a trailing slash."""
        base = "/builds/v1/tool/{tool}"
        return [
            ("builds.start", "POST", f"{base}/builds", self.start),
            ("builds.list", "GET", f"{base}/builds", self.listing),
            ("builds.latest", "GET", f"{base}/builds/latest", self.latest),
            ("builds.get", "GET", f"{base}/builds/{{id}}", self.get),
            ("builds.delete", "DELETE", f"{base}/builds/{{id}}", self.delete),
            ("builds.cancel", "PUT", f"{base}/builds/{{id}}/cancel", self.cancel),
            ("builds.logs", "GET", f"{base}/builds/{{id}}/logs", self.logs),
            ("builds.clean", "POST", f"{base}/clean", self.clean),
            ("builds.quotas", "GET", f"{base}/quotas", self.quotas),
        ]

    async def start(self, request: web.Request) -> web.Response:
        """POST builds: the eight steps of contract 2.1, in their order. 200, not 201."""
        tool: Tool = self._world.tool_of(request)
        body = await _body(request)
        _check_envvars(body.get("envvars") or {})
        self._create_project(tool)
        self._builds.prune(tool)
        self._check_limit(tool)
        await self._race(tool)
        ref = body.get("ref") or "HEAD"
        resolved = await self._resolve(tool, body["source_url"], ref)
        warnings = self._check_builder(body)
        build = self._new_build(tool, body, ref, resolved)
        await self._builds.start(tool, build)
        warnings += _quota_warning(tool)
        parameters = build_parameters(build)
        del parameters["image_name"]
        new_build = {"name": build.id, "resolved_ref": resolved, "parameters": parameters}
        return web.json_response({"new_build": new_build, "messages": {"warning": warnings}})

    async def listing(self, request: web.Request) -> web.Response:
        """GET builds, newest first."""
        builds = [self._view(build) for build in self._builds.newest_first(self._world.tool_of(request))]
        return web.json_response({"builds": builds, "messages": {}})

    async def latest(self, request: web.Request) -> web.Response:
        """GET builds/latest."""
        builds = self._builds.newest_first(self._world.tool_of(request))
        if not builds:
            raise messages_error(404, "No builds exist yet.")
        return web.json_response({"build": self._view(builds[0]), "messages": {}})

    async def get(self, request: web.Request) -> web.Response:
        """GET builds/ID."""
        build = self._find(request, "Build with id {id} not found.")
        return web.json_response({"build": self._view(build), "messages": {}})

    async def delete(self, request: web.Request) -> web.Response:
        """DELETE builds/ID: the run goes, its image stays."""
        build = self._find(request, "Build with id {id} not found")
        self._builds.delete(self._world.tool_of(request), build)
        return web.json_response({"id": build.id, "messages": {}})

    async def cancel(self, request: web.Request) -> web.Response:
        """PUT builds/ID/cancel: asynchronous."""
        build = self._find(request, "Build with id {id} not found")
        if build.status is BuildStatus.CANCELLED:
            text = f"Build {build.id} cannot be cancelled again. It has already been cancelled"
            raise messages_error(409, text)
        if build.status not in (BuildStatus.PENDING, BuildStatus.RUNNING, BuildStatus.UNKNOWN):
            text = f"Build {build.id} cannot be cancelled because it has already completed"
            raise messages_error(409, text)
        self._builds.cancel(self._world.tool_of(request), build)
        return web.json_response({"id": build.id, "messages": {}})

    async def logs(self, request: web.Request) -> web.StreamResponse:
        """GET builds/ID/logs."""
        follow = BOOLEANS.get(request.query.get("follow", "false").lower())
        if follow is None:
            raise echo_error(400, 'parameter "follow" in query has an error: value is not a boolean')
        build = self._find(request, "Unable to find build with id '{id}'")
        return await stream_build_log(request, self._world, build, self._builds.log(build), follow=follow)

    async def clean(self, request: web.Request) -> web.Response:
        """POST clean: every image of the account."""
        text = await self._store.clean(self._world.tool_of(request))
        return web.json_response({"messages": {"info": [text]}})

    async def quotas(self, request: web.Request) -> web.Response:
        """GET quotas; as a side effect the Harbor project exists afterwards."""
        tool: Tool = self._world.tool_of(request)
        self._create_project(tool)
        category = {"name": "Registry", "items": [storage_quota(tool.project)]}
        return web.json_response({"quota": {"categories": [category]}, "messages": {}})

    def _new_build(self, tool: Tool, body: dict[str, Any], ref: str, resolved: str) -> Build:
        latest = bool(body.get("use_latest_versions", False))
        return Build(
            id=self._builds.new_id(tool),
            tool=tool.name,
            number=0,
            source_url=body["source_url"],
            resolved_ref=resolved,
            created=self._world.now(),
            ref=ref,
            image_name=body.get("image_name") or "",
            envvars=dict(body.get("envvars") or {}),
            use_latest_versions=latest,
            use_deprecated_versions=bool(body.get("use_deprecated_versions", False)) and not latest,
        )

    def _find(self, request: web.Request, missing: str) -> Build:
        tool: Tool = self._world.tool_of(request)
        name = request.match_info["id"]
        if not name.startswith(f"{tool.name}-buildpacks-pipelinerun-"):
            raise messages_error(
                401,
                f"Build '{name}' does not exist or belong to tool '{tool.name}'. "
                "Double check the name and try again.",
            )
        if name not in tool.builds:
            raise messages_error(404, missing.format(id=name))
        return tool.builds[name]

    def _create_project(self, tool: Tool) -> None:
        if fault := self._world.faults.take("harbor_down", tool=tool.name, operation="builds"):
            tail = fault.body or "harbor connection refused"
            raise messages_error(503, f"Failed to create harbor project for tool {tool.name}: {tail}")
        if not tool.project.exists:
            tool.project.exists = True
            self._world.changed(tool)

    def _check_limit(self, tool: Tool) -> None:
        running, limit = self._builds.running(tool), self._world.settings.max_parallel_builds
        if running >= limit:
            raise messages_error(
                409,
                f"Got too many builds running ({running} out of {limit} max), "
                "cancel some or wait for them to finish",
            )

    async def _race(self, tool: Tool) -> None:
        if fault := self._world.faults.take("limit_race", tool=tool.name):
            await self._world.sleep(fault.seconds)

    async def _resolve(self, tool: Tool, url: str, ref: str) -> str:
        if fault := self._world.faults.take("ls_remote_slow", tool=tool.name):
            await self._world.sleep(fault.seconds)
        try:
            return await self._engine.resolve(url, ref)
        except RefError as error:
            raise messages_error(
                400,
                f"Failed to resolve ref {ref}, maybe the repository URL is not public? "
                f"Error: failed to resolve ref: {error}",
            ) from None

    def _check_builder(self, body: dict[str, Any]) -> list[str]:
        if not body.get("use_deprecated_versions") or body.get("use_latest_versions"):
            return []
        if self._world.settings.deprecated_builder == "refuse":
            raise messages_error(
                400, "Deprecated version are not supported anymore (the deadline has passed)"
            )
        return ["You are using a deprecated builder version, it will be removed soon."]

    def _view(self, build: Build) -> dict[str, Any]:
        image = f"{self._world.settings.harbor_host}/tool-{build.tool}/{build.repository}:latest"
        return {
            "build_id": build.id,
            "status": build.status.value,
            "message": build.message,
            "start_time": rfc3339(build.started),
            "end_time": rfc3339(build.ended),
            "parameters": build_parameters(build),
            "destination_image": f"{image}@{build.digest}" if build.digest else image,
            "resolved_ref": build.resolved_ref,
        }


def build_parameters(build: Build) -> dict[str, Any]:
    """What was asked for, as GET shows it: envvars in clear."""
    return {
        "source_url": build.source_url,
        "ref": build.ref,
        "envvars": build.envvars,
        "image_name": build.repository,
        "use_latest_versions": build.use_latest_versions,
        "use_deprecated_versions": build.use_deprecated_versions,
    }


async def _body(request: web.Request) -> dict[str, Any]:
    """The validated body. The request validator answers in echo's shape; unknown keys are accepted."""
    if request.content_type != "application/json":
        raise _invalid(f"header Content-Type has unexpected value {request.content_type!r}")
    try:
        body = as_go_reads(await request.read())
    except ValueError:
        raise _invalid("failed to decode request body") from None
    if not isinstance(body, dict):
        raise _invalid("value must be an object")
    if "source_url" not in body:
        raise _invalid('Error at "/source_url": property "source_url" is missing')
    for key in STRING_KEYS:
        if key in body and not isinstance(body[key], str):
            raise _invalid(f'Error at "/{key}": value must be a string')
    for key in ("use_latest_versions", "use_deprecated_versions"):
        if key in body and not isinstance(body[key], bool):
            raise _invalid(f'Error at "/{key}": value must be a boolean')
    envvars = body.get("envvars", {})
    if not isinstance(envvars, dict) or not all(isinstance(value, str) for value in envvars.values()):
        raise _invalid('Error at "/envvars": value must be an object of strings')
    return body


def _invalid(reason: str) -> ApiError:
    return echo_error(400, f"request body has an error: doesn't match schema: {reason}")


def _check_envvars(envvars: dict[str, str]) -> None:
    for name in envvars:
        if not ENVVAR_NAME.fullmatch(name):
            raise messages_error(
                400,
                "Not valid environment variables passed: not valid environment variable name, "
                f"must match '{ENVVAR_NAME.pattern}', got '{name}'",
            )


def _quota_warning(tool: Tool) -> list[str]:
    percent = percent_used(tool.project)
    if percent <= 90:
        return []
    return [
        f"Your tool {tool.name} has used up {percent}% of it's alloted quota. "
        "Consider cleaning up with `toolforge build clean`."
    ]
