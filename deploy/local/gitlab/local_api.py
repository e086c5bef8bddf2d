"""Below `/-/local/`: faults and counters over HTTP, for tests and demonstrations in another process.

Only for the administrator's token, so that no page in a browser and no tool under test gets at it.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from aiohttp import web

from deploy.local.gitlab import auth
from deploy.local.gitlab.lab import Settings

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab


class LocalApi:
    """Arms faults, counts calls, changes settings and token scopes."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def add_to(self, app: web.Application) -> None:
        """Put the addresses on the application."""
        app.router.add_get("/-/health", self._health)
        for method, path, handler in (
            ("GET", "faults", self._list_faults),
            ("POST", "faults", self._add_fault),
            ("DELETE", "faults", self._clear_faults),
            ("GET", "calls", self._calls),
            ("DELETE", "calls", self._reset_calls),
            ("POST", "token_scopes", self._token_scopes),
            ("GET", "settings", self._settings),
            ("PUT", "settings", self._change_settings),
        ):
            app.router.add_route(method, f"/-/local/{path}", self._guarded(handler))

    def _guarded(self, handler: Any) -> Any:
        async def guarded(request: web.Request) -> web.Response:
            secret = auth.secret_from(request.headers, {})
            try:
                identity = auth.find(self._lab.store, secret or "")
            except auth.BadToken:
                return web.json_response({"message": "401 Unauthorized"}, status=401)
            if not identity.user.admin:
                return web.json_response({"message": "403 Forbidden"}, status=403)
            try:
                answer = await handler(request)
            except (ValueError, TypeError, KeyError) as problem:
                return web.json_response({"message": f"400 Bad request - {problem}"}, status=400)
            return web.json_response(answer)

        return guarded

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="GitLab OK")

    async def _list_faults(self, request: web.Request) -> Any:
        return self._lab.faults.armed()

    async def _add_fault(self, request: web.Request) -> Any:
        wanted = dict(await request.json())
        fault = self._lab.faults.add(wanted.pop("operation"), wanted.pop("kind"), **wanted)
        return asdict(fault)

    async def _clear_faults(self, request: web.Request) -> Any:
        one = request.query.get("id")
        return {"cleared": self._lab.faults.clear(int(one) if one else None)}

    async def _calls(self, request: web.Request) -> Any:
        return self._lab.faults.calls()

    async def _reset_calls(self, request: web.Request) -> Any:
        self._lab.faults.reset_calls()
        return {}

    async def _token_scopes(self, request: web.Request) -> Any:
        """Take scopes from a token (or give it others): `{token, scopes}`."""
        wanted = await request.json()
        found = self._lab.store.tokens.by("secret", wanted["token"])
        if not found:
            raise ValueError("no such token")
        found[0].scopes = [str(scope) for scope in wanted["scopes"]]
        self._lab.store.tokens.save(found[0])
        return {"id": found[0].id, "scopes": found[0].scopes}

    async def _settings(self, request: web.Request) -> Any:
        return asdict(self._lab.settings)

    async def _change_settings(self, request: web.Request) -> Any:
        kinds = {field.name: type(getattr(self._lab.settings, field.name)) for field in fields(Settings)}
        for name, value in (await request.json()).items():
            if name not in kinds:
                raise ValueError(f"unknown setting {name!r}; known: {', '.join(kinds)}")
            setattr(self._lab.settings, name, kinds[name](value))
        return asdict(self._lab.settings)
