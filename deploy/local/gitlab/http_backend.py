"""Clone, fetch and push over HTTP: rights first, then git's own `http-backend`, streamed both ways.

A push is followed up before its answer ends: merge requests are up to date when `git push` returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from typing import TYPE_CHECKING

from aiohttp import web

from deploy.local.gitlab import auth, pushes
from deploy.local.gitlab.answers import answer
from deploy.local.gitlab.model import Project
from deploy.local.gitlab.payloads import ZERO

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

SERVICES = ("git-upload-pack", "git-receive-pack")
_CHUNK = 64 * 1024
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    """In the child: be killed when the server's thread ends, however it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Refused(Exception):
    """Not allowed, with the status and text that git shows."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class HttpBackend:
    """Answers `/<group>/<project>.git/...`."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request of a git client."""
        tail = request.match_info["tail"]
        service = request.query.get("service", "") if tail == "info/refs" else tail
        known = (request.method == "GET" and tail == "info/refs") or (
            request.method == "POST" and tail in SERVICES
        )
        if service not in SERVICES or not known:
            return web.Response(status=404, text="Not Found")
        operation = f"git {service.removeprefix('git-')}" if tail in SERVICES else f"git refs {service}"
        # What a fault may cut off is collected first; else a clone is streamed as it comes.
        streamed = tail == "git-upload-pack" and not self._lab.faults.armed()
        return await answer(
            self._lab, request, operation, lambda: self._work(request, service, tail, streamed)
        )

    async def redirect(self, request: web.Request) -> web.StreamResponse:
        """`/<group>/<project>/info/refs`: GitLab sends git clients to the address with `.git`."""
        there = f"/{request.match_info['namespace']}/{request.match_info['name']}.git/info/refs"
        raise web.HTTPMovedPermanently(f"{there}?{request.rel_url.raw_query_string}")

    async def _work(
        self, request: web.Request, service: str, tail: str, streamed: bool
    ) -> web.StreamResponse:
        try:
            project, identity = self._allow(request, service == "git-receive-pack")
        except Refused as no:
            headers = {"WWW-Authenticate": 'Basic realm="GitLab"'} if no.status == 401 else {}
            return web.Response(status=no.status, text=no.text, headers=headers)
        environment = self._environment(request, project, identity, tail)
        commands = Commands() if tail == "git-receive-pack" else None
        response = await self._run(request, environment, commands, streamed)
        if commands and identity:
            await asyncio.shield(self._follow_up(project, identity, commands.parsed()))
        return response

    def _allow(self, request: web.Request, pushing: bool) -> tuple[Project, auth.Identity | None]:
        """The project and who asks; Refused with what GitLab tells git clients."""
        store = self._lab.store
        path = f"{request.match_info['namespace']}/{request.match_info['name'].removesuffix('.git')}"
        project = self._lab.find_project(path) if not path.isdecimal() else None
        denied = Refused(401, "HTTP Basic: Access denied. The provided password or token is incorrect.\n")
        secret = auth.basic_password(request.headers)
        identity = None
        if secret is not None:
            try:
                identity = auth.find(store, secret)
            except auth.BadToken:
                raise denied from None
        if identity is None and (pushing or project is None or not auth.can_read(store, project, None)):
            raise denied
        if project is None or (identity and not auth.can_fetch(store, project, identity)):
            text = (
                "The project you were looking for could not be found or you don't have permission to view it."
            )
            raise Refused(404, text + "\n")
        if pushing and not (identity and auth.can_push(store, project, identity)):
            raise Refused(403, "You are not allowed to push code to this project.\n")
        return project, identity

    def _environment(
        self, request: web.Request, project: Project, identity: auth.Identity | None, tail: str
    ) -> dict[str, str]:
        git = self._lab.git
        surroundings = git.env | {
            "GIT_PROJECT_ROOT": str(git.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": f"/{project.id}.git/{tail}",
            "QUERY_STRING": request.rel_url.raw_query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "REMOTE_ADDR": request.remote or "",
        }
        if request.headers.get("Git-Protocol"):
            surroundings["GIT_PROTOCOL"] = request.headers["Git-Protocol"]
        if identity:
            surroundings["REMOTE_USER"] = identity.user.username
        return surroundings

    async def _run(
        self, request: web.Request, environment: dict[str, str], commands: Commands | None, streamed: bool
    ) -> web.StreamResponse:
        """Run the CGI program on the request, and end it with the request."""
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            process_group=0,
            preexec_fn=_die_with_parent,
        )
        feeding = asyncio.create_task(_feed(request, process, commands))
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._lab.settings.git_timeout_seconds):
                status, headers = await _head(process.stdout)
                if streamed:
                    return await _copy(request, process.stdout, status, headers)
                body = await process.stdout.read()
                await process.wait()
                return web.Response(status=status, headers=headers, body=body)
        finally:
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await feeding
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _follow_up(
        self, project: Project, identity: auth.Identity, wanted: dict[str, tuple[str, str]]
    ) -> None:
        """Of the moves that were asked for, those that happened."""
        refs = await self._lab.git.refs(project.id, fresh=True)
        done = {
            ref: (old, new)
            for ref, (old, new) in wanted.items()
            if (ref in refs) == (new != ZERO) and (ref.startswith("refs/tags/") or refs.get(ref, ZERO) == new)
        }
        await pushes.received(self._lab, project, identity.user, done)


class Commands:
    """Reads along what a push asks for: pkt-lines `old new ref` up to the first flush."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0
        self._lines: list[bytes] = []
        self._done = False

    def feed(self, chunk: bytes) -> None:
        """Take the next part of the request's body."""
        if self._done:
            return
        self._data += chunk
        while len(self._data) - self._at >= 4:
            try:
                length = int(self._data[self._at : self._at + 4], 16)
            except ValueError:
                length = 0
            if length < 4:
                self._done = True
                return
            if len(self._data) - self._at < length:
                return
            self._lines.append(bytes(self._data[self._at + 4 : self._at + length]))
            self._at += length

    def parsed(self) -> dict[str, tuple[str, str]]:
        """ref -> (commit before, commit after)."""
        moves = {}
        for line in self._lines:
            parts = line.split(b"\0", 1)[0].decode(errors="replace").strip().split(" ", 2)
            if len(parts) == 3 and len(parts[0]) == len(parts[1]) == 40:
                moves[parts[2]] = (parts[0], parts[1])
        return moves


async def _feed(request: web.Request, process: asyncio.subprocess.Process, commands: Commands | None) -> None:
    """Hand the request's body to the program, as it comes in."""
    assert process.stdin is not None
    try:
        async for chunk in request.content.iter_chunked(_CHUNK):
            if commands:
                commands.feed(chunk)
            process.stdin.write(chunk)
            await process.stdin.drain()
    except ConnectionError:
        pass
    finally:
        with contextlib.suppress(ConnectionError, RuntimeError):
            process.stdin.close()


async def _head(output: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Read the CGI headers."""
    status, headers = 200, {}
    while line := (await output.readline()).decode("latin-1").rstrip("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[name] = value.strip()
    return status, headers


async def _copy(
    request: web.Request, output: asyncio.StreamReader, status: int, headers: dict[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(request)
    while chunk := await output.read(_CHUNK):
        await response.write(chunk)
    await response.write_eof()
    return response
