"""Who builds next, on which account, and which preview gives way.

Pure: the same :func:`plan` runs in the service and in tests. It reads a snapshot and returns decisions; it
has no clock and does no I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from orchestrator import cohorts
from orchestrator.line import Line, Manners, Waiting
from orchestrator.pool import Account, AccountState
from orchestrator.preview import ASKED_FOR, OPINION_STEPS, Deployment, State, Step
from orchestrator.records import Project

_SUCCESSES_TO_RISE = 3
#: So many accounts have to be free before something is tried on one of them that nobody waits for.
FREE_FOR_SPARES = 2


@dataclass(frozen=True)
class Limits(Manners):
    """What the operator allows."""

    max_concurrent_builds: int = 3
    #: builds-api's own limit for one tool.
    builds_per_account: int = 4
    #: Seconds that a preview stays up before it may have to give way.
    min_live_seconds: float = 1800.0
    #: A shared account gets no further builds when its store would be fuller than this share, ...
    shared_fill: float = 0.7
    #: ... or when it has been shared for this long, so that it is cleaned some day.
    shared_seconds: float = 3600.0
    #: How many who get nothing a plan looks at. Room is made for those who are next, not for a long line.
    look_ahead: int = 32
    #: So long, in seconds, bots wait for what comes of the same change elsewhere; 0: not at all.
    cohort_seconds: float = 1800.0


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


def with_weights(limits: Limits, projects: Sequence[Project]) -> Limits:
    """`limits` with each project's share in the turns."""
    return replace(limits, weights={project.id: project.weight for project in projects})


@dataclass(frozen=True)
class Place:
    """An account that can be built on: free, leased to a preview, or shared by check-only deployments."""

    account_id: int
    #: None when free, or shared.
    preview_id: int | None
    builds: int = 0
    is_shared: bool = False
    #: When the lease began.
    since: float = 0.0
    #: What its image store holds, with what the builds under way are expected to add.
    bytes_used: int = 0
    #: None: no limit, or none that is known.
    bytes_limit: int | None = None
    #: A deployment of those that share it is at its address.
    is_serving: bool = False

    @property
    def is_free(self) -> bool:
        """True when nobody has it."""
        return self.preview_id is None and not self.is_shared

    def has_room(self, size: int, share: float = 1.0) -> bool:
        """True when `size` more bytes leave the store at most `share` full; an empty one may be filled."""
        allowed = 1.0 if self.bytes_used == 0 else share
        return self.bytes_limit is None or self.bytes_used + size <= allowed * self.bytes_limit


@dataclass(frozen=True)
class Showing:
    """A live preview with nothing on the way; it could give way."""

    preview_id: int
    live_since: float


@dataclass(frozen=True)
class Built:
    """A check-only deployment whose image is there; it waits for the address of its account."""

    deployment_id: int
    account_id: int
    since: float


@dataclass(frozen=True)
class Snapshot:
    """All that a plan looks at."""

    #: A :class:`Line` where one is kept; it is not sorted anew then.
    waiting: Collection[Waiting]
    places: Sequence[Place]
    showing: Sequence[Showing] = ()
    built: Sequence[Built] = ()
    #: Builds that hold a slot, by project.
    building: Mapping[int, int] = field(default_factory=dict)
    #: Accounts that are about to be free.
    cleaning: int = 0
    ceiling: Ceiling | None = None
    #: Previews of which somebody waits, and on whose account there is at most what is live: nothing that is
    #: on its way or to be tidied.
    alone: frozenset[int] = frozenset()
    #: The largest image store of the pool, in bytes; None: without limit, or not known.
    largest_store: int | None = None
    #: Operators have frozen the builds: nothing is begun, and nothing gives way.
    frozen: bool = False
    #: Deployments that have failed, and of which a second opinion is being had; nobody waits for those.
    asking: Sequence[int] = ()
    #: Those that wait to be tried with what nobody needs, ...
    spares: Collection[Waiting] = ()
    #: ... and the ids of those that are being tried.
    spares_going: Collection[int] = ()


