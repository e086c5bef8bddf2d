"""How long a preview lives, by the repository's own file or else by the operators. Pure; times in seconds."""

from __future__ import annotations

from orchestrator.preview import Deployment, State
from orchestrator.repoconfig import restored
from orchestrator.repovalues import seconds_of


def live_seconds(live: Deployment, usual: float) -> float:
    """How long it stays up."""
    longest = restored(live.config).life.max
    return usual if longest is None else seconds_of(longest)


def may_not_give_way(deployment: Deployment, now: float) -> bool:
    """True for a live one that its repository's own file keeps from giving way, until then."""
    if deployment.state is not State.LIVE or not deployment.config:
        return False
    shortest = restored(deployment.config).life.min
    return shortest is not None and now < deployment.since + seconds_of(shortest)
