"""The life of builds: started, ticking through Tekton's states, ended, cancelled, deleted, pruned.

Facts: contract sections 2.1, 2.3 and 2.5. A build that was alive when the local Toolforge
stopped or was killed runs again from its first step at the next start, as a cluster would have gone on with
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

from deploy.local.toolforge.build_log import BuildLog, LogTooLong
from deploy.local.toolforge.engine import BuildFailed, BuildTimedOut, Engine
from deploy.local.toolforge.image_store import ImageStore
from deploy.local.toolforge.model import Build, BuildStatus, Tool, generated_name
from deploy.local.toolforge.world import World

LOGGER = logging.getLogger(__name__)
PRUNED_AS_FAILED = frozenset(
    {BuildStatus.FAILURE, BuildStatus.TIMEOUT, BuildStatus.CANCELLED, BuildStatus.UNKNOWN}
)
NEVER = 10**9
#: As buildpacks' lifecycle says it.
REGISTRY_AWAY = (
    "ERROR: failed to initialize analyzer: getting previous image: GET https://tools-harbor.wmcloud.org/v2/: "
    "unexpected status code 502 Bad Gateway"
)


@dataclass
class Run:
    """What moves one build: its task while it is alive, and its log."""

    log: BuildLog
    task: asyncio.Task[None] | None = None


class Builds:
    """All builds of all accounts."""

    def __init__(self, world: World, engine: Engine, store: ImageStore) -> None:
        self._world = world
        self._engine = engine
        self._store = store
        self._runs: dict[str, Run] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._number = max((b.number for t in world.tools.values() for b in t.builds.values()), default=0)

    def resume(self) -> None:
        """Take up the builds that were alive when the last server ended."""
        for tool in self._world.tools.values():
            for build in [build for build in tool.builds.values() if build.alive]:
                if build.status is BuildStatus.CANCELLED:
                    self._end(tool, build, build.status, build.message)
                else:
                    build.status, build.message, build.started = BuildStatus.PENDING, "", None
                    self._launch(tool, build)

    async def close(self) -> None:
        """Stop moving builds; their state stays as it is."""
        tasks = [run.task for run in self._runs.values() if run.task] + list(self._background)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for tool in self._world.tools.values():
            for build in tool.builds.values():
                run = self._runs.get(build.id)
                if run and not build.alive and run.log.started:
                    run.log.save(self._log_path(build))

    async def start(self, tool: Tool, build: Build) -> None:
        """Create the run; with an engine that takes no time it is over when this returns."""
        self._number += 1
        build.number = self._number
        tool.builds[build.id] = build
        self._world.changed(tool)
        if self._engine.takes_no_time(build) and not self._world.faults:
            run = self._runs[build.id] = Run(BuildLog(self._world.settings.max_log_bytes))
            await self._live(tool, build, run.log)
        else:
            self._launch(tool, build)

    def new_id(self, tool: Tool) -> str:
        """A name as Kubernetes generates them."""
        while True:
            if (name := generated_name(f"{tool.name}-buildpacks-pipelinerun")) not in tool.builds:
                return name

    def running(self, tool: Tool) -> int:
        """How many count against the parallel limit: all without completion time, cancelled ones too."""
        return sum(build.alive for build in tool.builds.values())

    def newest_first(self, tool: Tool) -> list[Build]:
        """The list as builds-api sorts it."""
        return sorted(tool.builds.values(), key=lambda build: build.number, reverse=True)

    def log(self, build: Build) -> BuildLog:
        """The log of a build."""
        if build.id not in self._runs:
            self._runs[build.id] = Run(BuildLog.load(self._log_path(build)))
        return self._runs[build.id].log

    def cancel(self, tool: Tool, build: Build) -> None:
        """Ask a live build to stop; it gets its end a little later."""
        build.status = BuildStatus.CANCELLED
        build.message = f'PipelineRun "{build.id}" was cancelled'
        self._world.changed(tool)
        self._spawn(self._finish_cancel(tool, build))

    def delete(self, tool: Tool, build: Build) -> None:
        """Forget a run, its log with it, and kill it if it is alive. Its image stays."""
        tool.builds.pop(build.id, None)
        self._world.changed(tool)
        run = self._runs.pop(build.id, None)
        if run:
            run.log.vanish()
            if run.task:
                run.task.cancel()
        if not self._engine.scaled:
            self._log_path(build).unlink(missing_ok=True)

    def prune(self, tool: Tool) -> None:
        """What every POST does first (contract 2.5); a live build that reads UNKNOWN is not spared."""
        room = {
            True: self._world.settings.kept_successes,
            False: self._world.settings.kept_failures,
        }
        for build in self.newest_first(tool):
            if build.status is BuildStatus.SUCCESS or build.status in PRUNED_AS_FAILED:
                bucket = build.status is BuildStatus.SUCCESS
                room[bucket] -= 1
                if room[bucket] < 0:
                    self.delete(tool, build)

    def _launch(self, tool: Tool, build: Build) -> None:
        run = self._runs[build.id] = Run(BuildLog(self._world.settings.max_log_bytes))
        run.task = asyncio.create_task(self._live(tool, build, run.log))

    async def _live(self, tool: Tool, build: Build, log: BuildLog) -> None:
        limit = self._world.settings.build_timeout
        try:
            async with asyncio.timeout(self._world.scaled(limit) if self._engine.scaled else limit):
                await self._tick(tool, build, log)
        except (TimeoutError, BuildTimedOut):
            text = f'PipelineRun "{build.id}" failed to finish within "1h0m0s"'
            self._end(tool, build, BuildStatus.TIMEOUT, self._explained(build, text))
        except Exception as error:
            if not isinstance(error, BuildFailed | LogTooLong):
                # A mistake of ours, or input that this machine cannot take: the build must end all the same.
                LOGGER.exception("build %s failed unexpectedly", build.id)
            text = "Tasks Completed: 1 (Failed: 1, Cancelled 0), Skipped: 0"
            self._end(tool, build, BuildStatus.FAILURE, self._explained(build, text))

    async def _tick(self, tool: Tool, build: Build, log: BuildLog) -> None:
        latency, faults = self._world.settings.latency, self._world.faults
        if faults.take("build_pending", tool=tool.name, name=build.repository):
            await asyncio.sleep(NEVER)
        await self._world.sleep(latency.build_pending)
        build.started, build.status = self._world.now(), BuildStatus.UNKNOWN
        if fault := faults.take("build_vanishes", tool=tool.name, name=build.repository):
            self._spawn(self._vanish(tool, build, fault.seconds))
        await self._world.sleep(latency.build_started)
        build.status = BuildStatus.RUNNING
        build.message = "Tasks Completed: 0 (Failed: 0, Cancelled 0), Incomplete: 1, Skipped: 0"
        self._world.changed(tool)
        log.start()
        if faults.take("build_never_ends", tool=tool.name, name=build.repository):
            log.write("step-clone", "cloning ...")
            await asyncio.sleep(NEVER)
        if faults.take("registry_away", tool=tool.name, name=build.repository):
            log.write("step-analyze", REGISTRY_AWAY)
            raise BuildFailed
        if faults.take("build_fails", tool=tool.name, name=build.repository):
            log.write("step-build", "\x1b[1;31m[Error: Unable to install dependencies using pip]\x1b[0m")
            raise BuildFailed
        image = await self._engine.build(build, log)
        self._store.push(tool, build, image, log)
        text = "Tasks Completed: 1 (Failed: 0, Cancelled 0), Skipped: 0"
        self._end(tool, build, BuildStatus.SUCCESS, text)

    def _end(self, tool: Tool, build: Build, status: BuildStatus, message: str) -> None:
        build.status, build.message, build.ended = status, message, self._world.now()
        run = self._runs.get(build.id)
        if run:
            run.task = None
            run.log.close()
            if run.log.started and not self._engine.scaled:
                self._spawn(asyncio.to_thread(run.log.save, self._log_path(build)))
        self._world.changed(tool)

    async def _finish_cancel(self, tool: Tool, build: Build) -> None:
        run = self._runs.get(build.id)
        if run and run.task:
            run.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([run.task])
        await self._world.sleep(self._world.settings.latency.cancel)
        if build.alive:
            self._end(tool, build, BuildStatus.CANCELLED, build.message)

    async def _vanish(self, tool: Tool, build: Build, seconds: float) -> None:
        await self._world.sleep(seconds)
        self.delete(tool, build)

    def _explained(self, build: Build, text: str) -> str:
        return f"{text}. Check the logs with `toolforge build logs {build.id}`"

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _log_path(self, build: Build) -> Path:
        return self._world.settings.state / "tools" / build.tool / "builds" / f"{build.id}.log"
