"""What a deployment consists of: its images, the published job, and its other components beside it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.components import Component, Source, beside, published, source_of, sources
from orchestrator.preview import Deployment
from orchestrator.repoconfig import RepoConfig, restored
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


def jobs_beside(deployment: Deployment) -> list[JobSpec]:
    """The jobs of the other components, by their names."""
    parts = restored(deployment.config).components
    return [
        _job(component, name, image_of_job(deployment, name), publish=False)
        for name, component in sorted(beside(parts).items())
    ]


def image_of_job(deployment: Deployment, name: str) -> str:
    """The image of a component's job, or of the published one; empty while it is not built."""
    parts = restored(deployment.config).components
    source = source_of(parts, name) if name in beside(parts) else None
    return (deployment.image if source is None else (deployment.images or {}).get(source)) or ""


def component_image(deployment: Deployment, component: str) -> str:
    """The name, in the account's store, of the image that is built for a component."""
    return f"{deployment.image_name}-{component}"


def image_names(deployment: Deployment) -> frozenset[str]:
    """The names of all images that are built for a deployment."""
    others = sources(restored(deployment.config).components)
    own = (deployment.image_name, deployment.opinion_name)
    return frozenset([*own, *(component_image(deployment, name) for name in others)])


def to_build(deployment: Deployment) -> tuple[str, Source] | None:
    """The next component whose image has to be built, and from what; None when there are none left.

    The image of the commit comes before them.
    """
    built = deployment.images or {}
    return next(
        (
            (name, source)
            for name, source in sources(restored(deployment.config).components).items()
            if name not in built
        ),
        None,
    )


def reusable_component(
    deployment: Deployment, name: str, source: Source, earlier: Iterable[Deployment]
) -> str | None:
    """The image that was built from the same source for an `earlier` deployment under the same lease.

    That one has to have had all jobs of this one: what runs an image is known for ours by whose it is.
    """
    wanted = beside(restored(deployment.config).components).keys()
    for one in earlier:
        parts = restored(one.config).components
        is_same = (one.account_id, one.fence) == (deployment.account_id, deployment.fence)
        image = (one.images or {}).get(name)
        if is_same and image and sources(parts).get(name) == source and wanted <= beside(parts).keys():
            return image
    return None


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
