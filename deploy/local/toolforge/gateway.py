"""The API gateway: identity from the client certificate, the 403 for another tool's path, faults, counters.

Facts: contract section 1. The shape of the 403 and the answer to an expired certificate are not documented
for the real gateway: it is opaque text here, and nginx's own page for an expired certificate.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from aiohttp import web

from deploy.local.toolforge.answers import (
    ApiError,
    echo_error,
    fastapi_error,
    messages_error,
    nginx_error,
    plain_error,
)
from deploy.local.toolforge.descriptions import description
from deploy.local.toolforge.faults import HTTP_KINDS, Fault
from deploy.local.toolforge.world import World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
REASONS = {
    409: "Conflict",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}


class Api(Protocol):
    """One service behind the gateway."""

    prefix: str

    def routes(self) -> list[tuple[str, str, str, Any]]:
        """(operation, method, path, handler)."""


class Gateway:
    """Lets requests through to the services, or not."""

    def __init__(self, world: World, apis: Iterable[Api]) -> None:
        self._world = world
        self._apis = list(apis)
        #: The operation of each handler; those without a tool need no credentials.
        self._operations: dict[Any, str] = {}

    def application(self) -> web.Application:
        """The aiohttp application to serve over TLS."""
        app = web.Application(middlewares=[self._gate], client_max_size=4 * 1024**2)
        for api in self._apis:
            for operation, method, path, handler in api.routes():
                app.router.add_route(method, path, handler)
                self._operations[handler] = operation
            for name, handler in self._open_handlers().items():
                app.router.add_get(f"{api.prefix}{name}", handler)
        app.router.add_get("/openapi.json", self._openapi)
        return app

    @web.middleware
    async def _gate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        handled_by = request.match_info.handler
        is_open = handled_by in self._open_handlers().values()
        operation = _open_operation(request.path) if is_open else self._operations.get(handled_by, "")
        tool = ""
        try:
            if not is_open:
                tool = self._authorise(request)
            if not self._world.faults:
                response = await _answer(request, handler)
            else:
                response = await self._answer_with_faults(request, handler, tool, operation)
        except ApiError as error:
            response = error.response()
        except ConnectionResetError:
            response = web.Response(status=499)  # the reader of a stream has gone; nobody sees this
        self._world.calls[(tool, operation or "other", response.status)] += 1
        return response

    def _open_handlers(self) -> dict[str, Handler]:
        """What answers without credentials, for every service."""
        return {
            "/openapi.json": self._openapi,
            "/v1/healthz": self._healthz,
            "/v1/metrics": self._metrics,
        }

    def _authorise(self, request: web.Request) -> str:
        """The tool that is asking; raises the gateway's refusals."""
        name = self._identity(request)
        asked = request.match_info.get("tool") or _tool_in_path(request.path)
        if asked is not None and asked != name:
            raise plain_error(403, f"Forbidden: tool {name} may not act on this path")
        if name not in self._world.tools:
            raise plain_error(403, "Forbidden")
        return name

    def _identity(self, request: web.Request) -> str:
        authorization = request.headers.get("Authorization", "")
        if authorization.startswith("Bearer "):
            name = self._world.identities.tool_of_token(authorization[7:].strip())
            if name is None:
                raise plain_error(401, "Unauthorized")
            return name
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        if not certificate:
            raise plain_error(401, "Unauthorized")
        if ssl.cert_time_to_seconds(certificate["notAfter"]) < time.time():
            raise _expired()
        return str(dict(pair[0] for pair in certificate["subject"])["commonName"])

    async def _answer_with_faults(
        self, request: web.Request, handler: Handler, tool: str, operation: str
    ) -> web.StreamResponse:
        faults = self._world.faults
        while fault := faults.take("slow", tool=tool, operation=operation):
            await self._world.sleep(fault.seconds)
        fault = faults.take(*(HTTP_KINDS - {"slow"}), tool=tool, operation=operation)
        if fault is None:
            return await _answer(request, handler)
        if fault.kind == "certificate_expired":
            raise _expired()
        if fault.kind == "status":
            raise _chosen(fault, operation)
        if fault.kind == "cut_before":
            return _abort(request, web.Response(status=499))
        response = await _answer(request, handler)
        await self._world.sleep(fault.seconds)
        if fault.kind == "cut_middle" and isinstance(response, web.Response):
            await _send_half(request, response)
        return _abort(request, response)

    async def _openapi(self, request: web.Request) -> web.Response:
        return web.json_response(description(request.path.rpartition("/openapi.json")[0], self._apis))

    async def _healthz(self, request: web.Request) -> web.Response:
        if request.path.startswith("/jobs/"):
            lists: dict[str, list[str]] = {"info": [], "warning": [], "error": []}
            return web.json_response(
                {"health": {"status": "OK", "message": "All systems normal"}, "messages": lists}
            )
        return web.json_response({"status": "OK", "messages": {}})

    async def _metrics(self, request: web.Request) -> web.Response:
        lines = ["# TYPE toolforge_requests_total counter"]
        prefix = request.path.split("/")[1]
        for (_, operation, status), count in sorted(self._world.calls.items()):
            if operation.startswith(f"{prefix}."):
                labels = f'operation="{operation}",status="{status}"'
                lines.append(f"toolforge_requests_total{{{labels}}} {count}")
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return error.response()
    except web.HTTPException as error:
        return _unrouted(request, error.status, error.reason).response()


