"""Previews of several components, in the form of Toolforge's own component configuration.

Pure. One component is published and gets the address; each of the others is a job beside it, called like the
component. All run the image of the merge request's commit: components-api's ``build.ref`` is what is deployed
when it is merged, and plays no part here.

The form is that of components-api (its model of a tool's configuration, and Toolforge's functional tests).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo

from orchestrator.repovalues import Cpu, Line, Memory, Model, Path

MOST_COMPONENTS = 10
MOST_REPLICAS = 4
#: As jobs-api has it.
_NAME = r"^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$"
#: The other jobs of previews have such names.
_OURS = re.compile(r"preview|candidate-.*")

#: A candidate's name has to fit before it into the 52 characters of jobs-api.
Name = Annotated[str, StringConstraints(pattern=_NAME, max_length=30)]


class SourceBuild(Model):
    """Where a component's image comes from."""

    repository: Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=500)] | None = Field(
        default=None,
        description="The project's own repository; others are not built for previews.",
        title="the address of the project's own repository",
    )
    ref: Annotated[str, StringConstraints(min_length=1, max_length=250)] | None = Field(
        default=None,
        description="What Toolforge deploys after the merge; a preview is of the merge request's commit.",
        title="a branch, a tag or a commit",
    )
    use_latest_versions: bool = Field(
        default=False, description="Build with Toolforge's newest builder.", title="true or false"
    )
    reuse_from: Name | None = Field(
        default=None, description="Runs the image of that component.", title="the name of another component"
    )


class Run(Model):
    """How a component runs."""

    command: Line = Field(
        description="An entry of the Procfile, or a command line.", title="a line of text (needed)"
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Where it listens; the other components reach it there by its name.",
        title="a port from 1 to 65535",
    )
    publish: Literal["/"] | None = Field(
        default=None, description="It gets the address: exactly one does.", title='"/"'
    )
    replicas: int | None = Field(
        default=None,
        ge=1,
        le=MOST_REPLICAS,
        description="How many of it run.",
        title=f"a whole number from 1 to {MOST_REPLICAS}",
    )
    memory: Memory | None = Field(
        default=None, description="Memory of the job.", title="a size such as 512Mi or 1Gi"
    )
    cpu: Cpu | None = Field(
        default=None,
        description="Processors of the job.",
        title='a share of processors such as 500m or "0.5"',
    )
    mount: Literal["none"] | None = Field(
        default=None,
        description="A preview never sees the home of the dev account.",
        title="none: previews do not see the home of the dev account",
    )
    health_check_http: Path | None = Field(
        default=None,
        description="Toolforge asks for this path to see whether the job is ready.",
        title="a path such as /healthz",
    )
    health_check_script: Line | None = Field(
        default=None,
        description="Toolforge runs this in the job to see whether it is ready.",
        title="a line of text",
    )
    schedule: (
        Annotated[str, StringConstraints(pattern=r"^(?:@[a-z]+|\S+(?: +\S+){4})$", max_length=100)] | None
    ) = Field(
        default=None, description="Runs at these times.", title='cron\'s five fields, or such as "@daily"'
    )
    timeout: int | None = Field(
        default=None,
        ge=0,
        le=86400,
        description="A scheduled run is ended after so many seconds.",
        title="a number of seconds",
    )
    retry: int | None = Field(
        default=None,
        ge=0,
        le=5,
        description="How often a scheduled run that failed is tried again.",
        title="a whole number from 0 to 5",
    )


class Component(Model):
    """One component of the tool."""

    component_type: Literal["continuous", "scheduled"] | None = Field(
        default=None, description="Whether it has a schedule.", title="continuous or scheduled"
    )
    build: SourceBuild = Field(
        default=SourceBuild(), description="Where its image comes from.", title="a mapping"
    )
    run: Run = Field(description="How it runs.", title="a mapping with a command (needed)")

    @property
    def is_scheduled(self) -> bool:
        """True when it runs at times instead of always."""
        return self.run.schedule is not None


def published(components: Mapping[str, Component]) -> Component | None:
    """The one that gets the address; None when there are no components."""
    return next((one for one in components.values() if one.run.publish), None)


def beside(components: Mapping[str, Component]) -> dict[str, Component]:
    """Those that run beside the published one, by their names, which are those of their jobs."""
    return {name: one for name, one in components.items() if not one.run.publish}


def wants_latest(components: Mapping[str, Component]) -> bool:
    """Whether the image is to be built by Toolforge's newest builder."""
    return any(one.build.use_latest_versions for one in components.values())


def repositories(components: Mapping[str, Component]) -> dict[str, str]:
    """The repositories that are named, by the names of their components."""
    return {name: one.build.repository for name, one in components.items() if one.build.repository}


def fit_together(components: Mapping[str, Component], info: ValidationInfo) -> Mapping[str, Component]:
    """`components` as they are; ValueError with what does not fit."""
    problem = next(_problems(components, info.data), None) if components else None
    if problem:
        raise ValueError(problem)
    return components


def _problems(components: Mapping[str, Component], beside_them: Mapping[str, Any]) -> Iterator[str]:
    for key in ("command", "health"):
        if beside_them.get(key) is not None:
            yield f"{key} stands beside them: say it in the published component"
    run = beside_them.get("run")
    if run is not None and (run.memory, run.cpu) != (None, None):
        yield "run.memory or run.cpu stands beside them: say it in the published component"
    yield from (f"no component can be called {name} here" for name in components if _OURS.fullmatch(name))
    if sum(1 for one in components.values() if one.run.publish) != 1:
        yield 'exactly one has to have run.publish: "/"'
    for name, one in components.items():
        yield from (f"{name}: {words}" for words in _contradictions(one))
        source = components.get(one.build.reuse_from or name)
        if source is None or (source.build.reuse_from and source is not one):
            yield f"{name}: build.reuse_from names no component that is built: {one.build.reuse_from}"
        elif source is one and one.build.reuse_from:
            yield f"{name}: build.reuse_from names itself"
    built = [one.build.use_latest_versions for one in components.values() if not one.build.reuse_from]
    if len({*built}) > 1:
        yield "build.use_latest_versions differs, and only one image is built of a commit"


def _contradictions(one: Component) -> Iterator[str]:
    run, build = one.run, one.build
    if build.reuse_from and (build.repository or build.ref or build.use_latest_versions):
        yield "build.reuse_from stands beside a build of its own"
    if run.health_check_http and run.health_check_script:
        yield "only one of run.health_check_http and run.health_check_script"
    if (run.publish or run.health_check_http) and run.port is None:
        yield "run.publish and run.health_check_http need run.port"
    of_continuous = (run.port, run.publish, run.replicas, run.health_check_http, run.health_check_script)
    if run.schedule and any(value is not None for value in of_continuous):
        yield "with run.schedule go neither port, publish, replicas nor health checks"
    if not run.schedule and (run.timeout, run.retry) != (None, None):
        yield "run.timeout and run.retry need run.schedule"
    if one.component_type and (one.component_type == "scheduled") != one.is_scheduled:
        yield f"it is {one.component_type}, but {'has' if run.schedule else 'has no'} run.schedule"


Components = Annotated[dict[Name, Component], Field(max_length=MOST_COMPONENTS), AfterValidator(fit_together)]
