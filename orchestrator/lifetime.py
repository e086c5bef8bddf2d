"""How long a preview lives: by the repository's own file, its project, or the operators. Pure; in seconds."""

from __future__ import annotations

from orchestrator.durations import seconds_of
from orchestrator.preview import Deployment, State
from orchestrator.repoconfig import restored
from orchestrator.rules import Rules


def live_seconds(live: Deployment, decided: Rules, usual: float) -> float:
    """How long it stays up: by its own file, or else its project, or else as usual."""
    longest = restored(live.config).life.max or decided.life
    return seconds_of(longest) if longest else usual


def young_until(deployment: Deployment) -> float:
    """Until when its repository's own file keeps a live one from giving way; 0: it does not."""
    if deployment.state is not State.LIVE or not deployment.config:
        return 0.0
    shortest = restored(deployment.config).life.min
    return 0.0 if shortest is None else deployment.since + seconds_of(shortest)
