"""The jobs that a deployment consists of: the published one, and its other components beside it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.components import Component, beside, published
from orchestrator.repoconfig import RepoConfig
from orchestrator.toolforge_answers import JobSpec


@dataclass(frozen=True)
class Usual:
    """What is run when the repository does not say."""

    command: str
    port: int


def web_job(config: RepoConfig, name: str, image: str, usual: Usual, *, publish: bool) -> JobSpec:
    """The job that gets the address, or its candidate, by whatever name."""
    component = published(config.components)
    if component is not None:
        return _job(component, name, image, publish=publish)
    cpu = config.run.cpu
    return JobSpec(
        name=name,
        image=image,
        command=config.command or usual.command,
        port=usual.port,
        publish=publish,
        health_path=config.health,
        memory=config.run.memory,
        cpu=None if cpu is None else str(cpu),
    )


def jobs_beside(config: RepoConfig, image: str) -> list[JobSpec]:
    """The jobs of the other components, by their names."""
    return [
        _job(component, name, image, publish=False)
        for name, component in sorted(beside(config.components).items())
    ]


def _job(component: Component, name: str, image: str, *, publish: bool) -> JobSpec:
    run = component.run
    return JobSpec(
        name=name,
        image=image,
        command=run.command,
        port=run.port,
        publish=publish,
        health_path=run.health_check_http,
        health_script=run.health_check_script,
        replicas=run.replicas,
        schedule=run.schedule,
        timeout=run.timeout,
        retry=run.retry,
        memory=run.memory,
        cpu=None if run.cpu is None else str(run.cpu),
    )
