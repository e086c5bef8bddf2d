"""What a plan, or a forecast, has to look at, and no more.

The scheduler decides over a snapshot of the whole pool, yet what it decides depends on few of its rows: an
account is given to whoever waits only while there are build slots, and room is made for no more than wait.
What is seen here leads to the decisions that all rows would lead to, however large the pool is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator import scheduler
from orchestrator.forecast import Turn, forecast
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, Step
from orchestrator.records import Project
from orchestrator.scheduler import Ceiling, Limits, Snapshot
from orchestrator.stock import Going
from orchestrator.store import Tx
from orchestrator.switches import Switches

#: Who is ripe is for the plan to say, to the last bit; this much younger ones are seen, too.
_NEARLY_SECONDS = 1.0
#: Later than any time; MariaDB knows no infinity.
_EVER = 1e18


@dataclass(frozen=True)
class Sight:
    """The rows that matter, as they are at one moment."""

    #: Unsettled deployments, each with its project's id; the oldest first.
    going: Sequence[tuple[Deployment, int]]
    #: By name.
    accounts: Sequence[Account]
    projects: Sequence[Project]
    ceiling: Ceiling
    switches: Switches
    #: Until when previews do not give way, by their id; only of those that are kept.
    kept_until: Mapping[int, float]
    #: See :class:`scheduler.Limits`.
    cohort_seconds: float = 0.0

    def snapshot(self, now: float) -> Snapshot:
        """What the scheduler plans with."""
        return scheduler.take_snapshot(
            self.going,
            self.accounts,
            self.ceiling,
            _needs(self.projects),
            now=now,
            frozen=self.switches.is_frozen,
            paused=self.switches.paused_projects,
            kept=self.kept_until,
            cohort_seconds=self.cohort_seconds,
        )

    def turns(self, limits: Limits, now: float) -> Mapping[int, Turn]:
        """What each waiting deployment can expect, by its id."""
        seconds = {p.id: p.build_seconds for p in self.projects if p.build_seconds is not None}
        with_weights = scheduler.with_weights(limits, self.projects)
        snapshot = self.snapshot(now)
        return forecast(snapshot, self.going, self.accounts, seconds, with_weights, now, self.kept_until)


def for_plan(tx: Tx, limits: Limits, now: float) -> Sight:
    """What the plan of this moment depends on."""
    scene = _Scene(tx, limits)
    accounts = scene.accounts_to_build_on()
    beside = scene.live_beside(accounts)
    nearly = now - limits.min_live_seconds + _NEARLY_SECONDS
    most = scene.rooms_wanted(accounts)
    # Of those beside, something else may be on its way.
    ripe = tx.longest_live(now, before=nearly, limit=most + len(beside)) if most else []
    return scene.seen(accounts, [*beside, *ripe], now)


def for_forecast(tx: Tx, limits: Limits, now: float) -> Sight:
    """What those who wait can expect depends on: as many accounts as wait, those that come free first."""
    scene = _Scene(tx, limits)
    most = len(scene.waiting)
    accounts = scene.accounts(free=most, cleaning=most)
    beside = scene.live_beside(accounts)
    # Some of these have something on its way, and some are on an account that nobody else will get.
    most += len(beside) + tx.draining_count() if most else 0
    longest = tx.longest_live(now, before=_EVER, limit=most) if most else []
    kept = tx.kept_live(now, limit=most) if most else []
    live = [*beside, *longest, *kept]
    known = {account.id for account in accounts}
    more = {one.deployment.account_id for one in live if one.deployment.account_id is not None} - known
    return scene.seen(tx.accounts_by_id(known | more) if more else accounts, live, now)


class _Scene:
    """Reads the rows, one kind after the other."""

    def __init__(self, tx: Tx, limits: Limits) -> None:
        self._tx = tx
        self._limits = limits
        self._going = tx.unfinished()
        self._projects = tx.projects()
        self._ceiling = tx.ceiling(limits)
        self.waiting = [one for one in self._going if one.deployment.step is Step.AWAIT_SLOT]
        building = [one.deployment for one in self._going if one.deployment.holds_build_slot]
        borne = min(self._ceiling.builds, limits.max_concurrent_builds)
        self._slots = max(borne - len(building), 0)
        #: What a build under way will put there counts on the account, even if its lease is over.
        self._built_on = {d.account_id for d in building if d.account_id is not None}

    def accounts_to_build_on(self) -> list[Account]:
        """The accounts that something can be started on, or that decide on who gives way.

        A plan takes the first free account by name that has room, and at most as many as it has slots and
        people waiting; one more tells whether it has to look for others. Where some of these are too small,
        those of each size are looked for that are not.
        """
        most = min(self._slots, len(self.waiting)) + 1
        accounts = self.accounts(free=most, cleaning=len(self.waiting))
        free = [a for a in accounts if a.state is AccountState.FREE and not a.drain]
        known = {account.id for account in accounts}
        more: set[int] = set()
        for size in self._sizes(scheduler.largest_store(accounts)) if len(free) >= most else ():
            if not all(_has_room(account, size) for account in free):
                more |= self._tx.free_with_room(size, limit=most, but=self._built_on)
        return accounts if more <= known else self._tx.accounts_by_id(known | more)

    def accounts(self, *, free: int, cleaning: int) -> list[Account]:
        """So many that are to be had or being cleaned, and all that are used by what is unfinished."""
        ids = self._tx.accounts_that_matter(
            _previews(self._going), free=free, cleaning=cleaning, but=self._built_on
        )
        return self._tx.accounts_by_id(ids | self._built_on)

    def live_beside(self, accounts: Iterable[Account]) -> list[Going]:
        """What is live of the previews that something else was read of."""
        holders = {account.preview_id for account in accounts if account.preview_id is not None}
        return self._tx.live_of(_previews(self._going) | holders)

    def rooms_wanted(self, accounts: Iterable[Account]) -> int:
        """For how many the plan may make room, at most: it does not look at a long line in vain."""
        most = len(self.waiting)
        is_one_free = any(account.state is AccountState.FREE and not account.drain for account in accounts)
        return most if self._slots and is_one_free else min(most, self._limits.look_ahead)

    def seen(self, accounts: Sequence[Account], live: Iterable[Going], now: float) -> Sight:
        """All of it."""
        going = {one.deployment.id: one for one in (*self._going, *live)}
        return Sight(
            going=[(going[number].deployment, going[number].project_id) for number in sorted(going)],
            accounts=accounts,
            projects=self._projects,
            ceiling=self._ceiling,
            switches=self._tx.switches(),
            cohort_seconds=self._limits.cohort_seconds,
            kept_until={
                one.deployment.preview_id: until
                for one in going.values()
                if (until := one.kept_until(now)) is not None
            },
        )

    def _sizes(self, largest: int | None) -> set[int]:
        """The bytes that those who wait need, as far as an account of the pool has them."""
        needs = _needs(self._projects)
        sizes = {needs.get(one.project_id, scheduler.UNKNOWN_BYTES) for one in self.waiting}
        return {size for size in sizes if largest is None or size <= largest}


def _needs(projects: Iterable[Project]) -> dict[int, int]:
    return {p.id: p.image_bytes for p in projects if p.image_bytes is not None}


def _previews(going: Collection[Going]) -> set[int]:
    return {one.deployment.preview_id for one in going}


def _has_room(account: Account, size: int) -> bool:
    return account.bytes_limit is None or (account.bytes_used or 0) + size <= account.bytes_limit
