"""The admin port: the raw truth for tests and people, faults, counters, quotas. On loopback, without a login.

GET  /            a page showing what each tool holds
GET  /state       everything: {"tools": {NAME: {builds, jobs, images, envvars, published, quota, ...}}}
GET  /calls       {"total", "by_operation", "by_tool", "by_status"}; DELETE sets the counters to zero
GET  /faults      the rules; POST adds one (the fields of `faults.Fault`), DELETE removes all
DELETE /faults/ID          removes one
POST /builder     {"name": "latest"}: from now on the latest builder is the current one, too
POST /tools/T/quota        {"bytes": N} (-1 = unlimited)
POST /tools/T/certificate  {"expired": bool}: a new client certificate
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any

from aiohttp import web

from deploy.local.toolforge.admin_page import page
from deploy.local.toolforge.job_status import status_of
from deploy.local.toolforge.jobs import Jobs
from deploy.local.toolforge.model import Tool
from deploy.local.toolforge.registry import storage_quota
from deploy.local.toolforge.world import World

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Admin:
    """The handlers."""

    def __init__(self, world: World, jobs: Jobs) -> None:
        self._world = world
        self._jobs = jobs

    def application(self) -> web.Application:
        """The aiohttp application to serve."""
        app = web.Application(middlewares=[_only_local_names])
        app.router.add_get("/", self._page)
        app.router.add_get("/state", self._state)
        app.router.add_get("/calls", self._calls)
        app.router.add_delete("/calls", self._forget_calls)
        app.router.add_get("/faults", self._faults)
        app.router.add_post("/faults", self._add_fault)
        app.router.add_delete("/faults", self._clear_faults)
        app.router.add_delete("/faults/{id:[0-9]+}", self._remove_fault)
        app.router.add_post("/builder", self._builder)
        app.router.add_post("/tools/{tool}/quota", self._quota)
        app.router.add_post("/tools/{tool}/certificate", self._certificate)
        return app

    def state(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {"tools": {tool.name: self._tool(tool) for tool in self._world.tools.values()}}

    def calls(self) -> dict[str, Any]:
        """The counters."""
        by_operation: Counter[str] = Counter()
        by_tool: Counter[str] = Counter()
        by_status: Counter[str] = Counter()
        for (tool, operation, status), count in self._world.calls.items():
            by_operation[operation] += count
            by_tool[tool] += count
            by_status[str(status)] += count
        return {
            "total": by_operation.total(),
            "by_operation": by_operation,
            "by_tool": by_tool,
            "by_status": by_status,
        }

    def _tool(self, tool: Tool) -> dict[str, Any]:
        published = self._jobs.published(tool)
        return {
            "public_url": f"http://{tool.name}.localhost:{self._world.web_port}/",
            "builds": [asdict(build) for build in tool.builds.values()],
            "jobs": [self._job(tool, name) for name in tool.jobs],
            "images": [{**asdict(one), "size": one.size} for one in tool.project.artifacts],
            "project_exists": tool.project.exists,
            "quota": {
                **storage_quota(tool.project),
                "bytes": tool.project.quota,
                "used_bytes": tool.project.used,
            },
            "envvars": tool.envvars,
            "published": published.name if published else None,
        }

    def _job(self, tool: Tool, name: str) -> dict[str, Any]:
        record, deployment = tool.jobs[name], self._jobs.deployment(tool, name)
        pods = [
            {"name": pod.name, "phase": pod.phase, "ready": pod.ready, "restarts": pod.restarts}
            for pod in (deployment.pods if deployment else [])
        ]
        status = status_of(name, deployment, up_to_date=record.spec == record.applied)
        return {**asdict(record), "pods": pods, **status}

    async def _page(self, request: web.Request) -> web.Response:
        text = page(self.state()["tools"], [fault.to_json() for fault in self._world.faults], self.calls())
        headers = {"Content-Security-Policy": POLICY}
        return web.Response(text=text, content_type="text/html", charset="utf-8", headers=headers)

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(self.state())

    async def _calls(self, request: web.Request) -> web.Response:
        return web.json_response(self.calls())

    async def _forget_calls(self, request: web.Request) -> web.Response:
        self._world.calls.clear()
        return web.json_response(self.calls())

    async def _faults(self, request: web.Request) -> web.Response:
        return web.json_response({"faults": [fault.to_json() for fault in self._world.faults]})

    async def _add_fault(self, request: web.Request) -> web.Response:
        body = await _object(request)
        try:
            fault = self._world.faults.add(body.pop("kind", ""), **body)
        except (TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(fault.to_json(), status=201)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._world.faults.clear()
        return web.json_response({"faults": []})

    async def _remove_fault(self, request: web.Request) -> web.Response:
        found = self._world.faults.remove(int(request.match_info["id"]))
        return web.json_response({}, status=200 if found else 404)

    async def _builder(self, request: web.Request) -> web.Response:
        """As when Toolforge changes over to a new one."""
        if (await _object(request)).get("name") != "latest":
            return web.json_response({"error": "the name must be latest"}, status=400)
        settings = self._world.settings
        self._world.settings = replace(settings, builder=settings.latest_builder)
        return web.json_response({"name": settings.latest_builder.name})

    async def _quota(self, request: web.Request) -> web.Response:
        tool = self._known(request)
        amount = (await _object(request)).get("bytes")
        if not isinstance(amount, int):
            return web.json_response({"error": "bytes must be a whole number"}, status=400)
        tool.project.quota = amount
        self._world.changed(tool)
        return web.json_response(self._tool(tool)["quota"])

    async def _certificate(self, request: web.Request) -> web.Response:
        tool = self._known(request)
        self._world.identities.issue(tool.name, expired=bool((await _object(request)).get("expired", False)))
        return web.json_response({})

    def _known(self, request: web.Request) -> Tool:
        name = request.match_info["tool"]
        if name not in self._world.tools:
            raise web.HTTPNotFound(text=f"no tool {name}")
        return self._world.tools[name]


@web.middleware
async def _only_local_names(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse names that merely resolve to loopback: a page elsewhere could read everything through one."""
    if request.host.partition(":")[0] not in ("127.0.0.1", "localhost"):
        raise web.HTTPForbidden(text="ask for 127.0.0.1")
    return await handler(request)


async def _object(request: web.Request) -> dict[str, Any]:
    """The body as an object. Only JSON is taken, so that no form on another page can send one."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send JSON")
    try:
        body = json.loads(await request.read())
    except ValueError:
        raise web.HTTPBadRequest(text="not JSON") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="not an object")
    return body
