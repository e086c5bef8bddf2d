"""What turns a commit into an image and an image into a process: between the APIs and an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from deploy.local.toolforge.build_log import BuildLog
from deploy.local.toolforge.model import Build
from deploy.local.toolforge.registry import Artifact


class BuildFailed(Exception):
    """The build ended without an image. Its log already says why."""


class BuildTimedOut(BuildFailed):
    """The build ended as if Tekton's time limit had been reached (scenarios only)."""


@dataclass
class BuiltImage:
    """What a build made, before it is pushed."""

    layers: dict[str, int]
    processes: dict[str, str] = field(default_factory=dict)
    path: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True)
class Launch:
    """One container to start. `environment` is the job's, without what the engine adds."""

    tool: str
    job: str
    pod: str
    command: str
    port: int | None
    environment: Mapping[str, str]
    mount_home: bool


@dataclass(frozen=True)
class HttpAnswer:
    """What a synthetic job answers on the public web port."""

    status: int = 200
    body: str = "ok"
    headers: Mapping[str, str] = field(default_factory=dict)


class LogSink(Protocol):
    """Takes the output of a container."""

    def __call__(self, line: str) -> None: ...


class Container(Protocol):
    """A container that was started."""

    async def wait(self) -> int:
        """Its exit code, when it ends."""

    async def stop(self, grace: float) -> None:
        """End it: asked nicely, then not."""

    async def listening(self) -> bool:
        """Whether a TCP connection to the job's port succeeds."""

    async def get(self, path: str) -> int | None:
        """The status that an HTTP health check gets, or None."""

    async def check(self, script: str) -> bool:
        """Whether a health check script succeeds inside the container."""

    def address(self) -> tuple[str, int] | HttpAnswer | None:
        """Where its port can be reached: host and port here, or the answer itself."""


class Engine(Protocol):
    """Builds and runs."""

    #: Whether its work happens in Toolforge's seconds (a scenario) or in this machine's (real work).
    scaled: bool

    async def resolve(self, url: str, ref: str) -> str:
        """The commit that builds-api finds for a ref. Raises `refs.RefError`."""

    def takes_no_time(self, build: Build) -> bool:
        """Whether the build is done within the request that starts it."""

    async def build(self, build: Build, log: BuildLog) -> BuiltImage:
        """Build one commit, writing its log. Raises `BuildFailed`; ends its children when cancelled."""

    def discard(self, image: BuiltImage | Artifact) -> None:
        """The image will not be used again."""

    async def start(self, artifact: Artifact, launch: Launch, log: LogSink) -> Container:
        """Start a container of an image."""
