"""What a tool account holds, as plain records that survive a restart."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from deploy.local.toolforge.registry import Project

#: Kubernetes' alphabet for generated names: no vowels, no look-alikes (contract 2.3, unverified).
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
#: Of our own: a program that seeds `random` would otherwise be given names that it had before.
_RANDOM = random.SystemRandom()


def generated_name(prefix: str) -> str:
    """A name as Kubernetes generates them."""
    return f"{prefix}-{''.join(_RANDOM.choices(_ALPHABET, k=5))}"


class BuildStatus(StrEnum):
    """builds-api's statuses (contract 2.3)."""

    PENDING = "BUILD_PENDING"  #: the run exists, nothing has happened to it
    UNKNOWN = "BUILD_UNKNOWN"  #: any other state; a live build passes through it when Tekton says "Started"
    RUNNING = "BUILD_RUNNING"  #: its containers run
    SUCCESS = "BUILD_SUCCESS"  #: the image is in Harbor
    FAILURE = "BUILD_FAILURE"  #: a step failed; only the log tells why
    CANCELLED = "BUILD_CANCELLED"  #: told to stop; it counts as running until it has an end
    TIMEOUT = "BUILD_TIMEOUT"  #: Tekton gave up


@dataclass
class Build:
    """One pipeline run. `number` orders runs of the same second; `digest` is there only after success."""

    id: str
    tool: str
    number: int
    source_url: str
    resolved_ref: str
    created: float
    ref: str = ""
    image_name: str = ""
    envvars: dict[str, str] = field(default_factory=dict)
    use_latest_versions: bool = False
    use_deprecated_versions: bool = False
    status: BuildStatus = BuildStatus.PENDING
    message: str = ""
    started: float | None = None
    ended: float | None = None
    digest: str | None = None

    @property
    def alive(self) -> bool:
        """Whether it has no completion time yet: that, not the status, is what the parallel limit counts."""
        return self.ended is None

    @property
    def repository(self) -> str:
        """The image's name inside the tool's Harbor project; builds-api defaults to `tool-<tool>`."""
        return self.image_name or f"tool-{self.tool}"


@dataclass
class JobRecord:
    """One stored job. `spec` holds only what was set explicitly; `applied` is what the runtime was given.

    They differ after a failed create or update, which jobs-api reports as `up_to_date: false`.
    """

    name: str
    spec: dict[str, Any]
    created: float
    applied: dict[str, Any] | None = None


@dataclass
class Tool:
    """One tool account."""

    name: str
    project: Project
    envvars: dict[str, str] = field(default_factory=dict)
    builds: dict[str, Build] = field(default_factory=dict)
    jobs: dict[str, JobRecord] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The account as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Tool:
        """The account that `to_json` described."""
        return cls(
            name=data["name"],
            project=Project.from_json(data["project"]),
            envvars=dict(data["envvars"]),
            builds={key: _build(value) for key, value in data["builds"].items()},
            jobs={key: JobRecord(**value) for key, value in data["jobs"].items()},
        )


def _build(data: dict[str, Any]) -> Build:
    return Build(**{**data, "status": BuildStatus(data["status"])})
