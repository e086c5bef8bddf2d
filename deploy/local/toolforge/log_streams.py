"""How logs leave the server: one JSON object a line, flushed as they come, with every way it can go wrong.

Facts: contract sections 2.4 (builds) and 3.6 (jobs, logs-api).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

from deploy.local.toolforge.answers import messages_error
from deploy.local.toolforge.build_log import BuildLog
from deploy.local.toolforge.model import Build
from deploy.local.toolforge.world import World

FOREVER = 10**9
#: How often a silent stream looks whether its reader is still there, in seconds.
LOOK = 0.5


def ndjson(lines: list[dict[str, Any]]) -> bytes:
    """JSON lines.

    Not ASCII-only: U+0085 and the like stay as they are, as Go and Python servers send them.
    """
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode("utf-8", "replace")


async def until_gone(request: web.Request, work: Coroutine[Any, Any, None]) -> None:
    """Do something that may wait for long, for as long as the reader is there.

    Handlers are not cancelled when a client goes away, so that effects happen as they do at Toolforge; a
    stream is the exception. Raises ConnectionResetError when the reader has gone.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=LOOK)
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError
        task.result()
    finally:
        task.cancel()


async def stream_build_log(
    request: web.Request, world: World, build: Build, log: BuildLog, *, follow: bool
) -> web.StreamResponse:
    """Answer GET builds/ID/logs.

    Until the build starts no byte is sent; an error after that is a last line.
    """
    await until_gone(request, _wait_for_start(world, build, log, follow=follow))
    response = web.StreamResponse(headers={"Content-Type": world.settings.log_content_type})
    fault = world.faults.take(
        "log_broken", "log_cut", "log_never_ends", tool=build.tool, name=build.repository
    )
    await response.prepare(request)
    broken = fault is not None and fault.kind in ("log_broken", "log_cut")
    await until_gone(request, _send_lines(response, log, follow=follow, only_first=broken))
    if fault:
        seconds = FOREVER if fault.kind == "log_never_ends" else fault.seconds
        await until_gone(request, world.sleep(seconds))
    if fault and fault.kind == "log_cut":
        return _cut(request, response)
    if log.gone or (fault and fault.kind == "log_broken"):
        text = f"Error getting the logs for {build.id}: unexpected EOF"
        await response.write(ndjson([{"error": [text]}]))
    await response.write_eof()
    return response


async def _wait_for_start(world: World, build: Build, log: BuildLog, *, follow: bool) -> None:
    if log.started:
        return
    if not follow:
        raise messages_error(500, f"Error getting the logs for {build.id}: pipelineRun not yet started")
    if not await log.wait_started(world.scaled(world.settings.latency.log_start_wait)):
        raise messages_error(
            500, f"Error getting the logs for {build.id}: timed out waiting for pipelinerun to start"
        )


async def _send_lines(response: web.StreamResponse, log: BuildLog, *, follow: bool, only_first: bool) -> None:
    if not follow:
        await response.write(ndjson([{"line": line} for line in log.lines]))
        return
    async for batch in log.follow():
        await response.write(ndjson([{"line": line} for line in batch]))
        if only_first:
            return


def _cut(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    if request.transport:
        request.transport.abort()
    return response
