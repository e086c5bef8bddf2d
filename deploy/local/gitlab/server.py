"""The server: as a program, or in a thread of somebody else's process.

When it listens, `ready.json` in its state folder says where; it goes away when the server ends. Two servers
never share a folder. Without a port given, the last one is taken again if it is free, so that addresses
that others remember stay true.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from aiohttp import web

from deploy.local.gitlab import pushes
from deploy.local.gitlab.faults import Faults
from deploy.local.gitlab.lab import Lab, Settings
from deploy.local.gitlab.site import make_app

HOST = "127.0.0.1"
START_SECONDS = 30


class AlreadyRunning(Exception):
    """Another local GitLab uses this state folder."""


class LocalGitLab:
    """A GitLab on loopback. `with LocalGitLab(state_dir=...) as gl:` runs it in a thread; `run()` until a
    signal.
    """

    def __init__(self, state_dir: Path | str, port: int = 0) -> None:
        self.state = Path(state_dir).resolve()
        self.url = ""
        self.root_token = ""
        self._port = port
        self._lab: Lab | None = None
        self._runner: web.AppRunner | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._lock: IO[str] | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._problem: BaseException | None = None

    @property
    def faults(self) -> Faults:
        """Arm faults and read the counters of calls; safe from any thread."""
        return self._running().faults

    @property
    def settings(self) -> Settings:
        """What an administrator can set."""
        return self._running().settings

    def set_token_scopes(self, secret: str, scopes: list[str]) -> None:
        """Give a token other scopes, as if it had been made with fewer. KeyError when there is none."""
        lab = self._running()
        found = lab.store.tokens.by("secret", secret)
        if not found:
            raise KeyError("no such token")
        found[0].scopes = list(scopes)
        if self._loop:
            self._loop.call_soon_threadsafe(lab.store.tokens.save, found[0])

    def _running(self) -> Lab:
        if self._lab is None:
            raise RuntimeError("the local GitLab is not running")
        return self._lab

    async def start(self) -> None:
        """Listen, in the running loop. AlreadyRunning when the folder is in use, OSError when the port is."""
        self.state.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.state / "lock")
        # What a killed server left behind must not be taken for this one's.
        (self.state / "ready.json").unlink(missing_ok=True)
        try:
            lab = self._lab = Lab(self.state)
            _, token = lab.store.root()
            self.root_token = token.secret
            self._runner = web.AppRunner(make_app(lab), access_log=None, shutdown_timeout=1.0)
            await self._runner.setup()
            self._port = await self._listen(self._runner)
            self.url = lab.url = f"http://{HOST}:{self._port}"
            self._flushing = asyncio.create_task(lab.store.keep_flushed())
            await lab.webhooks.start()
            await pushes.catch_up(lab)
        except BaseException:
            await self.stop()
            raise
        _write(self.state / "port", str(self._port))
        ready = {"url": self.url, "root_token": self.root_token, "pid": os.getpid()}
        _write(self.state / "ready.json", json.dumps(ready))

    async def _listen(self, runner: web.AppRunner) -> int:
        """The chosen port; without a choice the last one, or any when that is taken."""
        wanted = [self._port]
        if not self._port:
            with contextlib.suppress(OSError, ValueError):
                wanted.insert(0, int((self.state / "port").read_text()))
        for port in wanted:
            site = web.TCPSite(runner, HOST, port, backlog=1024)
            try:
                await site.start()
            except OSError:
                if port == wanted[-1]:
                    raise
                continue
            return int(runner.addresses[-1][1])
        raise AssertionError("there is always one port to try")

    async def stop(self) -> None:
        """Stop answering, write what is left, and let go of everything."""
        with contextlib.suppress(FileNotFoundError):
            (self.state / "ready.json").unlink()
        if self._runner:
            await self._runner.cleanup()
        if self._flushing:
            self._flushing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flushing
        if self._lab:
            await self._lab.stop()
            await self._lab.webhooks.close()
            self._lab.store.close()
            self._lab = None
        if self._lock:
            self._lock.close()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        asyncio.run(self._until_signalled())

    async def _until_signalled(self) -> None:
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        await self.start()
        await ending.wait()
        await self.stop()

    def __enter__(self) -> LocalGitLab:
        started = threading.Event()
        self._problem = None
        self._thread = threading.Thread(
            target=self._in_thread, args=(started,), name="local-gitlab", daemon=True
        )
        self._thread.start()
        if not started.wait(START_SECONDS):
            raise TimeoutError("the local GitLab did not start")
        if self._problem:
            self._thread.join()
            raise self._problem
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop and self._ending:
            self._loop.call_soon_threadsafe(self._ending.set)
        if self._thread:
            self._thread.join()

    def _in_thread(self, started: threading.Event) -> None:
        async def serve() -> None:
            self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
            try:
                await self.start()
            except BaseException as problem:
                self._problem = problem
                return
            finally:
                started.set()
            await self._ending.wait()
            await self.stop()

        asyncio.run(serve())


def _locked(path: Path) -> IO[str]:
    """The state folder's lock, held while the file is open (the system frees it when the process dies)."""
    handle = path.open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise AlreadyRunning(f"another local GitLab uses {path.parent}") from None
    return handle


def _write(path: Path, text: str) -> None:
    """Put a file in place whole, readable by its owner only (it may hold the administrator's token)."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)
    draft.replace(path)


def read_ready(state_dir: Path | str) -> dict[str, Any] | None:
    """What a running server says of itself, or None when none is ready (or it was killed)."""
    try:
        ready: dict[str, Any] = json.loads((Path(state_dir) / "ready.json").read_text())
        os.kill(ready["pid"], 0)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return ready
