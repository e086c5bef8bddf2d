"""What all parts of one local Toolforge share: settings, accounts, clock, faults, children, storage."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from deploy.local.toolforge.children import Children
from deploy.local.toolforge.faults import Faults
from deploy.local.toolforge.identity import Identities
from deploy.local.toolforge.model import Tool
from deploy.local.toolforge.registry import Project
from deploy.local.toolforge.settings import Settings
from deploy.local.toolforge.storage import Storage

#: What the platform itself puts into every tool (contract section 4); nobody should delete them.
PLATFORM_ENVVARS = (
    "TOOL_TOOLSDB_USER",
    "TOOL_TOOLSDB_PASSWORD",
    "TOOL_REPLICA_USER",
    "TOOL_REPLICA_PASSWORD",
)


class World:
    """The shared state. It decides nothing."""

    def __init__(self, settings: Settings) -> None:
        settings.state.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        self.faults = Faults()
        self.children = Children()
        self.identities = Identities(settings.state)
        self.storage = Storage(settings.state)
        self.calls: Counter[tuple[str, str, int]] = Counter()
        self.tools = {name: self._load(name) for name in settings.tools}
        self.empty_home = settings.state / "empty-home"
        self.empty_home.mkdir(exist_ok=True)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        #: Set by the server; the time at which the published address answers is theirs to say.
        self.web_port = 0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def scaled(self, seconds: float) -> float:
        """Toolforge's seconds as seconds of this machine."""
        return seconds * self.settings.time_scale

    async def sleep(self, seconds: float) -> None:
        """Let Toolforge's seconds pass; nothing at all for none."""
        if (scaled := self.scaled(seconds)) > 0:
            await asyncio.sleep(scaled)

    async def wait_until(self, condition: Callable[[], bool], seconds: float, step: float = 0.05) -> bool:
        """Wait for a condition, for some of Toolforge's seconds; whether it came true."""
        deadline = time.monotonic() + self.scaled(seconds)
        while not condition():
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(step)
        return True

    def lock(self, name: str) -> asyncio.Lock:
        """One lock for each thing on disk that several builds may want to make at once."""
        return self._locks[name]

    def tool_of(self, request: web.Request) -> Tool:
        """The account that a request acts on; the gateway has made sure that it may."""
        return self.tools[request.match_info["tool"]]

    def changed(self, tool: Tool) -> None:
        """Say that an account's lasting state changed."""
        self.storage.touch(tool)

    def base_environment(self) -> dict[str, str]:
        """What builds and jobs inherit from this machine: a list of names, never the whole environment."""
        return {name: os.environ[name] for name in self.settings.passed_environment if name in os.environ}

    def folder(self, *parts: str) -> Path:
        """A folder under the state folder, made if need be."""
        path = self.settings.state.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _load(self, name: str) -> Tool:
        self.identities.add(name)
        return self.storage.load(name, lambda: self._new(name))

    def _new(self, name: str) -> Tool:
        envvars = {key: f"{name}-{key.lower()}" for key in PLATFORM_ENVVARS}
        return Tool(name, Project(f"tool-{name}", self.settings.quota_bytes), envvars=envvars)
