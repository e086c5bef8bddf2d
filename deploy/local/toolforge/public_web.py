"""The tools' public addresses: `http://<tool>.localhost:<port>/` goes to its published job, if ready."""

from __future__ import annotations

import html

import aiohttp
from aiohttp import web
from yarl import URL

from deploy.local.toolforge.engine import HttpAnswer
from deploy.local.toolforge.jobs import Jobs
from deploy.local.toolforge.world import World

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
CHUNK = 64 * 1024


class PublicWeb:
    """A reverse proxy by host name."""

    def __init__(self, world: World, jobs: Jobs) -> None:
        self._world = world
        self._jobs = jobs
        self._session: aiohttp.ClientSession | None = None

    def application(self) -> web.Application:
        """The aiohttp application to serve."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        app.on_startup.append(self._open)
        app.on_cleanup.append(self._close)
        return app

    async def _open(self, _: web.Application) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=300)
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False)

    async def _close(self, _: web.Application) -> None:
        if self._session:
            await self._session.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        name = request.host.partition(":")[0].lower().removesuffix(".localhost")
        tool = self._world.tools.get(name)
        if tool is None:
            return _page(404, "No such tool", f"There is no tool named {name} here.")
        record = self._jobs.published(tool)
        if record is None:
            return _page(404, "No webservice", f"The tool {name} runs no webservice at this address.")
        deployment = self._jobs.deployment(tool, record.name)
        container = deployment.ready_container() if deployment else None
        address = container.address() if container else None
        if address is None:
            return _page(503, "Service unavailable", f"The webservice of the tool {name} is not ready.")
        if isinstance(address, HttpAnswer):
            headers = {"Content-Type": "text/html; charset=utf-8", **address.headers}
            return web.Response(status=address.status, text=address.body, headers=headers)
        return await self._forward(request, name, address)

    async def _forward(self, request: web.Request, tool: str, address: tuple[str, int]) -> web.StreamResponse:
        assert self._session is not None
        url = f"http://{address[0]}:{address[1]}{request.raw_path}"
        headers = [(key, value) for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP]
        headers += [("X-Forwarded-For", request.remote or ""), ("X-Forwarded-Proto", "http")]
        body = request.content if request.can_read_body else None
        try:
            async with self._session.request(
                request.method,
                URL(url, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            ) as answer:
                return await _copy(request, answer)
        except (aiohttp.ClientConnectionError, aiohttp.ServerDisconnectedError, TimeoutError):
            return _page(502, "Bad gateway", f"The webservice of the tool {tool} does not answer.")
        except aiohttp.ClientError:
            return _page(502, "Bad gateway", f"The webservice of the tool {tool} answered no HTTP.")


async def _copy(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """Pass an answer on as it comes."""
    response = web.StreamResponse(status=answer.status, reason=answer.reason)
    for key, value in answer.headers.items():
        if key.lower() not in HOP_BY_HOP:
            response.headers.add(key, value)
    await response.prepare(request)
    async for chunk in answer.content.iter_chunked(CHUNK):
        await response.write(chunk)
    await response.write_eof()
    return response


def _page(status: int, title: str, text: str) -> web.Response:
    """A page of the proxy's own, as Toolforge shows one where no tool answers."""
    body = (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<title>{status} {html.escape(title)} - Toolforge (local)</title></head>"
        f"<body><h1>{html.escape(title)}</h1><p>{html.escape(text)}</p><hr><p>Toolforge, on this machine</p>"
        "</body></html>\n"
    )
    return web.Response(status=status, text=body, content_type="text/html")
