"""envvars-api behind the gateway (contract section 4).

Per tool, shared by all its jobs, read at pod start.
"""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from deploy.local.toolforge.answers import as_go_reads, echo_error, messages_error
from deploy.local.toolforge.model import Tool
from deploy.local.toolforge.world import World

#: Upper case and four characters at least: stricter than the names of build-time variables.
NAME = re.compile(r"^[A-Z][A-Z_0-9]{2,}[A-Z0-9]$")
QUOTA = 50


class EnvvarsApi:
    """The handlers."""

    prefix = "/envvars"

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[tuple[str, str, str, Any]]:
        """(operation, method, path, handler)."""
        base = "/envvars/v1/tool/{tool}"
        return [
            ("envvars.list", "GET", f"{base}/envvars", self.listing),
            ("envvars.create", "POST", f"{base}/envvars", self.create),
            ("envvars.get", "GET", f"{base}/envvars/{{name}}", self.get),
            ("envvars.delete", "DELETE", f"{base}/envvars/{{name}}", self.delete),
            ("envvars.quotas", "GET", f"{base}/quotas", self.quotas),
        ]

    async def listing(self, request: web.Request) -> web.Response:
        """GET envvars: values in clear."""
        tool: Tool = self._world.tool_of(request)
        pairs = [_pair(name, value) for name, value in sorted(tool.envvars.items())]
        return web.json_response({"envvars": pairs, "messages": {}})

    async def create(self, request: web.Request) -> web.Response:
        """POST envvars: creates or overwrites."""
        tool: Tool = self._world.tool_of(request)
        try:
            body = as_go_reads(await request.read())
            name, value = body["name"], body["value"]
        except (ValueError, KeyError, TypeError):
            raise echo_error(400, "request body has an error: doesn't match schema") from None
        if not isinstance(name, str) or not isinstance(value, str):
            raise echo_error(400, "request body has an error: value must be a string")
        if not NAME.fullmatch(name):
            raise messages_error(
                400, f"Invalid environment variable name, must match '{NAME.pattern}', got '{name}'"
            )
        tool.envvars[name] = value
        self._world.changed(tool)
        return web.json_response({"envvar": _pair(name, value), "messages": {}})

    async def get(self, request: web.Request) -> web.Response:
        """GET envvars/NAME."""
        name, value = self._find(request)
        return web.json_response({"envvar": _pair(name, value), "messages": {}})

    async def delete(self, request: web.Request) -> web.Response:
        """DELETE envvars/NAME: echoes the value it had."""
        tool: Tool = self._world.tool_of(request)
        name, value = self._find(request)
        del tool.envvars[name]
        self._world.changed(tool)
        return web.json_response({"envvar": _pair(name, value), "messages": {}})

    async def quotas(self, request: web.Request) -> web.Response:
        """GET quotas: another shape than the other services'."""
        tool: Tool = self._world.tool_of(request)
        return web.json_response({"quota": {"quota": QUOTA, "used": len(tool.envvars)}, "messages": {}})

    def _find(self, request: web.Request) -> tuple[str, str]:
        tool: Tool = self._world.tool_of(request)
        name = request.match_info["name"]
        if name not in tool.envvars:
            raise messages_error(404, f"Environment variable {name} not found")
        return name, tool.envvars[name]


def _pair(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}
