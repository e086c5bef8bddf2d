"""A job's container on this machine: a process in a copy of the image's folder, with a port of its own.

Kubernetes gives every pod a network; here all share one. So each container gets a free port, `$PORT` says it,
and where the command itself names the job's port (`--bind=0.0.0.0:8000`) that is rewritten, and 0.0.0.0 with
it, so that nothing listens beyond loopback. An app that ignores both and binds to the job's port by itself is
found there, as long as no other container of this machine has taken it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp

from deploy.local.toolforge import guard
from deploy.local.toolforge.children import Child, Children
from deploy.local.toolforge.engine import LogSink

CONNECT_TIMEOUT = 5.0
NOT_FOUND = 127


def resolve_command(command: str, processes: Mapping[str, str]) -> list[str]:
    """The argument list behind a job's command, as the launcher takes it: a process type, or a program."""
    words = shlex.split(command)
    if words and words[0] == "launcher":
        words = words[1:]
    if words and words[0] in processes:
        line = processes[words[0]]
        return ["bash", "-c", line + "".join(f" {shlex.quote(word)}" for word in words[1:])]
    return words


def localise(word: str, port: int | None, own: int | None) -> str:
    """A command's word with the job's port and the wildcard address replaced by this container's."""
    word = re.sub(r"(?<![\d.])0\.0\.0\.0(?![\d.])", "127.0.0.1", word)
    if port is not None and own is not None:
        word = re.sub(rf"(?<=[:=\s]){port}(?=$|[\s'\"])|^{port}$", str(own), word)
    return word


def free_port(taken: set[int]) -> int:
    """A port that nothing listens on."""
    while True:
        with contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port


class ProcessContainer:
    """A running process. `on_end` is called once, when it is gone."""

    def __init__(
        self,
        child: Child,
        log: LogSink,
        *,
        port: int | None,
        own_port: int | None,
        folder: Path,
        env: Mapping[str, str],
        children: Children,
        on_end: Callable[[], None],
    ) -> None:
        self._child = child
        self._port = port
        self._own_port = own_port
        self._folder = folder
        self._env = env
        self._children = children
        self._on_end = on_end
        self._found_at = own_port
        self._output = asyncio.create_task(self._drain(log))

    async def wait(self) -> int:
        """Its exit code."""
        code = await self._child.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._output), 0.5)
        return code

    async def stop(self, grace: float) -> None:
        """End it with all its children."""
        await self._child.stop(grace)
        self._output.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._output
        self._on_end()

    async def listening(self) -> bool:
        """Whether something answers at its port, or at the job's port when that is really its own."""
        if self._own_port is not None and await _connects(self._own_port):
            self._found_at = self._own_port
            return True
        if self._port is not None and self._owns(self._port) and await _connects(self._port):
            self._found_at = self._port
            return True
        return False

    async def get(self, path: str) -> int | None:
        """The status of an HTTP health check."""
        if not await self.listening():
            return None
        timeout = aiohttp.ClientTimeout(total=CONNECT_TIMEOUT)
        url = f"http://127.0.0.1:{self._found_at}/{path.lstrip('/')}"
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(url, allow_redirects=False) as answer,
            ):
                return answer.status
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    async def check(self, script: str) -> bool:
        """Whether a health check script succeeds."""
        try:
            child = await self._children.spawn(["bash", "-c", script], cwd=self._folder, env=self._env)
        except OSError:
            return False
        try:
            return await asyncio.wait_for(child.wait(), CONNECT_TIMEOUT) == 0
        except TimeoutError:
            return False
        finally:
            await child.stop()

    def address(self) -> tuple[str, int] | None:
        """Where it listens."""
        return None if self._found_at is None else ("127.0.0.1", self._found_at)

    async def _drain(self, log: LogSink) -> None:
        async for line in self._child.lines():
            log(line)

    def _owns(self, port: int) -> bool:
        inodes = _listening_inodes(port)
        return bool(inodes) and any(_holds(pid, inodes) for pid in guard.members({self._child.pid}))


class FailedContainer:
    """A container whose command does not exist: it ends at once with the shell's code for that."""

    async def wait(self) -> int:
        """127."""
        return NOT_FOUND

    async def stop(self, grace: float) -> None:
        """Nothing runs."""

    async def listening(self) -> bool:
        """Never."""
        return False

    async def get(self, path: str) -> int | None:
        """Never."""
        return None

    async def check(self, script: str) -> bool:
        """Never."""
        return False

    def address(self) -> None:
        """Nowhere."""


async def _connects(port: int) -> bool:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found


def _holds(pid: int, inodes: set[str]) -> bool:
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}") in inodes:
                    return True
    return False