@dataclass(frozen=True)
class Start:
    """Build this deployment on this account, which is shared from now on if `is_shared`."""

    deployment_id: int
    account_id: int
    is_shared: bool = False
    #: Bytes of the store that are set aside for it.
    needs_bytes: int = 0


@dataclass(frozen=True)
class Serve:
    """The address of its account is this deployment's turn now."""

    deployment_id: int


@dataclass(frozen=True)
class MakeRoom:
    """Take this live preview down: somebody waits for an account."""

    preview_id: int


@dataclass(frozen=True)
class CleanFirst:
    """Take down what is live of this preview and clean its account: its next image does not fit there."""

    preview_id: int


@dataclass(frozen=True)
class Refuse:
    """An image of `needs_bytes` fits into no account's store, of which the largest has `largest_store`."""

    deployment_id: int
    needs_bytes: int
    largest_store: int


@dataclass(frozen=True)
class DropOpinion:
    """End the second opinion of this deployment: somebody waits for what it takes."""

    deployment_id: int


@dataclass(frozen=True)
class GiveUp:
    """End this build of what nobody waits for: somebody else goes without its slot or its account."""

    deployment_id: int


Decision = Start | Serve | MakeRoom | CleanFirst | Refuse | DropOpinion | GiveUp


def turns(snapshot: Snapshot, limits: Limits, now: float) -> Iterator[Waiting]:
    """The waiting deployments in the order in which they get their turn, see :meth:`Line.turns`."""
    return _line(snapshot).turns(snapshot.building, limits, now)


def _line(snapshot: Snapshot) -> Line:
    return snapshot.waiting if isinstance(snapshot.waiting, Line) else Line(snapshot.waiting)


def plan(snapshot: Snapshot, limits: Limits, now: float) -> list[Decision]:
    """What to start and who gives way, given what is free and who waits."""
    if snapshot.frozen:
        # What was built before has still to get its verdict.
        return _serve(snapshot)
    line = _line(snapshot)
    planner = _Planner(snapshot, limits, now)
    planner.refuse(line)
    order = line.turns(snapshot.building, limits, now)
    while planner.is_worth_a_look() and (waiting := next(order, None)) is not None:
        planner.consider(waiting)
    # Who has an account of its own need not wait for those ahead who have none.
    for waiting in planner.left_with_account(line).turns(snapshot.building, limits, now):
        planner.consider(waiting)
    planner.consider_spares(line)
    return [*_serve(snapshot), *planner.decisions, *planner.drop_opinions(line), *planner.make_room()]


def has_time_to_spare(snapshot: Snapshot, limits: Limits, account_id: int, size: int) -> bool:
    """Whether a build that nobody waits for may go on, on an account with room for `size` more bytes.

    The build that it follows still counts among those that run.
    """
    borne = limits.max_concurrent_builds if snapshot.ceiling is None else snapshot.ceiling.builds
    is_borne = sum(snapshot.building.values()) <= min(borne, limits.max_concurrent_builds)
    place = next((one for one in snapshot.places if one.account_id == account_id), None)
    if snapshot.frozen or snapshot.waiting or not is_borne or place is None:
        return False
    return place.has_room(size, limits.shared_fill if place.is_shared else 1.0)


def _serve(snapshot: Snapshot) -> list[Decision]:
    """Who gets the address of each shared account that serves nobody: whoever was built first."""
    if not snapshot.built:
        return []
    first: dict[int, Built] = {}
    for built in sorted(snapshot.built, key=lambda built: built.since):
        first.setdefault(built.account_id, built)
    busy = {place.account_id for place in snapshot.places if place.is_serving}
    return [Serve(built.deployment_id) for account_id, built in first.items() if account_id not in busy]