def _unrouted(request: web.Request, status: int, reason: str) -> ApiError:
    """A path or method that no service has, in the shape of the service that would have had it."""
    if request.path.startswith("/jobs/"):
        return fastapi_error(status, reason)
    if request.path.startswith(("/builds/", "/envvars/")):
        return echo_error(status, "no matching operation was found" if status == 404 else reason)
    return nginx_error(status, reason)


def _open_operation(path: str) -> str:
    """The operation of what answers without credentials: `builds.healthz`, or `openapi` for all of them."""
    name = path.rpartition("/")[2].removesuffix(".json")
    return f"{path.split('/')[1]}.{name}" if path.count("/") > 1 else name


def _tool_in_path(path: str) -> str | None:
    parts = path.split("/")
    return parts[4] if len(parts) > 4 and parts[2:4] == ["v1", "tool"] else None


def _expired() -> ApiError:
    """nginx's page for a client certificate that it could not verify."""
    page = (
        "<html>\r\n<head><title>400 The SSL certificate error</title></head>\r\n<body>\r\n"
        "<center><h1>400 Bad Request</h1></center>\r\n<center>The SSL certificate error</center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return ApiError(400, page, content_type="text/html")


def _chosen(fault: Fault, operation: str) -> ApiError:
    headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
    reason = REASONS.get(fault.status, "Error")
    if fault.body is not None:
        if fault.body.startswith("{"):
            return ApiError(fault.status, json.loads(fault.body), headers=headers)
        return ApiError(fault.status, fault.body, content_type="text/plain", headers=headers)
    if operation == "builds.start" and fault.status == 409:
        return messages_error(
            409, "Got too many builds running (4 out of 4 max), cancel some or wait for them to finish"
        )
    if fault.status in (409, 500):
        return messages_error(fault.status, f"{reason}: injected for {operation}")
    return nginx_error(fault.status, reason, headers)


def _abort(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Close the connection under the answer; the client sees it cut."""
    if request.transport:
        request.transport.abort()
    return response


async def _send_half(request: web.Request, response: web.Response) -> None:
    body = response.body if isinstance(response.body, bytes) else b""
    half = web.StreamResponse(status=response.status, headers={"Content-Type": response.content_type})
    half.content_length = len(body)
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    await asyncio.sleep(0.05)  # lets the half leave the machine before the connection is torn down
