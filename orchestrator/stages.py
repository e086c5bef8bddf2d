"""How long a deployment took, or takes, for what; and how the builds of a project went. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from orchestrator.preview import PENDING, Deployment, State


@dataclass(frozen=True)
class Stage:
    """One state on the way to the verdict."""

    state: State
    since: float
    #: None while it lasts.
    until: float | None

    def seconds(self, now: float) -> float:
        """How long it took, or has taken by `now`."""
        return max((now if self.until is None else self.until) - self.since, 0.0)


def stages(deployment: Deployment) -> list[Stage]:
    """The states on its way to the verdict, in their order."""
    entered = sorted((deployment.entered or {}).items(), key=lambda item: item[1])
    ends: list[float | None] = [since for _, since in entered[1:]]
    return [
        Stage(State(state), since, until)
        for (state, since), until in zip(entered, [*ends, None], strict=True)
        if state in PENDING
    ]


def build_seconds(deployment: Deployment) -> float | None:
    """What its build took; None where it did not come to an image, or none was built."""
    entered = deployment.entered or {}
    begin, end = entered.get(State.BUILDING), entered.get(State.STARTING)
    return None if begin is None or end is None or deployment.build_id is None else end - begin


@dataclass(frozen=True)
class Built:
    """One finished build."""

    deployment: Deployment
    seconds: float


@dataclass(frozen=True)
class Record:
    """How the newest deployments of a project went."""

    passed: int
    failed: int
    #: The oldest first.
    builds: Sequence[Built]

    @property
    def rate(self) -> float | None:
        """The share that passed, 0 to 1; None before the first verdict."""
        verdicts = self.passed + self.failed
        return self.passed / verdicts if verdicts else None

    @property
    def median_seconds(self) -> float | None:
        """Half of the builds took less."""
        return median(built.seconds for built in self.builds) if self.builds else None


def record(deployments: Sequence[Deployment]) -> Record:
    """Of deployments, the newest first. What was superseded, cancelled or refused has no verdict."""
    builds = [(one, build_seconds(one)) for one in reversed(deployments)]
    return Record(
        passed=sum(one.state in {State.LIVE, State.STOPPED} for one in deployments),
        failed=sum(one.state is State.FAILED for one in deployments),
        builds=[Built(one, seconds) for one, seconds in builds if seconds is not None],
    )
