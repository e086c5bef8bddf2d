"""What the operator decided, as the pure parts need it."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.pool import INSPECT_SECONDS
from orchestrator.progress import Patience
from orchestrator.quiet import Quiet
from orchestrator.scheduler import Limits

_DAY = 86400.0


@dataclass(frozen=True)
class Retention:
    """How long is kept what nothing needs any more; in seconds."""

    event_seconds: float = 730 * _DAY
    log_seconds: float = 90 * _DAY
    delivery_seconds: float = 30 * _DAY
    deployment_seconds: float = 365 * _DAY


@dataclass(frozen=True)
class Policy:
    """What the operator decided; times in seconds."""

    patience: Patience = field(default_factory=Patience)
    limits: Limits = field(default_factory=Limits)
    live_seconds: float = 3 * 86400.0
    #: What projects may decide on at most.
    longest_live_seconds: float = 14 * 86400.0
    clean_poll_seconds: float = 1.0
    janitor_seconds: float = INSPECT_SECONDS
    quiet: Quiet = field(default_factory=Quiet)
    #: User names of bots, besides those that GitLab makes for access tokens.
    bots: frozenset[str] = frozenset()
    #: Of so many deployments of a preview, the newest, logs are kept.
    logs_per_preview: int = 20
    #: How long, and how many of a project at once, may be kept from giving way to others.
    keep_seconds: float = 7 * 86400.0
    kept_per_project: int = 2
    #: How often the open merge requests of a project are compared with what we know.
    catch_up_seconds: float = 900.0
    #: How often tiny repositories of our own are built, to learn what the builders have; 0: never.
    probe_seconds: float = 7 * _DAY
    #: Share of the live previews that one pass of such a comparison, or of the janitor, may take down.
    most_taken_down_share: float = 0.25
    #: What bots push is only checked, and not kept for review.
    check_only_bots: bool = True
    retention: Retention = field(default_factory=Retention)
    #: Deliveries of a project, of each kind, that are looked at in a minute as they come.
    deliveries_per_minute: int = 300
    #: How many deployments of a project may wait for an account; bots' are counted with people's, not before.
    waiting_per_project: int = 200
