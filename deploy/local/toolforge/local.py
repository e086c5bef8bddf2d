"""A local Toolforge in a thread of this process, for tests and programs in Python."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from deploy.local.toolforge.faults import Faults
from deploy.local.toolforge.server import Server
from deploy.local.toolforge.settings import Settings

START_TIMEOUT = 30.0


class LocalToolforge:
    """Runs from entering to leaving a `with` block.

    `state_dir` keeps everything, `tools` are the accounts, `engine` is `real` or `synthetic`; further
    keywords are the fields of `settings.Settings`. Attributes are there once it runs.
    """

    def __init__(
        self,
        state_dir: Path | str,
        tools: Sequence[str],
        engine: str = "real",
        *,
        scenario: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.settings = Settings(Path(state_dir), tuple(tools), engine, scenario=scenario or {}, **settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="local-toolforge", daemon=True)
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._stopping: asyncio.Event | None = None
        self._server: Server | None = None

    def __enter__(self) -> LocalToolforge:
        self._thread.start()
        if not self._started.wait(START_TIMEOUT):
            raise TimeoutError("the local Toolforge did not start")
        if self._failure:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stopping and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    @property
    def server(self) -> Server:
        """The parts, for tests that look inside; touch them through `call` only."""
        if self._server is None:
            raise RuntimeError("the local Toolforge is not running")
        return self._server

    @property
    def gateway_url(self) -> str:
        """The API gateway."""
        return self.server.gateway_url

    @property
    def admin_url(self) -> str:
        """The admin port."""
        return self.server.admin_url

    @property
    def web_port(self) -> int:
        """The port of the tools' public addresses."""
        return self.server.web_port

    @property
    def ca_file(self) -> Path:
        """What the gateway's certificate is verified against."""
        return self.server.world.identities.ca_file

    @property
    def faults(self) -> Faults:
        """The rules of what goes wrong."""
        return self.server.world.faults

    def tool_home(self, tool: str) -> Path:
        """A tool's home, with `.toolskube/client.crt`, `client.key`, `token` and `.kube/config`."""
        return self.server.world.identities.home(tool)

    def public_url(self, tool: str) -> str:
        """Where a tool's published job answers."""
        return f"http://{tool}.localhost:{self.web_port}/"

    def state(self) -> dict[str, Any]:
        """The raw truth: what the admin port's `/state` says."""

        async def read() -> dict[str, Any]:
            return self.server.admin.state()

        state: dict[str, Any] = self.call(read())
        return state

    def calls(self) -> dict[str, Any]:
        """The counters of the admin port's `/calls`."""
        return self.server.admin.calls()

    def set_quota(self, tool: str, amount: int) -> None:
        """Give a tool's image store another size in bytes (-1 = unlimited)."""
        self.server.world.tools[tool].project.quota = amount

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something in the server's event loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_TIMEOUT)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        try:
            self._stopping = asyncio.Event()
            self._server = Server(self.settings)
            await self._server.start()
        except BaseException as error:
            self._failure = error
            self._started.set()
            return
        self._started.set()
        await self._stopping.wait()
        await self._server.stop()
