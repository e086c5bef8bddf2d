"""Starts and ends child processes: each in a session of its own, none outliving the server.

Three nets, from the usual to the worst: `Child.stop` ends a session; PR_SET_PDEATHSIG (through util-linux's
`setpriv`, as a fork hook would be unsafe with threads) ends a child when the server's loop thread dies; and
the guard process ends whole sessions, grandchildren included, when the server is killed with no chance to
act.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from deploy.local.toolforge import guard

MAX_LINE = 64 * 1024


class Child:
    """A running process that leads a session; standard output and error arrive together, line by line."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        mark: str,
        output: asyncio.StreamReader,
        pipe: asyncio.BaseTransport,
        owner: Children,
    ) -> None:
        self._process = process
        self._mark = mark
        self._output = output
        self._pipe = pipe
        self._owner = owner
        self.pid = process.pid

    async def lines(self) -> AsyncIterator[str]:
        """Its output; a line longer than 64 KiB is broken, bytes that are not UTF-8 are replaced."""
        rest = b""
        while chunk := await self._output.read(MAX_LINE):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace").rstrip("\r")
            if len(rest) > MAX_LINE:
                yield rest.decode("utf-8", "replace")
                rest = b""
        if rest:
            yield rest.decode("utf-8", "replace")

    async def wait(self) -> int:
        """Its exit code as a shell would say it (128 + signal)."""
        code = await self._process.wait()
        return 128 - code if code < 0 else code

    async def stop(self, grace: float = 0.0) -> None:
        """End it and all that it started: SIGTERM, the grace in seconds, SIGKILL. Safe to repeat."""
        if self._process.returncode is None and grace > 0:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace)
        self._signal(signal.SIGKILL)
        if guard.members({self.pid}, self._mark):
            await asyncio.to_thread(guard.kill_all, {self.pid}, self._mark)
        await self._process.wait()
        self._pipe.close()
        self._owner.forget(self)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class Children:
    """All children of one server."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(8)
        self._count = 0
        self._alive: set[Child] = set()
        self._prefix = [setpriv, "--pdeathsig", "KILL", "--"] if (setpriv := shutil.which("setpriv")) else []
        self._guard: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the guard."""
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(guard.__file__)), self._mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={},
        )

    async def spawn(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> Child:
        """Start a program with exactly this environment. Raises OSError when it cannot be started."""
        if not (os.sep in argv[0] or shutil.which(argv[0], path=env.get("PATH"))):
            raise FileNotFoundError(argv[0])
        self._count += 1
        mark = f"{self._mark}-{self._count}-"
        read_end, write_end = os.pipe()
        try:
            process = await self._execute(argv, cwd, {**env, guard.MARK: mark}, write_end)
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._tell(f"+{process.pid}\n")
        output = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(read_end, "rb", buffering=0)
        )
        child = Child(process, mark, output, pipe, self)
        self._alive.add(child)
        return child

    async def _execute(
        self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], output: int
    ) -> asyncio.subprocess.Process:
        """Start it on a pipe of ours: with asyncio's, `wait` waits for any daemon that still holds it."""
        return await asyncio.create_subprocess_exec(
            *self._prefix,
            *argv,
            cwd=cwd,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    def forget(self, child: Child) -> None:
        """A child and all of its session are gone."""
        if child in self._alive:
            self._alive.discard(child)
            self._tell(f"-{child.pid}\n")

    async def close(self) -> None:
        """End every child, then the guard."""
        await asyncio.gather(*(child.stop() for child in list(self._alive)))
        if self._guard and self._guard.stdin:
            self._guard.stdin.close()
            await asyncio.to_thread(self._guard.wait)

    def _tell(self, line: str) -> None:
        if self._guard and self._guard.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.write(line.encode())
                self._guard.stdin.flush()
