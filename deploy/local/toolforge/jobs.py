"""Jobs: stored first, run second; one published job per tool; quotas (contract section 3)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

from deploy.local.toolforge.deployments import Deployment, pod_demand
from deploy.local.toolforge.engine import Engine
from deploy.local.toolforge.images import Images, resolve_name
from deploy.local.toolforge.job_logs import JobLog
from deploy.local.toolforge.job_schema import BadJob, check_limits
from deploy.local.toolforge.model import JobRecord, Tool
from deploy.local.toolforge.pods import PodTemplate
from deploy.local.toolforge.registry import Artifact
from deploy.local.toolforge.world import World

OUT_OF_QUOTA = "Out of quota for this kind of job. Please see https://w.wiki/6YLP for details."
Key = tuple[str, str]


class RuntimeRefused(Exception):
    """The runtime did not take the job, a 500; the definition is stored all the same."""


@dataclass(frozen=True)
class Upsert:
    """What an update did: jobs-api tells storage and runtime apart."""

    changed: bool
    message: str


class Jobs:
    """All jobs of all accounts."""

    def __init__(self, world: World, engine: Engine, images: Images) -> None:
        self._world = world
        self._engine = engine
        self._images = images
        self._running: dict[Key, Deployment] = {}
        self._logs: dict[Key, JobLog] = {}

    def resume(self) -> None:
        """Start what ran when the last server ended, as Kubernetes would have kept it running."""
        for tool in self._world.tools.values():
            for record in tool.jobs.values():
                if record.applied is not None and record.applied["job_type"] != "one-off":
                    self._deploy(tool, record.name, record.applied)

    async def close(self) -> None:
        """End every process; the definitions stay."""
        await asyncio.gather(*(deployment.stop() for deployment in self._running.values()))

    def deployment(self, tool: Tool, name: str) -> Deployment | None:
        """The runtime of a job, if it has one."""
        return self._running.get((tool.name, name))

    def log(self, tool: Tool, name: str) -> JobLog:
        """The output of a job."""
        key = (tool.name, name)
        if key not in self._logs:
            self._logs[key] = JobLog(self._world.scaled(self._world.settings.latency.log_keep))
        return self._logs[key]

    def published(self, tool: Tool) -> JobRecord | None:
        """The job that has the tool's public address."""
        for record in tool.jobs.values():
            if record.applied and record.applied.get("publish"):
                return record
        return None

    def create(self, tool: Tool, spec: dict[str, Any]) -> JobRecord:
        """Store, then run. Raises `BadJob` or `RuntimeRefused` with the definition left stored."""
        record = JobRecord(spec["name"], self._stored(spec), self._world.now())
        tool.jobs[record.name] = record
        self._world.changed(tool)
        self._apply(tool, record)
        return record

    def upsert(self, tool: Tool, spec: dict[str, Any]) -> Upsert:
        """Create, or bring storage and runtime to the given definition."""
        name = spec["name"]
        record = tool.jobs.get(name)
        if record is None:
            self.create(tool, spec)
            return Upsert(True, f"Job {name} created in storage and runtime")
        wanted = self._stored(spec)
        stored, running = record.spec != wanted, record.applied != wanted
        record.spec = wanted
        self._world.changed(tool)
        if running:
            self._apply(tool, record)
        where = {
            (True, True): "was updated in storage and runtime",
            (True, False): "was updated in storage only",
            (False, True): "was updated in runtime only",
            (False, False): "is already up to date",
        }[(stored, running)]
        return Upsert(stored or running, f"Job {name} {where}")

    async def delete(self, tool: Tool, name: str) -> None:
        """End the runtime, waiting for its pods for as long as jobs-api does, then forget the definition."""
        deployment = self._running.get((tool.name, name))
        if deployment:
            ending = asyncio.create_task(deployment.stop())
            await asyncio.wait([ending], timeout=self._world.scaled(self._world.settings.latency.delete_wait))
            self._running.pop((tool.name, name), None)
        self._logs.pop((tool.name, name), None)
        tool.jobs.pop(name, None)
        self._world.changed(tool)

    def restart(self, tool: Tool, name: str) -> None:
        """New pods, asynchronously; a scheduled job runs once, now."""
        record = tool.jobs[name]
        deployment = self._running.get((tool.name, name))
        if deployment:
            deployment.replace()
        elif record.applied:
            self._deploy(tool, name, record.applied)

    def demand(self, tool: Tool) -> tuple[int, float, float]:
        """Pods, CPUs and bytes that the tool's jobs ask for now."""
        asked = [deployment.demand() for key, deployment in self._running.items() if key[0] == tool.name]
        return sum(one[0] for one in asked), sum(one[1] for one in asked), sum(one[2] for one in asked)

    def count(self, tool: Tool, job_type: str) -> int:
        """How many jobs of a kind the runtime has."""
        return sum(bool(r.applied) and r.spec["job_type"] == job_type for r in tool.jobs.values())

    def _stored(self, spec: dict[str, Any]) -> dict[str, Any]:
        host = self._world.settings.harbor_host
        return {**spec, "imagename": resolve_name(spec["imagename"], host)}

    def _apply(self, tool: Tool, record: JobRecord) -> None:
        spec = record.spec
        self._images.require(spec["imagename"], for_tool=tool.name)
        check_limits(spec, self._world.settings.job_limits)
        self._check_published(tool, record)
        if record.applied is None:
            self._check_count(tool, spec["job_type"])
        if self._world.faults.take("runtime_fails", tool=tool.name, name=record.name):
            raise RuntimeRefused("Failed to {action}, likely an internal bug in the jobs api.")
        record.applied = dict(spec)
        self._world.changed(tool)
        self._deploy(tool, record.name, record.applied)

    def _check_published(self, tool: Tool, record: JobRecord) -> None:
        if not record.spec.get("publish"):
            return
        holder = self.published(tool)
        taken = holder is not None and holder.name != record.name
        if taken or self._world.faults.take("publish_taken", tool=tool.name, name=record.name):
            raise BadJob(
                "Attempt to create job failed. The job cannot be published because the domain "
                f"'{tool.name}.localhost' and path '/' are already in use by another public job "
                "or webservice."
            )

    def _check_count(self, tool: Tool, job_type: str) -> None:
        limits = self._world.settings.job_limits
        limit = {"continuous": limits.continuous_jobs, "scheduled": limits.cron_jobs}.get(
            job_type, limits.pods
        )
        if self.count(tool, job_type) >= limit:
            raise RuntimeRefused(OUT_OF_QUOTA)

    def _deploy(self, tool: Tool, name: str, spec: dict[str, Any]) -> None:
        template = PodTemplate(
            tool=tool.name,
            job=name,
            spec=spec,
            find_image=partial(self._find_image, tool.name, spec["imagename"]),
            environment=lambda: dict(tool.envvars),  # read anew at every start of a container
            missing_quota=partial(self._missing_quota, tool, spec),
        )
        deployment = self._running.get((tool.name, name))
        if deployment:
            deployment.replace(template)
        else:
            deployment = Deployment(self._world, self._engine, template, self.log(tool, name))
            self._running[(tool.name, name)] = deployment
            deployment.start()

    def _find_image(self, tool: str, name: str) -> Artifact | None:
        return self._images.find(name, for_tool=tool)

    def _missing_quota(self, tool: Tool, spec: dict[str, Any]) -> str:
        limits = self._world.settings.job_limits
        pods, cpu, memory = self.demand(tool)
        more_cpu, more_memory = pod_demand(spec)
        over = {
            "cpu": cpu + more_cpu > limits.cpu,
            "memory": memory + more_memory > limits.memory,
            "pods": pods + 1 > limits.pods,
        }
        return ", ".join(name for name, missing in over.items() if missing)
