"""logs-api behind the gateway: what the current jobs client reads logs from (contract 3.6)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiohttp import web

from deploy.local.toolforge.answers import wrapped_error
from deploy.local.toolforge.job_logs import Entry, JobLog
from deploy.local.toolforge.jobs import Jobs
from deploy.local.toolforge.log_streams import ndjson, until_gone
from deploy.local.toolforge.model import Tool
from deploy.local.toolforge.world import World

PAGE = 500


class LogsApi:
    """The handlers. A page names the next one by the number of the entry it starts after."""

    prefix = "/logs"

    def __init__(self, world: World, jobs: Jobs) -> None:
        self._world = world
        self._jobs = jobs

    def routes(self) -> list[tuple[str, str, str, Any]]:
        """(operation, method, path, handler)."""
        base = "/logs/v1/tool/{tool}/job/{name}"
        return [
            ("logs.get", "GET", f"{base}/logs", self.get),
            ("logs.stream", "GET", f"{base}/logs_stream", self.stream),
        ]

    async def get(self, request: web.Request) -> web.Response:
        """GET logs: a page of entries, and where the next page is."""
        tool, name = self._job(request)
        query = request.query
        newest_first = query.get("direction", "newest_first") == "newest_first"
        limit = _number(query.get("lines"), PAGE)
        entries = self._between(tool, name, query.get("since"), query.get("until"))
        if newest_first:
            entries.reverse()
        if cursor := query.get("cursor"):
            number = _number(cursor, 0)
            entries = [e for e in entries if (e.number < number if newest_first else e.number > number)]
        page = entries[: min(limit, PAGE)]
        following = None
        if len(page) == PAGE and limit > PAGE and len(entries) > PAGE:
            url = request.rel_url.update_query(cursor=str(page[-1].number), lines=str(limit - PAGE))
            following = {"url": str(url)}
        data = {"logs": [entry.to_json() for entry in page], "next": following}
        return web.json_response({"data": data, "messages": {}})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """GET logs_stream: NDJSON of what is there and what comes."""
        tool, name = self._job(request)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await until_gone(request, _send(response, self._jobs.log(tool, name)))
        return response

    def _job(self, request: web.Request) -> tuple[Tool, str]:
        tool: Tool = self._world.tool_of(request)
        name = request.match_info["name"]
        if name not in tool.jobs:
            raise wrapped_error(404, f"Job '{name}' does not exist")
        return tool, name

    def _between(self, tool: Tool, name: str, since: str | None, until: str | None) -> list[Entry]:
        lag = self._world.scaled(self._world.settings.latency.log_lag)
        first = _moment(since) if since else 0
        last = _moment(until) if until else None
        entries = self._jobs.log(tool, name).entries(lag)
        return [e for e in entries if e.moment_ns >= first and (last is None or e.moment_ns <= last)]


async def _send(response: web.StreamResponse, log: JobLog) -> None:
    async for entry in log.follow():
        await response.write(ndjson([entry.to_json()]))


def _number(text: str | None, default: int) -> int:
    try:
        return int(text) if text is not None else default
    except ValueError:
        raise wrapped_error(400, f"not a number: {text}") from None


def _moment(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 10**9)
    except ValueError:
        raise wrapped_error(400, f"not a moment: {text}") from None