class _Planner:
    """One plan in the making; what it gives away is gone for those who come later."""

    def __init__(self, snapshot: Snapshot, limits: Limits, now: float) -> None:
        self._snapshot = snapshot
        self._limits = limits
        self._now = now
        borne = limits.max_concurrent_builds if snapshot.ceiling is None else snapshot.ceiling.builds
        self._slots = min(borne, limits.max_concurrent_builds) - sum(snapshot.building.values())
        self._places = {place.account_id: place for place in snapshot.places}
        self._held = {
            place.preview_id: place.account_id for place in snapshot.places if place.preview_id is not None
        }
        self._free = [place.account_id for place in snapshot.places if place.is_free]
        self._shared = [place.account_id for place in snapshot.places if place.is_shared]
        self._ripe = sorted(
            (show for show in snapshot.showing if now - show.live_since >= limits.min_live_seconds),
            key=lambda show: show.live_since,
        )
        self._homeless = 0
        self._homeless_sharers = 0
        self._considered: set[int] = set()
        self._in_vain = 0
        self._cleaned_first: set[int] = set()
        self._given_up = 0
        self.decisions: list[Decision] = []

    def refuse(self, line: Line) -> None:
        """Refuse what fits into no account's store, wherever in the line it is."""
        largest = self._snapshot.largest_store
        for waiting in [] if largest is None else line.larger_than(largest):
            self._considered.add(waiting.deployment_id)
            self.decisions.append(Refuse(waiting.deployment_id, waiting.needs_bytes, largest or 0))

    def is_worth_a_look(self) -> bool:
        """Whether anything can come of looking at who is next in line."""
        if self._slots > 0 and self._free:
            return True
        if self._in_vain >= self._limits.look_ahead:
            return False
        can_share = self._slots > 0 and self._homeless == 0 and bool(self._shared)
        # Those who have to be cleaned first may turn out to bring some of the accounts that are wanted.
        enough = len(self._ripe) + len(self._snapshot.alone)
        return can_share or (bool(self._ripe) and self._wanted() < enough)

    def left_with_account(self, line: Line) -> Line:
        """Those who were not considered and whose preview has an account."""
        found = (line.of_preview(preview_id) for preview_id in list(self._held))
        return Line(one for one in found if one is not None and one.deployment_id not in self._considered)

    def consider(self, waiting: Waiting) -> None:
        """Start it, or count what it lacks."""
        if waiting.deployment_id in self._considered:
            return
        self._considered.add(waiting.deployment_id)
        begun = len(self.decisions)
        if waiting.preview_id in self._held:
            self._consider_beside(waiting)
        elif waiting.check_only:
            self._consider_shared(waiting)
        else:
            self._consider_free(waiting)
        self._in_vain += len(self.decisions) == begun

    def consider_spares(self, line: Line) -> None:
        """Try one of those that nobody waits for; or end what is tried, when somebody else goes without.

        One at a time in the whole pool, and never on the last free account: who comes next must not find
        that it has to be cleaned first.
        """
        snapshot = self._snapshot
        if not snapshot.spares and not snapshot.spares_going:
            return
        if self._goes_anybody_without(line):
            self.decisions += [GiveUp(deployment_id) for deployment_id in sorted(snapshot.spares_going)]
            self._given_up = len(snapshot.spares_going)
            return
        if snapshot.spares_going or len(self._free) < FREE_FOR_SPARES:
            return
        # What it was tried on before may still be on its way to be clean.
        ready = [one for one in snapshot.spares if one.preview_id not in self._held]
        for waiting in sorted(ready, key=lambda one: one.since):
            account_id = self._fitting(self._free, waiting)
            if account_id is not None:
                self._start(waiting, self._places[account_id])
                return

    def _goes_anybody_without(self, line: Line) -> bool:
        served = {one.deployment_id for one in self.decisions if isinstance(one, Start | Refuse)}
        return any(waiting.deployment_id not in served for waiting in line)

    def make_room(self) -> list[Decision]:
        """The live previews that have been up longest and have had their time, as many as are wanted."""
        return [MakeRoom(show.preview_id) for show in self._ripe[: max(self._wanted(), 0)]]

    def drop_opinions(self, line: Line) -> list[Decision]:
        """No opinion is asked for while anybody waits, for whatever."""
        if not self._snapshot.asking or not self._goes_anybody_without(line):
            return []
        return [DropOpinion(deployment_id) for deployment_id in self._snapshot.asking]

    def _wanted(self) -> int:
        """How many accounts are wanted by those who were considered, but for those about to be free."""
        sharers = -(-self._homeless_sharers // self._limits.builds_per_account)
        about_to_be_free = self._snapshot.cleaning + len(self._cleaned_first) + self._given_up
        return self._homeless + sharers - about_to_be_free

    def _consider_beside(self, waiting: Waiting) -> None:
        """Its preview has an account: build there, beside what runs, or clean it first if that cannot be."""
        place = self._places[self._held[waiting.preview_id]]
        if waiting.preview_id in self._cleaned_first:
            return
        if place.has_room(waiting.needs_bytes):
            self._start(waiting, place)
        elif waiting.preview_id in self._snapshot.alone:
            self._cleaned_first.add(waiting.preview_id)
            self.decisions.append(CleanFirst(waiting.preview_id))

    def _consider_free(self, waiting: Waiting) -> None:
        account_id = self._fitting(self._free, waiting)
        if account_id is None:
            self._homeless += 1
        elif self._start(waiting, self._places[account_id]):
            self._free.remove(account_id)
            self._held[waiting.preview_id] = account_id

    def _consider_shared(self, waiting: Waiting) -> None:
        """Beside others of its kind, else on a free account; behind people who have none, not at all."""
        if self._homeless == 0:
            for account_id in self._shared:
                if self._is_open(self._places[account_id], waiting):
                    self._start(waiting, self._places[account_id])
                    return
        free = self._fitting(self._free, waiting)
        if free is None:
            self._homeless_sharers += 1
        elif self._start(waiting, self._places[free], is_shared=True):
            self._free.remove(free)
            self._shared.append(free)

    def _is_open(self, place: Place, waiting: Waiting) -> bool:
        """Whether a shared account takes this build, too."""
        return (
            place.builds < self._limits.builds_per_account
            and self._now - place.since < self._limits.shared_seconds
            and place.has_room(waiting.needs_bytes, self._limits.shared_fill)
        )

    def _fitting(self, account_ids: Sequence[int], waiting: Waiting) -> int | None:
        """The first account whose store is large enough; one that was asked for takes what there is."""
        fits = (i for i in account_ids if self._places[i].has_room(waiting.needs_bytes))
        return next(fits, account_ids[0] if waiting.is_asked_for and account_ids else None)

    def _start(self, waiting: Waiting, place: Place, *, is_shared: bool = False) -> bool:
        """Take a slot of the pool and one of the account; False when there is none."""
        if self._slots <= 0 or place.builds >= self._limits.builds_per_account:
            return False
        self._slots -= 1
        is_shared = place.is_shared or is_shared
        self._places[place.account_id] = replace(
            place,
            builds=place.builds + 1,
            bytes_used=place.bytes_used + waiting.needs_bytes,
            is_shared=is_shared,
            since=place.since if place.is_shared else self._now,
        )
        self.decisions.append(
            Start(waiting.deployment_id, place.account_id, is_shared, needs_bytes=waiting.needs_bytes)
        )
        return True


def take_snapshot(
    going: Sequence[tuple[Deployment, int]],
    accounts: Sequence[Account],
    ceiling: Ceiling | None,
    needs: Mapping[int, int] | None = None,
    *,
    now: float = inf,
    frozen: bool = False,
    paused: Container[int] = (),
    kept: Container[int] = (),
    cohort_seconds: float = 0.0,
) -> Snapshot:
    """What :func:`plan` looks at; `going` are the unsettled deployments, each with its project's id.

    `needs` are the bytes that a build of each project is expected to take; :data:`UNKNOWN_BYTES` for others.
    Deployments of projects that are `paused`, and those that are not ready by `now`, are not planned.
    Previews that are `kept` do not give way. Nor are those planned that wait for the same change elsewhere,
    for `cohort_seconds` at most.
    """
    needs = needs or {}
    on_the_way = {d.preview_id for d, _ in going if d.is_on_its_way}
    live = {d.preview_id: d for d, _ in going if d.state is State.LIVE}
    at_rest = {preview_id for preview_id, d in live.items() if d.step is Step.NONE}
    wanted = on_the_way | live.keys()
    busy = Counter(d.preview_id for d, _ in going if d.account_id is not None)
    held_back = cohorts.held(going, now, cohort_seconds, paused)
    ready = [
        (d, project_id)
        for d, project_id in going
        if _is_ready(d, now) and project_id not in paused and d.id not in held_back
    ]
    waiting = [_waiting(d, project_id, needs) for d, project_id in ready if not d.is_spare]
    waited_for = {one.preview_id for one in waiting}
    held = [a.preview_id for a in accounts if a.preview_id is not None]
    return Snapshot(
        waiting=waiting,
        places=_places([d for d, _ in going], accounts),
        showing=[
            Showing(preview_id, d.since)
            for preview_id, d in live.items()
            if preview_id not in on_the_way and preview_id not in kept
        ],
        built=[
            Built(d.id, d.account_id, d.step_since)
            for d, _ in going
            if d.step is Step.AWAIT_PLACE and d.account_id is not None
        ],
        building=Counter(project_id for d, project_id in going if d.holds_build_slot),
        cleaning=sum(_is_on_its_way_back(a, wanted) for a in accounts),
        ceiling=ceiling,
        alone=frozenset(p for p in held if p in waited_for and busy[p] == (p in at_rest)),
        largest_store=largest_store(accounts),
        frozen=frozen,
        asking=[d.id for d, _ in going if d.step in OPINION_STEPS],
        spares=[_waiting(d, project_id, needs) for d, project_id in ready if d.is_spare],
        spares_going=[d.id for d, _ in going if d.is_spare and d.is_pending and d.account_id is not None],
    )


def _is_ready(deployment: Deployment, now: float) -> bool:
    return deployment.step is Step.AWAIT_SLOT and (deployment.ready_at or now) <= now


def _is_on_its_way_back(account: Account, wanted: Container[int]) -> bool:
    """Whether it is being cleaned, or leased to what is `wanted` no more, and so will be."""
    is_left = account.state is AccountState.LEASED and not account.shared and account.preview_id not in wanted
    return is_left or account.state is AccountState.CLEANING


def largest_store(accounts: Iterable[Account]) -> int | None:
    """The largest image store of those in use, in bytes; None: one is without limit, or none is in use."""
    stores = [a.bytes_limit for a in accounts if a.state not in _OUT_OF_USE and not a.drain]
    return None if None in stores else max((s for s in stores if s is not None), default=None)


_OUT_OF_USE = frozenset({AccountState.QUARANTINED, AccountState.DRAINED})
#: What a build is expected to take before any of its project is known: an image of Python or Node with its
#: dependencies is some hundred megabytes (contract 5).
UNKNOWN_BYTES = 300 * 2**20


def _waiting(deployment: Deployment, project_id: int, needs: Mapping[int, int]) -> Waiting:
    return Waiting(
        deployment.id,
        deployment.preview_id,
        project_id,
        deployment.since,
        is_bot=deployment.is_bot,
        check_only=deployment.check_only,
        needs_bytes=needs.get(project_id, UNKNOWN_BYTES),
        is_asked_for=deployment.trigger in ASKED_FOR,
    )


def _places(going: Sequence[Deployment], accounts: Sequence[Account]) -> list[Place]:
    builds = Counter(d.account_id for d in going if d.holds_build_slot)
    reserved: Counter[int | None] = Counter()
    for deployment in going:
        if deployment.holds_build_slot:
            reserved[deployment.account_id] += deployment.reserved_bytes or 0
    serving = {d.account_id for d in going if d.is_at_the_address}
    return [
        Place(
            account.id,
            account.preview_id,
            builds[account.id],
            is_shared=account.shared,
            since=account.since,
            bytes_used=(account.bytes_used or 0) + reserved[account.id],
            bytes_limit=account.bytes_limit,
            is_serving=account.id in serving,
        )
        for account in accounts
        if account.state is AccountState.LEASED or (account.state is AccountState.FREE and not account.drain)
    ]
