"""All addresses of the instance on one aiohttp application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler

from deploy.local.gitlab.http_backend import HttpBackend
from deploy.local.gitlab.local_api import LocalApi
from deploy.local.gitlab.oidc import Oidc
from deploy.local.gitlab.pages import Pages
from deploy.local.gitlab.rest import PREFIX, Rest
from deploy.local.gitlab.webhooks import Chain, chain

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

LARGEST_BODY = 2 * 1024 * 1024


@web.middleware
async def _begin_chain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What a request sets off hangs together; what follows from a webhook's caller, with that webhook."""
    chain.set(Chain(request.headers.get("X-Gitlab-Event-UUID", "")))
    return await handler(request)


def make_app(lab: Lab) -> web.Application:
    """REST, git, sign-in, local administration and pages, in the order in which paths are tried."""
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_begin_chain])
    app.router.add_route("*", PREFIX + "/{tail:.*}", Rest(lab).handle)
    backend = HttpBackend(lab)
    app.router.add_route("*", r"/{namespace}/{name:[^/]+\.git}/{tail:.*}", backend.handle)
    app.router.add_get(r"/{namespace}/{name}/info/refs", backend.redirect)
    LocalApi(lab).add_to(app)
    Oidc(lab).add_to(app)
    Pages(lab).add_to(app)
    return app
