"""jobs-api behind the gateway: endpoints, texts and codes (contract section 3)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from deploy.local.toolforge import job_schema
from deploy.local.toolforge.answers import ApiError, fastapi_error, messages_error, wrapped_error
from deploy.local.toolforge.images import Images
from deploy.local.toolforge.job_logs import JobLog
from deploy.local.toolforge.job_schema import BadJob
from deploy.local.toolforge.job_status import default_status, status_of
from deploy.local.toolforge.jobs import Jobs, RuntimeRefused
from deploy.local.toolforge.log_streams import ndjson, until_gone
from deploy.local.toolforge.model import JobRecord, Tool
from deploy.local.toolforge.world import World

MAX_LINES = 5000
_BOOLEAN: TypeAdapter[bool] = TypeAdapter(bool)


class JobsApi:
    """The handlers."""

    prefix = "/jobs"

    def __init__(self, world: World, jobs: Jobs, images: Images) -> None:
        self._world = world
        self._jobs = jobs
        self._images = images

    def routes(self) -> list[tuple[str, str, str, Any]]:
        """(operation, method, path, handler); every path also with a slash at its end."""
        base = "/jobs/v1/tool/{tool}"
        plain = [
            ("jobs.list", "GET", f"{base}/jobs", self.listing),
            ("jobs.create", "POST", f"{base}/jobs", self.create),
            ("jobs.create", "PUT", f"{base}/jobs", self.create),
            ("jobs.update", "PATCH", f"{base}/jobs", self.update),
            ("jobs.flush", "DELETE", f"{base}/jobs", self.flush),
            ("jobs.get", "GET", f"{base}/jobs/{{name}}", self.get),
            ("jobs.delete", "DELETE", f"{base}/jobs/{{name}}", self.delete),
            ("jobs.restart", "POST", f"{base}/jobs/{{name}}/restart", self.restart),
            ("jobs.logs", "GET", f"{base}/jobs/{{name}}/logs", self.logs),
            ("jobs.quotas", "GET", f"{base}/quotas", self.quotas),
            ("jobs.images", "GET", f"{base}/images", self.images),
        ]
        return plain + [
            (operation, method, f"{path}/", handler) for operation, method, path, handler in plain
        ]

    async def listing(self, request: web.Request) -> web.Response:
        """GET jobs."""
        tool: Tool = self._world.tool_of(request)
        everything = _is_true("include_unset", request.query.get("include_unset", "true"))
        jobs = [self._view(tool, record, everything=everything) for record in tool.jobs.values()]
        return _ok({"jobs": jobs})

    async def create(self, request: web.Request) -> web.Response:
        """POST jobs: 201, with the default status; 409 for every name that exists."""
        tool: Tool = self._world.tool_of(request)
        spec = await self._spec(request)
        existing = tool.jobs.get(spec["name"])
        if existing and self._status(tool, existing)["status_short"].lower() != "completed":
            raise self._error(409, f"A job with the name {spec['name']} already exists")
        if existing:
            await self._jobs.delete(tool, existing.name)
        record = self._guarded(self._jobs.create, tool, spec)
        return _ok({"job": {**self._view(tool, record), **default_status()}}, status=201)

    async def update(self, request: web.Request) -> web.Response:
        """PATCH jobs: an upsert of the whole object."""
        tool: Tool = self._world.tool_of(request)
        spec = await self._spec(request)
        done = self._guarded(self._jobs.upsert, tool, spec)
        return _ok({"job_changed": done.changed}, info=[done.message])

    async def flush(self, request: web.Request) -> web.Response:
        """DELETE jobs, which is also DELETE of a job with an empty name: all of them."""
        tool: Tool = self._world.tool_of(request)
        await asyncio.gather(*(self._jobs.delete(tool, name) for name in list(tool.jobs)))
        return _ok({})

    async def get(self, request: web.Request) -> web.Response:
        """GET jobs/N."""
        return _ok({"job": self._view(self._world.tool_of(request), self._find(request))})

    async def delete(self, request: web.Request) -> web.Response:
        """DELETE jobs/N: blocks while the process exits."""
        await self._jobs.delete(self._world.tool_of(request), self._find(request).name)
        return _ok({})

    async def restart(self, request: web.Request) -> web.Response:
        """POST jobs/N/restart: returns before the new pod is up."""
        record = self._find(request)
        if record.spec["job_type"] == "one-off":
            raise self._error(400, "Unable to restart a one-off job")
        self._jobs.restart(self._world.tool_of(request), record.name)
        return _ok({})

    async def logs(self, request: web.Request) -> web.StreamResponse:
        """GET jobs/N/logs. Only `follow=true` follows, and then nothing is sent before the first entry."""
        tool: Tool = self._world.tool_of(request)
        lines = self._lines(request.query.get("lines", "500"))
        record = self._find(request)
        log = self._jobs.log(tool, record.name)
        missing = self._error(404, f"Job '{record.name}' does not have any logs available")
        if record.spec.get("filelog"):
            raise missing
        entries = log.entries(self._world.scaled(self._world.settings.latency.log_lag))[-lines:]
        if request.query.get("follow") != "true":
            if not entries:
                raise missing
            return web.Response(
                body=ndjson([e.to_json() for e in entries]), content_type="text/plain", charset="utf-8"
            )
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        since = entries[0].number - 1 if entries else 0
        await until_gone(request, _follow(request, response, log, since))
        return response

    async def quotas(self, request: web.Request) -> web.Response:
        """GET quotas."""
        tool: Tool = self._world.tool_of(request)
        limits = self._world.settings.job_limits
        pods, cpu, memory = self._jobs.demand(tool)
        running = [
            _item("Total running jobs at once (Kubernetes pods)", str(limits.pods), str(pods)),
            _item("Running one-off and cron jobs", str(limits.pods), str(self._jobs.count(tool, "one-off"))),
            _item("CPU", f"{limits.cpu:.1f}", f"{cpu:.4g}"),
            _item("Memory", f"{limits.memory / 1024**3:.1f}Gi", f"{memory / 1024**3:.4g}Gi"),
        ]
        per_job = [
            _item("CPU", f"{limits.job_cpu:.1f}"),
            _item("Memory", f"{limits.job_memory / 1024**3:.1f}Gi"),
        ]
        continuous = "Continuous jobs (including web services)"
        definitions = [
            _item("Cron jobs", str(limits.cron_jobs), str(self._jobs.count(tool, "scheduled"))),
            _item(continuous, str(limits.continuous_jobs), str(self._jobs.count(tool, "continuous"))),
        ]
        categories = [
            {"name": "Running jobs", "items": running},
            {"name": "Per-job limits", "items": per_job},
            {"name": "Job definitions", "items": definitions},
        ]
        return _ok({"quota": {"categories": categories}})

    async def images(self, request: web.Request) -> web.Response:
        """GET images."""
        return _ok({"images": self._images.listing(self._world.tool_of(request).name)})

    def _guarded(self, action: Any, tool: Tool, spec: dict[str, Any]) -> Any:
        try:
            return action(tool, spec)
        except BadJob as error:
            raise self._error(400, str(error)) from None
        except RuntimeRefused as error:
            raise self._error(500, str(error)) from None

    async def _spec(self, request: web.Request) -> dict[str, Any]:
        try:
            body = json.loads(await request.read())
        except ValueError as error:
            detail = {"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error", "input": {}}
            raise fastapi_error(422, [{**detail, "ctx": {"error": str(error)}}]) from None
        try:
            return job_schema.parse(body, publish=self._world.settings.jobs_publish)
        except ValidationError as error:
            raise fastapi_error(422, job_schema.validation_errors(error)) from None
        except BadJob as error:
            raise self._error(400, str(error)) from None

    def _find(self, request: web.Request) -> JobRecord:
        tool: Tool = self._world.tool_of(request)
        name = request.match_info["name"]
        if name not in tool.jobs:
            raise self._error(404, f"Job '{name}' does not exist")
        return tool.jobs[name]

    def _lines(self, text: str) -> int:
        try:
            lines = int(text)
        except ValueError:
            raise self._error(400, "Unable to parse lines as integer") from None
        if not 1 <= lines <= MAX_LINES:
            raise self._error(400, f"The number of lines must be between 1 and {MAX_LINES}")
        return lines

    def _status(self, tool: Tool, record: JobRecord) -> dict[str, Any]:
        deployment = self._jobs.deployment(tool, record.name)
        return status_of(record.name, deployment, up_to_date=record.spec == record.applied)

    def _view(self, tool: Tool, record: JobRecord, *, everything: bool = True) -> dict[str, Any]:
        spec = job_schema.completed(record.spec) if everything else record.spec
        if not self._world.settings.jobs_publish:
            spec = {key: value for key, value in spec.items() if key != "publish"}
        return {
            **job_schema.normalised(spec),
            "image": record.spec["imagename"],
            "image_state": "stable",
            **self._status(tool, record),
        }

    def _error(self, status: int, text: str) -> ApiError:
        if self._world.settings.wrapped_job_errors:
            return wrapped_error(status, text)
        return messages_error(status, text)


def _is_true(name: str, text: str) -> bool:
    """A boolean of the query, in any of the words that FastAPI takes; its 422 for others."""
    try:
        return _BOOLEAN.validate_python(text)
    except ValidationError as error:
        problem = {**error.errors(include_url=False)[0], "loc": ["query", name]}
        raise fastapi_error(422, [problem]) from None


async def _follow(request: web.Request, response: web.StreamResponse, log: JobLog, since: int) -> None:
    async for entry in log.follow(since):
        if not response.prepared:
            await response.prepare(request)
        await response.write(ndjson([entry.to_json()]))


def _item(name: str, limit: str, used: str | None = None) -> dict[str, str]:
    return {"name": name, "limit": limit} | ({} if used is None else {"used": used})


def _ok(fields: dict[str, Any], *, status: int = 200, info: list[str] | None = None) -> web.Response:
    """jobs-api sends all three lists of messages, empty or not."""
    messages: dict[str, list[str]] = {"info": info or [], "warning": [], "error": []}
    return web.json_response({**fields, "messages": messages}, status=status)
