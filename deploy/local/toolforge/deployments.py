"""The runtime of one job: its pods, replaced as Kubernetes' Recreate strategy does."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from deploy.local.toolforge.engine import Container, Engine
from deploy.local.toolforge.job_logs import JobLog
from deploy.local.toolforge.job_schema import quantity
from deploy.local.toolforge.pods import Phase, Pod, PodRunner, PodTemplate
from deploy.local.toolforge.world import World


def pod_demand(spec: dict[str, Any]) -> tuple[float, float]:
    """CPUs and bytes of memory that one pod of a job asks for."""
    return quantity(spec.get("cpu", "100m")), quantity(spec.get("memory", "512Mi"))


class Deployment:
    """Pods of one template. Changes are asynchronous: they return before the new pods are up."""

    def __init__(self, world: World, engine: Engine, template: PodTemplate, log: JobLog) -> None:
        self._world = world
        self._engine = engine
        self._template = template
        self._log = log
        self._runners: list[PodRunner] = []
        self._change: asyncio.Task[None] | None = None
        self._turn = 0
        #: Counts the changes asked for; those that come while pods are being stopped are one change.
        self._wanted = 0
        self.since = time.time()

    def start(self) -> None:
        """Create its pods; what they ask for counts from now on, so it must be known to who counts."""
        if self.spec["job_type"] != "scheduled":
            self._fill()

    @property
    def spec(self) -> dict[str, Any]:
        """What the pods are made from."""
        return self._template.spec

    @property
    def pods(self) -> list[Pod]:
        """Its pods."""
        return [runner.pod for runner in self._runners]

    @property
    def available(self) -> bool:
        """The Deployment's Available condition: every replica is ready."""
        return bool(self._runners) and all(pod.ready for pod in self.pods)

    @property
    def overdue(self) -> bool:
        """Unavailable for longer than the progress deadline since it was created or restarted."""
        limit = self._world.scaled(self._world.settings.latency.unavailable)
        return not self.available and time.time() - self.since > limit

    def ready_container(self) -> Container | None:
        """The next ready container, in turns."""
        ready = [pod.container for pod in self.pods if pod.ready and pod.container]
        if not ready:
            return None
        self._turn += 1
        return ready[self._turn % len(ready)]

    def replace(self, template: PodTemplate | None = None) -> None:
        """Stop all pods, then start those of the (new) template."""
        self._template = template or self._template
        self.since = time.time()
        self._wanted += 1
        for pod in self.pods:
            pod.terminating = True
        if self._change is None or self._change.done():
            self._change = asyncio.create_task(self._recreate())

    async def stop(self) -> None:
        """End all pods; returns when their processes are gone."""
        if self._change:
            self._change.cancel()
            await asyncio.wait([self._change])
        await self._stop_pods()

    def demand(self) -> tuple[int, float, float]:
        """Pods, CPUs and bytes of memory that its pods ask for."""
        asking = [pod for pod in self.pods if pod.phase not in (Phase.NO_QUOTA, Phase.DONE)]
        cpu, memory = pod_demand(self.spec)
        return len(asking), len(asking) * cpu, len(asking) * memory

    async def _recreate(self) -> None:
        done = 0
        while done != self._wanted:
            done = self._wanted
            await self._stop_pods()
        self._fill()

    async def _stop_pods(self) -> None:
        await asyncio.gather(*(runner.stop() for runner in self._runners))
        self._runners = []

    def _fill(self) -> None:
        count = self.spec.get("replicas", 1) if self.spec["job_type"] == "continuous" else 1
        # One beyond the quota says that there is no room, for all that could never be created.
        for _ in range(min(count, self._world.settings.job_limits.pods + 1)):
            self._runners.append(PodRunner(self._world, self._engine, self._template, self._log))
