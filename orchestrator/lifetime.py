"""How long a preview lives, by the repository's own file or else by the operators. Pure; times in seconds."""

from __future__ import annotations

from orchestrator.durations import seconds_of
from orchestrator.preview import Deployment, State
from orchestrator.repoconfig import restored


def live_seconds(live: Deployment, usual: float) -> float:
    """How long it stays up."""
    longest = restored(live.config).life.max
    return usual if longest is None else seconds_of(longest)


def young_until(deployment: Deployment) -> float:
    """Until when its repository's own file keeps a live one from giving way; 0: it does not."""
    if deployment.state is not State.LIVE or not deployment.config:
        return 0.0
    shortest = restored(deployment.config).life.min
    return 0.0 if shortest is None else deployment.since + seconds_of(shortest)
