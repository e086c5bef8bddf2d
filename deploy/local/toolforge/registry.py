"""Harbor: one project per tool, artifacts with digests and tags, and a byte quota over unique layers.

Facts: contract sections 2.6, 2.7, 3.3 and 5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

UNLIMITED = -1


class QuotaExceeded(Exception):
    """The push was refused: the text is Harbor's own (goharbor/harbor#17390)."""


@dataclass
class Artifact:
    """One image.

    `layers` maps a layer's digest to its bytes; `path` and `processes` are how it is run here.
    """

    digest: str
    repository: str
    layers: dict[str, int]
    tags: list[str]
    pushed: float
    path: str = ""
    processes: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all its layers."""
        return sum(self.layers.values())


def image_digest(layers: Mapping[str, int], processes: Mapping[str, str]) -> str:
    """The digest of an image: equal content gives an equal digest, as buildpacks' reproducible images do."""
    text = "\n".join([*sorted(layers), *(f"{name}={command}" for name, command in sorted(processes.items()))])
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@dataclass
class Project:
    """The Harbor project of a tool. It does not exist until something creates it."""

    name: str
    quota: int
    exists: bool = False
    artifacts: list[Artifact] = field(default_factory=list)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Project:
        """The project that `dataclasses.asdict` described."""
        return cls(
            data["name"], data["quota"], data["exists"], [Artifact(**one) for one in data["artifacts"]]
        )

    @property
    def used(self) -> int:
        """Bytes in use: layers that artifacts share are counted once."""
        layers: dict[str, int] = {}
        for artifact in self.artifacts:
            layers.update(artifact.layers)
        return sum(layers.values())

    def push(self, artifact: Artifact) -> Artifact:
        """Store an image and move its tags to it.

        The earlier holder stays, untagged. Raises `QuotaExceeded`.
        """
        known = {digest for one in self.artifacts for digest in one.layers}
        added = sum(size for digest, size in artifact.layers.items() if digest not in known)
        used = self.used
        if self.quota != UNLIMITED and used + added > self.quota:
            raise QuotaExceeded(
                f"adding {mebibytes(added)} of storage resource, which when updated to current usage of "
                f"{mebibytes(used)} will exceed the configured upper limit of {mebibytes(self.quota)}."
            )
        for one in self.artifacts:
            if one.repository == artifact.repository:
                one.tags = [tag for tag in one.tags if tag not in artifact.tags]
        for one in self.artifacts:
            if one.repository == artifact.repository and one.digest == artifact.digest:
                one.tags = sorted({*one.tags, *artifact.tags})
                return one
        self.artifacts.append(artifact)
        return artifact

    def find(self, repository: str, digest: str | None = None, tag: str = "latest") -> Artifact | None:
        """The tagged artifact of a repository, or None: untagged ones cannot be deployed (contract 3.3)."""
        for one in self.artifacts:
            if one.repository == repository and tag in one.tags and digest in (None, one.digest):
                return one
        return None

    def repositories(self) -> list[str]:
        """The names of the repositories that hold artifacts."""
        return list(dict.fromkeys(one.repository for one in self.artifacts))


def format_bytes(amount: int) -> str:
    """builds-api's formatBytes: `1.00Gi`, `0B`, and raw bytes when negative."""
    for unit, size in (("Ti", 1024**4), ("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
        if amount >= size:
            return f"{amount / size:.2f}{unit}"
    return f"{amount}B"


def mebibytes(amount: int) -> str:
    """Harbor's own way to write an amount in its refusal."""
    return f"{amount / 1024**2:.1f} MiB"


def storage_quota(project: Project) -> dict[str, str]:
    """The `Storage` item of builds-api's quotas (contract 2.6)."""
    used = project.used
    if project.quota == UNLIMITED:
        limit, available, capacity = "Unlimited", "Unlimited", "0%"
    else:
        limit, available = format_bytes(project.quota), format_bytes(project.quota - used)
        capacity = f"{percent_used(project)}%"
    return {
        "name": "Storage",
        "limit": limit,
        "used": format_bytes(used),
        "available": available,
        "capacity": capacity,
    }


def percent_used(project: Project) -> int:
    """How full the project is, in whole percent; 0 when it has no limit."""
    if project.quota == UNLIMITED:
        return 0
    return project.used * 100 // project.quota if project.quota else 100
