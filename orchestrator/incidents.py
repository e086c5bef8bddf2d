"""The same failure in several projects: one incident, with what to do for all of them. Pure."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.outcome import Failure
from orchestrator.preview import Deployment

#: From so many projects on it is no matter of one of them.
SEVERAL = 3
#: A failure that is older belongs to none.
LATELY_SECONDS = 14 * 86400.0


@dataclass(frozen=True)
class Affected:
    """One merge request whose newest deployment failed, and its project."""

    project_id: int
    path: str
    iid: int
    deployment: Deployment


@dataclass(frozen=True)
class Incident:
    """One cause in several projects."""

    #: Short, and the same as long as the cause is.
    id: str
    failure: Failure
    #: The newest first.
    affected: Sequence[Affected]

    @property
    def projects(self) -> list[str]:
        """The paths of the projects."""
        return sorted({one.path for one in self.affected})

    @property
    def since(self) -> float:
        """When the first of them failed, in seconds since the epoch."""
        return min(one.deployment.since for one in self.affected)


def incidents(failed: Iterable[Affected]) -> list[Incident]:
    """What failed in several projects for the same cause with the same facts; the widest spread first."""
    groups: dict[str, list[Affected]] = defaultdict(list)
    for one in failed:
        name = _name(one.deployment.failure)
        if name is not None:
            groups[name].append(one)
    found = []
    for name, group in groups.items():
        newest_first = sorted(group, key=lambda one: one.deployment.since, reverse=True)
        failure = _best_told(newest_first)
        if failure is not None and len({one.project_id for one in group}) >= SEVERAL:
            found.append(Incident(name, failure, newest_first))
    return sorted(found, key=lambda incident: (-len(incident.projects), incident.id))


def _best_told(newest_first: Sequence[Affected]) -> Failure | None:
    """The newest failure that was seen in a build, where there is one: others only say that it was."""
    failures = [one.deployment.failure for one in newest_first]
    return next((one for one in failures if one is not None and one.evidence), failures[0])


def _name(failure: Failure | None) -> str | None:
    """What failures with the same cause have in common; None where it may be each one's own."""
    if failure is None or not failure.cause:
        return None
    # Which file names a version is each repository's own affair.
    facts = {name: value for name, value in failure.facts.items() if name not in {"file", "line"}}
    if not facts and failure.stage != "toolforge":
        return None
    words = json.dumps([failure.cause, sorted(facts.items())])
    return hashlib.sha256(words.encode()).hexdigest()[:8]
