"""Pods: one container's way from scheduling to ready, through crashes and back-off (contract 3.2, 3.5)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from deploy.local.toolforge.engine import Container, Engine, Launch
from deploy.local.toolforge.job_logs import JobLog
from deploy.local.toolforge.model import generated_name
from deploy.local.toolforge.registry import Artifact
from deploy.local.toolforge.world import World

LIVENESS_FAILURES = 3
#: The exit code that Kubernetes shows for a container that could not be started.
CANNOT_START = 128


class Phase(StrEnum):
    """Where a pod is."""

    NO_QUOTA = "no quota"  #: could not be created
    SCHEDULING = "scheduling"  #: waits for a node
    INITIALIZING = "initializing"  #: its image is being pulled
    RUNNING = "running"  #: a process exists, which says nothing about readiness
    BACKOFF = "backoff"  #: ended, and waits to be started again
    DONE = "done"  #: a one-off job that ended


@dataclass
class Pod:
    """What Kubernetes would tell about one pod."""

    name: str
    phase: Phase = Phase.SCHEDULING
    since: float = field(default_factory=time.time)
    passed: bool = False
    terminating: bool = False
    restarts: int = 0
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    container: Container | None = None

    @property
    def ready(self) -> bool:
        """Whether its probe has passed; a pod that is being ended gets no traffic, whatever it says."""
        return self.passed and not self.terminating

    def enter(self, phase: Phase, reason: str = "", message: str = "") -> None:
        """Change the phase."""
        self.phase, self.reason, self.message, self.since = phase, reason, message, time.time()


@dataclass(frozen=True)
class PodTemplate:
    """What all pods of one job are made from. `find_image` gives None while the image cannot be pulled."""

    tool: str
    job: str
    spec: dict[str, Any]
    find_image: Callable[[], Artifact | None]
    environment: Callable[[], dict[str, str]]
    missing_quota: Callable[[], str]


class PodRunner:
    """Moves one pod. Cancelling its task ends the container, asked nicely first."""

    def __init__(self, world: World, engine: Engine, template: PodTemplate, log: JobLog) -> None:
        self._world = world
        self._engine = engine
        self._template = template
        self._log = log
        self.pod = Pod(generated_name(template.job), Phase.NO_QUOTA)
        self._admit()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the pod; returns when its process is gone."""
        self.pod.terminating = True
        self._task.cancel()
        await asyncio.wait([self._task])
        if self.pod.container:
            await self.pod.container.stop(self._world.scaled(self._world.settings.latency.termination_grace))
            self.pod.container = None
        self.pod.passed = False

    async def _run(self) -> None:
        latency = self._world.settings.latency
        while self.pod.phase is Phase.NO_QUOTA:
            await asyncio.sleep(0.2)
            self._admit()
        await self._world.sleep(latency.schedule)
        self.pod.enter(Phase.INITIALIZING)
        if fault := self._take("job_late"):
            await self._world.sleep(fault.seconds)
        artifact = await self._pull()
        backoff = 0.0
        while True:
            code = await self._one_life(artifact)
            self.pod.passed, self.pod.exit_code = False, code
            if self._template.spec["job_type"] != "continuous":
                self.pod.enter(Phase.DONE)
                return
            # The first restart is immediate, later ones wait ever longer, as the kubelet does it.
            self.pod.enter(
                Phase.BACKOFF, "CrashLoopBackOff", f"back-off restarting failed container={self.job}"
            )
            await self._world.sleep(backoff)
            backoff = min(max(backoff * 2, latency.crash_backoff), latency.crash_backoff_max)
            self.pod.restarts += 1

    def _admit(self) -> None:
        """Create the pod, if the namespace's quota has room for one more."""
        if missing := self._template.missing_quota():
            self.pod.message = f"Unable to start, out of quota for {missing}"
        else:
            self.pod.enter(Phase.SCHEDULING)

    @property
    def job(self) -> str:
        """The job's name, which is the container's too."""
        return self._template.job

    async def _pull(self) -> Artifact:
        await self._world.sleep(self._world.settings.latency.image_pull)
        while True:
            artifact = self._template.find_image()
            if artifact is not None and not self._take("image_pull_error"):
                return artifact
            image = self._template.spec["imagename"]
            self.pod.enter(Phase.INITIALIZING, "ImagePullBackOff", f'Back-off pulling image "{image}"')
            await asyncio.sleep(0.2)

    async def _one_life(self, artifact: Artifact) -> int:
        template = self._template
        launch = Launch(
            tool=template.tool,
            job=template.job,
            pod=self.pod.name,
            command=template.spec["cmd"],
            port=template.spec.get("port"),
            environment=template.environment(),
            mount_home=template.spec.get("mount") == "all",
        )
        try:
            container = await self._engine.start(artifact, launch, self._write)
        except (OSError, ValueError) as error:
            self._write(f"the container cannot be started here: {error}")
            return CANNOT_START
        self.pod.container = container
        self.pod.enter(Phase.RUNNING)
        if self._take("job_crash"):
            self._write("injected crash")
            await container.stop(0)
            self.pod.container = None
            return 1
        code = await self._supervise(container)
        self.pod.container = None
        return code

    async def _supervise(self, container: Container) -> int:
        """Probe until the process ends, or kill it when its probes fail for too long; the exit code."""
        exited = asyncio.create_task(container.wait())
        probing = asyncio.create_task(self._probe(container))
        try:
            await asyncio.wait([exited, probing], return_when=asyncio.FIRST_COMPLETED)
            if not exited.done():
                self._write("killed: its health check kept failing")
            probing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await probing
            if not exited.done():
                await container.stop(self._world.scaled(self._world.settings.latency.termination_grace))
            code = await exited
            await container.stop(0)
            return code
        finally:
            exited.cancel()
            probing.cancel()

    async def _probe(self, container: Container) -> None:
        """Returns when the container has to be killed."""
        latency = self._world.settings.latency
        spec = self._template.spec
        if spec["job_type"] != "continuous":
            await asyncio.Event().wait()
        blocked = self._take("job_not_ready") is not None
        deadline = time.monotonic() + self._world.scaled(latency.startup_timeout)
        while blocked or not await _healthy(container, spec):
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(max(self._world.scaled(latency.probe), 0.005))
        self.pod.passed = True
        failures = 0
        while failures < LIVENESS_FAILURES:
            await asyncio.sleep(max(self._world.scaled(latency.liveness), 0.05))
            failures = 0 if await _healthy(container, spec) else failures + 1

    def _take(self, kind: str) -> Any:
        return self._world.faults.take(kind, tool=self._template.tool, name=self._template.job)

    def _write(self, line: str) -> None:
        self._log.write(self.pod.name, self._template.job, line)


async def _healthy(container: Container, spec: dict[str, Any]) -> bool:
    check = spec.get("health_check")
    if check and check["type"] == "http":
        status = await container.get(check["path"])
        return status is not None and 200 <= status < 400
    if check:
        return await container.check(check["script"])
    if spec.get("port") and spec.get("port_protocol", "tcp") == "tcp":
        return await container.listening()
    return True
