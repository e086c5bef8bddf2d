"""When those who wait can expect their turn: the position in the queue, and a time of arrival.

Pure. Reckoned from what builds of the same projects took before, as if nobody else came and every live
preview gave way as soon as it may. It is an estimate for people; the plan never looks at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State
from orchestrator.scheduler import Limits, Snapshot, turns

#: What a build takes before any of its project is known.
UNKNOWN_SECONDS = 180.0
#: What comes after the build: the start, the checks.
VERDICT_SECONDS = 30.0
#: What it takes to empty an account.
CLEANING_SECONDS = 30.0


@dataclass(frozen=True)
class Turn:
    """What somebody who waits can expect."""

    #: 1 for the next.
    position: int
    #: When its verdict is expected, in seconds since the epoch; None where no account will come free, or the
    #: builds are frozen.
    verdict_at: float | None


def forecast(
    snapshot: Snapshot,
    going: Sequence[tuple[Deployment, int]],
    accounts: Sequence[Account],
    build_seconds: Mapping[int, float],
    limits: Limits,
    now: float,
    kept_until: Mapping[int, float],
) -> Mapping[int, Turn]:
    """The turn of each waiting deployment, by its id.

    `going` and `accounts` are what `snapshot` was made of, `build_seconds` is what a project's builds take,
    `kept_until` says of previews, by their id, until when they do not give way.
    """
    if snapshot.frozen:
        return {
            one.deployment_id: Turn(place, None) for place, one in enumerate(turns(snapshot, limits, now), 1)
        }
    slots = _slots(snapshot, going, build_seconds, limits, now)
    free = _accounts(going, accounts, build_seconds, limits, now, kept_until)
    held = {place.preview_id for place in snapshot.places if place.preview_id is not None}
    can_share = any(place.is_shared for place in snapshot.places)
    found = {}
    for position, waiting in enumerate(turns(snapshot, limits, now), 1):
        needs_account = waiting.preview_id not in held and not (waiting.check_only and can_share)
        if needs_account and not free:
            found[waiting.deployment_id] = Turn(position, None)
            continue
        begins = max(heappop(slots), heappop(free) if needs_account else now)
        ends = begins + build_seconds.get(waiting.project_id, UNKNOWN_SECONDS)
        heappush(slots, ends)
        verdict_at = ends + VERDICT_SECONDS
        if needs_account:
            stays = 0.0 if waiting.check_only else limits.min_live_seconds
            heappush(free, verdict_at + stays + CLEANING_SECONDS)
        found[waiting.deployment_id] = Turn(position, verdict_at)
    return found


def _slots(
    snapshot: Snapshot,
    going: Sequence[tuple[Deployment, int]],
    build_seconds: Mapping[int, float],
    limits: Limits,
    now: float,
) -> list[float]:
    """When each build slot is to be had."""
    borne = limits.max_concurrent_builds if snapshot.ceiling is None else snapshot.ceiling.builds
    slots = [_build_ends(d, project_id, build_seconds, now) for d, project_id in going if d.holds_build_slot]
    slots += [now] * (borne - len(slots))
    heapify(slots)
    return slots


def _build_ends(
    building: Deployment, project_id: int, build_seconds: Mapping[int, float], now: float
) -> float:
    if building.is_spare:
        # It gives way to whoever waits.
        return now
    return max(building.since + build_seconds.get(project_id, UNKNOWN_SECONDS), now)


def _accounts(
    going: Sequence[tuple[Deployment, int]],
    accounts: Sequence[Account],
    build_seconds: Mapping[int, float],
    limits: Limits,
    now: float,
    kept_until: Mapping[int, float],
) -> list[float]:
    """When each account is to be had by somebody who has none."""
    given_up: dict[int, float] = {}
    for deployment, project_id in going:
        if deployment.account_id is None:
            continue
        if deployment.state is State.LIVE:
            kept = kept_until.get(deployment.preview_id, now)
            free_at = max(deployment.since + limits.min_live_seconds, kept, now)
        else:
            stays = 0.0 if deployment.check_only or deployment.is_spare else limits.min_live_seconds
            free_at = _build_ends(deployment, project_id, build_seconds, now) + VERDICT_SECONDS + stays
        given_up[deployment.account_id] = max(given_up.get(deployment.account_id, now), free_at)
    times = []
    for account in accounts:
        match account.state:
            case AccountState.FREE if not account.drain:
                times.append(now)
            case AccountState.CLEANING if not account.drain:
                times.append(now + CLEANING_SECONDS)
            case AccountState.LEASED if not account.drain:
                times.append(given_up.get(account.id, now) + CLEANING_SECONDS)
    heapify(times)
    return times
