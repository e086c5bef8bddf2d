"""Puts the parts of a local Toolforge together and listens: the gateway, the public web, the admin port."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
from dataclasses import replace
from typing import Any

from aiohttp import web

from deploy.local.toolforge.admin import Admin
from deploy.local.toolforge.builds import Builds
from deploy.local.toolforge.builds_api import BuildsApi
from deploy.local.toolforge.engine import Engine
from deploy.local.toolforge.envvars_api import EnvvarsApi
from deploy.local.toolforge.gateway import Api, Gateway
from deploy.local.toolforge.image_store import ImageStore
from deploy.local.toolforge.images import Images
from deploy.local.toolforge.jobs import Jobs
from deploy.local.toolforge.jobs_api import JobsApi
from deploy.local.toolforge.logs_api import LogsApi
from deploy.local.toolforge.public_web import PublicWeb
from deploy.local.toolforge.real.engine import RealEngine
from deploy.local.toolforge.scenario import Scenario
from deploy.local.toolforge.settings import Settings
from deploy.local.toolforge.storage import write_atomically
from deploy.local.toolforge.synthetic_engine import SyntheticEngine
from deploy.local.toolforge.world import World

HOST = "127.0.0.1"
READY = "ready.json"
PORTS = "ports.json"


def with_scenario(settings: Settings) -> Settings:
    """The settings with what a scenario says about time."""
    scenario = settings.scenario
    latency = replace(settings.latency, **scenario.get("latency", {}))
    if scenario.get("instant"):
        latency = replace(latency.instant(), **scenario.get("latency", {}))
    return replace(
        settings, latency=latency, time_scale=float(scenario.get("time_scale", settings.time_scale))
    )


class Server:
    """One local Toolforge in the running event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = with_scenario(settings)
        self.world = World(self.settings)
        engine: Engine
        self._synthetic: SyntheticEngine | None = None
        if settings.engine == "synthetic":
            engine = self._synthetic = SyntheticEngine(self.world, Scenario(settings.scenario))
        else:
            engine = RealEngine(self.world)
        images = Images(self.world)
        store = ImageStore(self.world, engine)
        self.builds = Builds(self.world, engine, store)
        self.jobs = Jobs(self.world, engine, images)
        self.admin = Admin(self.world, self.jobs)
        apis: list[Api] = [
            BuildsApi(self.world, self.builds, engine, store),
            JobsApi(self.world, self.jobs, images),
            EnvvarsApi(self.world),
            LogsApi(self.world, self.jobs),
        ]
        self._gateway = Gateway(self.world, apis)
        self._public = PublicWeb(self.world, self.jobs)
        self._runners: list[web.AppRunner] = []
        self.gateway_url = ""
        self.admin_url = ""
        self.web_port = 0

    async def start(self) -> None:
        """Listen, take up what was running, and say so in `ready.json`."""
        (self.settings.state / READY).unlink(missing_ok=True)  # a killed server could not remove its own
        self.world.children.start()
        self.world.storage.start()
        context = self.world.identities.server_context()
        settings, last = self.settings, self._last_ports()
        web_port = await self._serve(self._public.application(), settings.web_port, last.get("web", 0))
        self.web_port = self.world.web_port = web_port
        admin = await self._serve(self.admin.application(), settings.admin_port, last.get("admin", 0))
        app = self._gateway.application()
        gateway = await self._serve(app, settings.gateway_port, last.get("gateway", 0), context)
        self.gateway_url, self.admin_url = f"https://{HOST}:{gateway}", f"http://{HOST}:{admin}"
        ports = {"gateway": gateway, "web": web_port, "admin": admin}
        write_atomically(settings.state / PORTS, json.dumps(ports))
        self.builds.resume()
        self.jobs.resume()
        write_atomically(settings.state / READY, json.dumps(self.ready(), indent=2))

    async def stop(self) -> None:
        """Stop listening, end every child, write what is not written."""
        (self.settings.state / READY).unlink(missing_ok=True)
        for runner in self._runners:
            for site in list(runner.sites):
                await site.stop()
        await self.builds.close()
        await self.jobs.close()
        await asyncio.gather(*(_close(runner) for runner in self._runners))
        await self.world.children.close()
        if self._synthetic:
            await self._synthetic.close()
        await self.world.storage.close()

    def ready(self) -> dict[str, Any]:
        """The content of `ready.json`."""
        return {
            "gateway_url": self.gateway_url,
            "admin_url": self.admin_url,
            "web_port": self.web_port,
            "ca_file": str(self.world.identities.ca_file),
            "tools": {name: self._credentials(name) for name in self.settings.tools},
            "pid": os.getpid(),
        }

    def _credentials(self, tool: str) -> dict[str, str]:
        home = self.world.identities.home(tool)
        return {
            "client_cert": str(home / ".toolskube" / "client.crt"),
            "client_key": str(home / ".toolskube" / "client.key"),
            "kubeconfig": str(self.world.identities.write_kubeconfig(tool, self.gateway_url)),
            "token_file": str(home / ".toolskube" / "token"),
            "public_url": f"http://{tool}.localhost:{self.web_port}/",
        }

    async def _serve(
        self, app: web.Application, port: int, last: int, context: ssl.SSLContext | None = None
    ) -> int:
        """Listen on the given port; without one on the last run's, so that addresses stay, else on any."""
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, keepalive_timeout=75)
        await runner.setup()
        self._runners.append(runner)
        chosen = port or (last if last and _is_free(last) else 0)
        site = web.TCPSite(runner, HOST, chosen, ssl_context=context, backlog=1024)
        await site.start()
        return int(runner.addresses[0][1])

    def _last_ports(self) -> dict[str, int]:
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((self.settings.state / PORTS).read_text(encoding="utf-8")))
        return {}


async def _close(runner: web.AppRunner) -> None:
    """Close a listener and cut its connections: a TLS peer that keeps one alive would not say goodbye."""
    handlers = runner.server.connections if runner.server else []
    transports = [handler.transport for handler in handlers if handler.transport]
    await runner.cleanup()
    for transport in transports:
        transport.abort()
    while any(not transport.is_closing() for transport in transports):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)  # the loop's own callbacks close the sockets


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
