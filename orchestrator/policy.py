"""What the operator decided, as the pure parts need it."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.progress import Patience
from orchestrator.scheduler import Limits


@dataclass(frozen=True)
class Policy:
    """What the operator decided; times in seconds."""

    patience: Patience = field(default_factory=Patience)
    limits: Limits = field(default_factory=Limits)
    live_seconds: float = 3 * 86400.0
    clean_poll_seconds: float = 1.0
    #: User names of bots, besides those that GitLab makes for access tokens.
    bots: frozenset[str] = frozenset()
    #: What bots push is checked, and not kept for review.
    check_only_bots: bool = True
