"""Previews of several components, in the form of Toolforge's own component configuration.

Pure. One component is published and gets the address; each of the others is a job beside it, called like the
component. What is built from the project itself runs the image of the merge request's commit: its ``ref`` is
what is deployed after the merge, and plays no part here. Other repositories are built as they are named.

The form is that of components-api (its model of a tool's configuration, and Toolforge's functional tests).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo

from orchestrator.repovalues import Line, Model, Path, Resources

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

    repository: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$", max_length=500)] | None = (
        Field(
            default=None,
            description="A repository that anybody can clone; without it the project's own.",
            title="the address of a repository that anybody can clone, without a password",
        )
    )
    ref: Annotated[str, StringConstraints(min_length=1, max_length=250)] | None = Field(
        default=None,
        description="A branch or tag; of the project's own repository the merge request's commit is built.",
        title="a branch or a tag",
    )
    use_latest_versions: bool = Field(
        default=False, description="Build with Toolforge's newest builder.", title="true or false"
    )
    reuse_from: Name | None = Field(
        default=None, description="Runs the image of that component.", title="the name of another component"
    )


class Run(Resources):
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


@dataclass(frozen=True)
class Source:
    """What an image is built from; the merge request's commit where there is no `repository`."""

    repository: str | None = None
    ref: str | None = None
    latest: bool = False


def own_source(components: Mapping[str, Component]) -> Source:
    """What the image of the merge request's commit is built with: as its published component says."""
    web = published(components)
    return Source() if web is None else _source(components, web)


def sources(components: Mapping[str, Component]) -> dict[str, Source]:
    """What is built besides the commit, by the component that names it first in the alphabet."""
    found: dict[str, Source] = {}
    for name, one in sorted(components.items()):
        source = _source(components, one)
        is_named = one.build.reuse_from is None and source.repository is not None
        if is_named and source not in found.values():
            found[name] = source
    return found


def source_of(components: Mapping[str, Component], name: str) -> str | None:
    """By which name the image of a component is built; None: it is that of the commit."""
    source = _source(components, components[name])
    return next((key for key, other in sources(components).items() if other == source), None)


def of_project(components: Mapping[str, Component], own: Callable[[str], bool]) -> dict[str, Component]:
    """The same, without repository and ref where the repository is the project's `own`.

    Raises ValueError when what is published is not, or when the commit would need two images.
    """
    result = {
        name: one.model_copy(update={"build": one.build.model_copy(update={"repository": None, "ref": None})})
        if one.build.repository is None or own(one.build.repository)
        else one
        for name, one in components.items()
    }
    web = own_source(result)
    if web.repository is not None:
        raise ValueError("what is published has to be built from this project")
    made = (_source(result, one) for one in result.values())
    if any(source.repository is None and source != web for source in made):
        raise ValueError("build.use_latest_versions differs, and only one image is built of a commit")
    return result


def _source(components: Mapping[str, Component], one: Component) -> Source:
    build = components[one.build.reuse_from].build if one.build.reuse_from else one.build
    return Source(build.repository, build.ref, build.use_latest_versions)


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
