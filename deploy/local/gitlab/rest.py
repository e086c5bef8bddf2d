"""The door of the REST API: finds the operation, the asker and the parameters, and writes the answer."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web
from multidict import MultiMapping

from deploy.local.gitlab import auth
from deploy.local.gitlab.answers import answer
from deploy.local.gitlab.api import (
    commits,
    deployments,
    environments,
    hooks,
    issues,
    members,
    merge_requests,
    notes,
    projects,
    repository,
    statuses,
    users,
)
from deploy.local.gitlab.api.call import Call, Reply
from deploy.local.gitlab.api.errors import (
    ApiError,
    bad_parameter,
    forbidden,
    insufficient_scope,
    invalid_token,
    unauthorized,
)
from deploy.local.gitlab.api.routes import Operation, routes
from deploy.local.gitlab.git import GitError
from deploy.local.gitlab.model import now

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

PREFIX = "/api/v4"
RATE_LIMIT = 2000
#: Modules whose import puts their operations into the table.
RESOURCES = (
    *(commits, deployments, environments, hooks, issues, members, merge_requests),
    *(notes, projects, repository, statuses, users),
)


class Rest:
    """Answers everything below `/api/v4`."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._minute = 0
        self._observed = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request, from its raw path to the answer; GitLab's errors become their JSON bodies."""
        raw_path = request.rel_url.raw_path.removeprefix(PREFIX)
        found = routes.find(request.method, raw_path)
        if isinstance(found, str):
            text = "404 Not Found" if found == "404" else "405 Not Allowed"
            return _json({"error": text}, int(found))
        operation, path = found

        async def work() -> web.StreamResponse:
            return await self._work(request, operation, path)

        return await answer(self._lab, request, operation.name, work)

    async def _work(self, request: web.Request, operation: Operation, path: dict[str, str]) -> web.Response:
        try:
            identity = self._identify(request, operation)
            query = _flat(request.query)
            params = {**query, **await _body(request), **path}
            url = f"{self._lab.url}{request.rel_url.raw_path}"
            call = Call(self._lab, operation, url, path, query, params, identity)
            response = _response(await operation.handler(call), operation.status)
        except ApiError as error:
            response = _json(error.body, error.status, error.headers)
        except GitError as error:
            response = _json({"message": f"500 Internal Server Error: {error}"}, 500)
        self._rate_headers(response)
        return response

    def _identify(self, request: web.Request, operation: Operation) -> auth.Identity | None:
        secret = auth.secret_from(request.headers, request.query)
        if secret is None:
            if operation.who != "anyone":
                raise unauthorized()
            return None
        try:
            identity = auth.find(self._lab.store, secret)
        except auth.BadToken as problem:
            raise (invalid_token(str(problem)) if str(problem) else unauthorized()) from None
        reading = request.method in ("GET", "HEAD")
        enough = (auth.READ_SCOPES if reading else frozenset({"api"})) | operation.scopes
        if not enough & set(identity.token.scopes):
            raise insufficient_scope("api read_api" if reading else "api")
        if operation.who == "admin" and not identity.user.admin:
            raise forbidden()
        self._used(identity)
        return identity

    def _used(self, identity: auth.Identity) -> None:
        """Note the use of a token, to the minute (GitLab is coarser still)."""
        moment = now()
        if (identity.token.last_used_at or "")[:16] != moment[:16]:
            identity.token.last_used_at = moment
            self._lab.store.tokens.save(identity.token)

    def _rate_headers(self, response: web.Response) -> None:
        """What GitLab tells of its limit; here nothing is ever throttled but by a fault."""
        seconds = int(time.time())
        minute = seconds // 60
        if minute != self._minute:
            self._minute, self._observed = minute, 0
        self._observed += 1
        response.headers["RateLimit-Limit"] = str(RATE_LIMIT)
        response.headers["RateLimit-Observed"] = str(self._observed)
        response.headers["RateLimit-Remaining"] = str(max(0, RATE_LIMIT - self._observed))
        response.headers["RateLimit-Reset"] = str((minute + 1) * 60)


def _flat(items: MultiMapping[Any]) -> dict[str, Any]:
    """`a=1&b[]=2&b[]=3` as `{a: "1", b: ["2", "3"]}`."""
    flat: dict[str, Any] = {}
    for key, value in items.items():
        if key.endswith("[]"):
            flat.setdefault(key[:-2], []).append(value)
        else:
            flat[key] = value
    return flat


async def _body(request: web.Request) -> dict[str, Any]:
    if not request.body_exists:
        return {}
    if request.content_type == "application/json":
        try:
            data = json.loads(await request.read() or b"{}")
        except ValueError:
            raise bad_parameter("The provided JSON is invalid") from None
        if not isinstance(data, dict):
            raise bad_parameter("The provided JSON is not an object")
        return data
    return _flat(await request.post())


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    text = json.dumps(body, separators=(",", ":"))
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)


def _response(result: Any, usual_status: int) -> web.Response:
    if not isinstance(result, Reply):
        return _json(result, usual_status)
    status = result.status or usual_status
    if status == 204:
        return web.Response(status=204, headers=result.headers)
    if isinstance(result.body, bytes):
        return web.Response(status=status, body=result.body, headers=result.headers)
    return _json(result.body, status, result.headers)
