"""The synthetic engine: builds and jobs that only take the time and have the outcome of a scenario.

Jobs answer on the public web port from inside the server; no child process runs. Made for load and
scheduling.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from deploy.local.toolforge import refs, smart_http
from deploy.local.toolforge.build_log import BuildLog
from deploy.local.toolforge.engine import (
    BuildFailed,
    BuildTimedOut,
    BuiltImage,
    Container,
    HttpAnswer,
    Launch,
    LogSink,
)
from deploy.local.toolforge.model import Build
from deploy.local.toolforge.registry import Artifact
from deploy.local.toolforge.scenario import JobPlan, Scenario, made_up_sha
from deploy.local.toolforge.world import World

FOREVER = 10**9


class SyntheticEngine:
    """Does what the scenario says."""

    scaled = True

    def __init__(self, world: World, scenario: Scenario) -> None:
        self._world = world
        self._scenario = scenario
        self._remotes = smart_http.Remotes()

    async def close(self) -> None:
        """Let go of connections."""
        await self._remotes.close()

    async def resolve(self, url: str, ref: str) -> str:
        """What the scenario says, or `git ls-remote` when the address is really a repository."""
        entry = self._scenario.build_entry(source_url=url, ref=ref)
        if entry.get("ref_error"):
            error = str(entry["ref_error"])
            raise refs.RefError(error if "status" in error else f"unable to resolve ref {ref} from {url}")
        if entry.get("resolved_ref"):
            return str(entry["resolved_ref"])
        if self._scenario.resolve != "scenario":
            found = await self._ls_remote(url, ref)
            if found or self._scenario.resolve == "git":
                return found or ""
        return made_up_sha(url, ref)

    def takes_no_time(self, build: Build) -> bool:
        """Whether neither the build nor its states take any time."""
        latency = self._world.settings.latency
        entry = self._entry(build)
        no_waits = not (latency.build_pending or latency.build_started)
        no_work = entry.get("duration", 0 if self._scenario.instant else 30) == 0
        return no_waits and no_work and entry.get("outcome", "success") != "never"

    async def build(self, build: Build, log: BuildLog) -> BuiltImage:
        """Take the time, write the log, have the outcome."""
        plan = self._scenario.build(self._entry(build), identity=f"{build.resolved_ref} {build.repository}")
        log.write("step-clone", f"Successfully cloned {build.source_url}\nRESULT_SHA={build.resolved_ref}")
        pause = plan.seconds / max(1, len(plan.log))
        for line in plan.log:
            log.write("step-build", line)
            await self._world.sleep(pause)
        if plan.outcome == "never":
            await asyncio.sleep(FOREVER)
        if plan.outcome == "timeout":
            raise BuildTimedOut
        if plan.outcome == "failure":
            log.write("step-build", "ERROR: failed to build: exit status 1")
            raise BuildFailed
        return BuiltImage(plan.layers, plan.processes)

    def discard(self, image: BuiltImage | Artifact) -> None:
        """There is nothing on disk."""

    async def start(self, artifact: Artifact, launch: Launch, log: LogSink) -> Container:
        """A container that is only a clock."""
        image = f"tool-{launch.tool}/{artifact.repository}"
        plan = self._scenario.job(tool=launch.tool, name=launch.job, image=image)
        for line in plan.log:
            log(line)
        return SyntheticContainer(self._world, plan)

    def _entry(self, build: Build) -> Mapping[str, Any]:
        return self._scenario.build_entry(
            tool=build.tool, source_url=build.source_url, ref=build.ref, image_name=build.repository
        )

    async def _ls_remote(self, url: str, ref: str) -> str | None:
        """The sha, or None when the address is no repository (with `resolve: git` that is an error)."""
        strict = self._scenario.resolve == "git"
        try:
            if url.startswith(("http://", "https://")):
                with contextlib.suppress(smart_http.NotSmart):
                    return await self._remotes.resolve(url, ref)
            env = refs.git_environment(self._world.base_environment(), self._world.empty_home)
            home = self._world.empty_home
            return await refs.resolve(self._world.children, url, ref, env=env, cwd=home)
        except refs.RefError as error:
            if strict or "unable to resolve" in str(error):
                raise
            return None


class SyntheticContainer:
    """A process that does not exist."""

    def __init__(self, world: World, plan: JobPlan) -> None:
        self._plan = plan
        self._ended = asyncio.Event()
        self._code = 0
        self._loop = asyncio.get_running_loop()
        self._ready_at = self._loop.time() + world.scaled(plan.start_delay)
        self._crash: asyncio.TimerHandle | None = None
        if plan.health == "crash":
            self._crash = self._loop.call_later(world.scaled(plan.crash_after), self._end, plan.exit_code)

    async def wait(self) -> int:
        """The exit code of the scenario, or that of a process ended by SIGTERM."""
        await self._ended.wait()
        return self._code

    async def stop(self, grace: float) -> None:
        """End."""
        if self._crash:
            self._crash.cancel()
        if not self._ended.is_set():
            self._end(143)

    async def listening(self) -> bool:
        """From `start_delay` on, unless it never does."""
        return self._plan.health == "ready" and self._loop.time() >= self._ready_at

    async def get(self, path: str) -> int | None:
        """The status it answers everything with."""
        return self._plan.answer.status if await self.listening() else None

    async def check(self, script: str) -> bool:
        """As healthy as it listens."""
        return await self.listening()

    def address(self) -> HttpAnswer:
        """The answer itself."""
        return self._plan.answer

    def _end(self, code: int) -> None:
        self._code = code
        self._ended.set()
