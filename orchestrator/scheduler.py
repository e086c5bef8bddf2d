"""Who builds next, on which account, and which preview gives way.

Pure: the same :func:`plan` runs in the service and in tests. It reads a snapshot and returns decisions; it
has no clock and does no I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State, Step

_SUCCESSES_TO_RISE = 3


@dataclass(frozen=True)
class Limits:
    """What the operator allows."""

    max_concurrent_builds: int = 3
    #: builds-api's own limit for one tool.
    builds_per_account: int = 4
    #: Seconds that a preview stays up before it may have to give way.
    min_live_seconds: float = 1800.0
    #: Seconds after which a waiting bot is treated like a person, so that nothing starves.
    ageing_seconds: float = 900.0
    #: Share of a project in the turns; 1 where nothing is said.
    weights: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ceiling:
    """How many builds Toolforge bears just now: halved when it complains, raised after a run of successes."""

    builds: int
    successes: int = 0

    def lowered(self) -> Ceiling:
        """After a 409, 429 or 5xx."""
        return Ceiling(max(self.builds // 2, 1))

    def eased(self, limits: Limits) -> Ceiling:
        """After a build that went well."""
        if self.builds >= limits.max_concurrent_builds:
            return self
        if self.successes + 1 < _SUCCESSES_TO_RISE:
            return Ceiling(self.builds, self.successes + 1)
        return Ceiling(min(self.builds + 1, limits.max_concurrent_builds))


@dataclass(frozen=True)
class Waiting:
    """A deployment that waits for a build slot."""

    deployment_id: int
    preview_id: int
    project_id: int
    since: float
    is_bot: bool = False


@dataclass(frozen=True)
class Place:
    """An account that can be built on: free, or leased to a preview."""

    account_id: int
    #: None when free.
    preview_id: int | None
    builds: int = 0


@dataclass(frozen=True)
class Showing:
    """A live preview with nothing on the way; it could give way."""

    preview_id: int
    live_since: float


@dataclass(frozen=True)
class Snapshot:
    """All that a plan looks at."""

    waiting: Sequence[Waiting]
    places: Sequence[Place]
    showing: Sequence[Showing] = ()
    #: Builds that hold a slot, by project.
    building: Mapping[int, int] = field(default_factory=dict)
    #: Accounts that are about to be free.
    cleaning: int = 0
    ceiling: Ceiling | None = None


@dataclass(frozen=True)
class Start:
    """Build this deployment on this account."""

    deployment_id: int
    account_id: int


@dataclass(frozen=True)
class MakeRoom:
    """Take this live preview down: somebody waits for an account."""

    preview_id: int


Decision = Start | MakeRoom


def turns(snapshot: Snapshot, limits: Limits, now: float) -> Iterator[Waiting]:
    """The waiting deployments in the order in which they get their turn.

    Projects take turns, the one with the fewest builds for its weight first; within a project people go
    before bots, and then first come, first served.
    """
    load = Counter(snapshot.building)

    def rank(waiting: Waiting) -> tuple[bool, float]:
        young = now - waiting.since < limits.ageing_seconds
        return (waiting.is_bot and young, waiting.since)

    queues: dict[int, list[Waiting]] = {}
    for waiting in sorted(snapshot.waiting, key=rank, reverse=True):
        queues.setdefault(waiting.project_id, []).append(waiting)
    while queues:
        project_id = min(
            queues,
            key=lambda project: (load[project] / limits.weights.get(project, 1.0), rank(queues[project][-1])),
        )
        yield queues[project_id].pop()
        load[project_id] += 1
        if not queues[project_id]:
            del queues[project_id]


def plan(snapshot: Snapshot, limits: Limits, now: float) -> list[Decision]:
    """What to start and who gives way, given what is free and who waits."""
    borne = limits.max_concurrent_builds if snapshot.ceiling is None else snapshot.ceiling.builds
    slots = min(borne, limits.max_concurrent_builds) - sum(snapshot.building.values())
    held = {place.preview_id: place for place in snapshot.places if place.preview_id is not None}
    free = [place for place in snapshot.places if place.preview_id is None]
    builds = {place.account_id: place.builds for place in snapshot.places}
    decisions: list[Decision] = []
    without_account = 0
    for waiting in turns(snapshot, limits, now):
        place = held.get(waiting.preview_id)
        if place is None and not free:
            without_account += 1
            continue
        if slots <= 0:
            continue
        if place is None:
            place = held[waiting.preview_id] = free.pop(0)
        if builds[place.account_id] >= limits.builds_per_account:
            continue
        builds[place.account_id] += 1
        slots -= 1
        decisions.append(Start(waiting.deployment_id, place.account_id))
    decisions += _make_room(snapshot, limits, now, wanted=without_account - snapshot.cleaning)
    return decisions


def _make_room(snapshot: Snapshot, limits: Limits, now: float, *, wanted: int) -> list[Decision]:
    """The live previews that have been up longest and have had their time, as many as are wanted."""
    ripe = sorted(
        (show for show in snapshot.showing if now - show.live_since >= limits.min_live_seconds),
        key=lambda show: show.live_since,
    )
    return [MakeRoom(show.preview_id) for show in ripe[: max(wanted, 0)]]


def take_snapshot(
    going: Sequence[tuple[Deployment, int]], accounts: Sequence[Account], ceiling: Ceiling | None
) -> Snapshot:
    """What :func:`plan` looks at; `going` are the unsettled deployments, each with its project's id."""
    per_account = Counter(d.account_id for d, _ in going if d.holds_build_slot)
    on_the_way = {d.preview_id for d, _ in going if d.is_on_its_way}
    live = {d.preview_id: d for d, _ in going if d.state is State.LIVE}
    usable = [
        a
        for a in accounts
        if a.state is AccountState.LEASED or (a.state is AccountState.FREE and not a.drain)
    ]
    wanted = on_the_way | live.keys()
    return Snapshot(
        waiting=[
            Waiting(d.id, d.preview_id, project_id, d.since, d.is_bot)
            for d, project_id in going
            if d.step is Step.AWAIT_SLOT
        ],
        places=[Place(a.id, a.preview_id, per_account[a.id]) for a in usable],
        showing=[
            Showing(preview_id, d.since) for preview_id, d in live.items() if preview_id not in on_the_way
        ],
        building=Counter(project_id for d, project_id in going if d.holds_build_slot),
        cleaning=sum(
            a.state is AccountState.CLEANING
            or (a.state is AccountState.LEASED and a.preview_id not in wanted)
            for a in accounts
        ),
        ceiling=ceiling,
    )
