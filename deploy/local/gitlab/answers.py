"""How a request is answered: through the armed faults, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from deploy.local.gitlab.faults import REQUEST_KINDS, Fault

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

HARMFUL = REQUEST_KINDS - {"slow"}
_JSON = {401: "401 Unauthorized", 403: "403 Forbidden", 404: "404 Not found", 409: "409 Conflict"}
_PAGE = """<!DOCTYPE html>
<html><head><title>{title} ({status})</title></head>
<body><h1>{status}</h1><h3>{title}</h3><p>Please try again in a few minutes.</p></body></html>
"""
_TITLES = {
    500: "We're sorry. Something went wrong on our end.",
    502: "GitLab is taking too much time to respond.",
}

Work = Callable[[], Awaitable[web.StreamResponse]]


async def answer(lab: Lab, request: web.Request, operation: str, work: Work) -> web.StreamResponse:
    """Do the work of a request, unless a fault says otherwise, and count it under its operation."""
    slow = lab.faults.strike(operation, frozenset({"slow"}))
    if slow:
        await asyncio.sleep(slow.seconds)
    fault = lab.faults.strike(operation, HARMFUL)
    if fault is None:
        response = await work()
        lab.faults.count_call(operation, response.status)
        return response
    lab.faults.count_call(operation, fault.status if fault.kind == "status" else fault.kind)
    if fault.kind == "status":
        return refusal(fault)
    if fault.kind == "cut_before":
        return cut(request)
    response = await work()
    if fault.kind == "cut_mid" and isinstance(response, web.Response):
        return await cut_half(request, response)
    return cut(request)


def refusal(fault: Fault) -> web.Response:
    """The answer of a GitLab in trouble: JSON from the application, HTML or text from what stands before
    it.
    """
    if fault.status == 429:
        after = str(fault.retry_after)
        headers = {
            "Retry-After": after,
            "RateLimit-Limit": "2000",
            "RateLimit-Observed": "2001",
            "RateLimit-Remaining": "0",
            "RateLimit-Reset": after,
            "RateLimit-Name": "throttle_authenticated_api",
        }
        return web.Response(status=429, text="Retry later\n", headers=headers)
    if fault.status in _JSON:
        return web.json_response({"message": _JSON[fault.status]}, status=fault.status)
    title = _TITLES.get(fault.status, "Something went wrong")
    page = _PAGE.format(status=fault.status, title=title)
    return web.Response(status=fault.status, text=page, content_type="text/html")


def cut(request: web.Request) -> web.Response:
    """Close the connection without a word; the response that is returned never arrives."""
    if request.transport is not None:
        request.transport.close()
    return web.Response(status=500)


async def cut_half(request: web.Request, response: web.Response) -> web.StreamResponse:
    """Promise the whole answer, send half of it, and close."""
    body = response.body if isinstance(response.body, bytes) else b""
    partial = web.StreamResponse(status=response.status)
    partial.headers["Content-Type"] = response.headers.get("Content-Type", "application/json")
    partial.content_length = max(len(body), 2)
    await partial.prepare(request)
    await partial.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return partial
