"""The simulation: ``scheduler.plan()`` decides as in the service, and time jumps from event to event.

What is simpler than in the service: Toolforge bears all builds that the limits allow and never fails by
itself; a build that is cancelled gives its slot back at once; what is at the address is not superseded; the
bytes that a build is expected to take are those that were expected when it arrived.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush
from itertools import count
from typing import Any

from orchestrator import history
from orchestrator.line import Line, Waiting
from orchestrator.scheduler import (
    UNKNOWN_BYTES,
    Built,
    CleanFirst,
    Decision,
    Limits,
    MakeRoom,
    Place,
    Refuse,
    Serve,
    Showing,
    Snapshot,
    Start,
    plan,
)
from orchestrator.simulation.arrivals import Arrival
from orchestrator.simulation.figures import Figures, Tally

#: Time alone can change a plan (a preview has had its time, a bot has aged): while somebody waits, it is
#: planned at least so often.
SWEEP_SECONDS = 15.0


@dataclass(frozen=True)
class Pool:
    """The pool that is simulated, and how long things take in it."""

    accounts: int = 3
    limits: Limits = field(default_factory=Limits)
    #: None: without limit.
    store_bytes: int | None = 2**30
    #: How long a preview stays up at most.
    live_seconds: float = 3 * 86400.0
    #: From an image to its verdict: the job's start and the smoke checks.
    check_seconds: float = 25.0
    cleaning_seconds: float = 20.0
    #: Check-only deployments share accounts; else each has one of its own until its verdict.
    shares: bool = True


class Phase(StrEnum):
    """Where a deployment is."""

    WAITING = "waiting"
    BUILDING = "building"
    #: Built; it waits for the address of its account.
    BUILT = "built"
    CHECKING = "checking"
    LIVE = "live"
    ENDED = "ended"


@dataclass(eq=False, slots=True)
class _Account:
    """An account of the pool and what is on it."""

    id: int
    #: None while it is free, being cleaned, or shared.
    preview: _Preview | None = None
    is_shared: bool = False
    is_cleaning: bool = False
    since: float = 0.0
    builds: int = 0
    bytes_used: int = 0
    #: Set aside for builds that run.
    reserved: int = 0
    at_address: _Deployment | None = None
    #: Deployments of its preview that wait for the address, and the number of all that use a shared one.
    built: list[_Deployment] = field(default_factory=list)
    users: int = 0
    #: As the plan sees it; None when something has changed.
    place: Place | None = None


@dataclass(eq=False, slots=True)
class _Preview:
    """A merge request of which something is on the way or live."""

    id: int
    key: tuple[str, int]
    pending: list[_Deployment] = field(default_factory=list)
    live: _Deployment | None = None
    account: _Account | None = None
    #: The newest commit; only its closing counts.
    newest: _Deployment | None = None
    is_over: bool = False


@dataclass(eq=False, slots=True)
class _Deployment:
    """One commit on its way."""

    id: int
    arrival: Arrival
    preview: _Preview
    project_id: int
    phase: Phase = Phase.WAITING
    account: _Account | None = None
    reserved: int = 0
    is_first: bool = False
    stays: bool = True
    started_at: float = 0.0
    since: float = 0.0


class Simulation:
    """One pool, one stream of arrivals."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._limits = pool.limits
        self._now = 0.0
        self._tally = Tally()
        self._events: list[tuple[float, int, Any, Any]] = []
        self._numbers = count(1)
        self._accounts = [_Account(number) for number in range(pool.accounts)]
        self._previews: dict[tuple[str, int], _Preview] = {}
        self._by_id: dict[int, _Preview] = {}
        self._on_the_way: dict[int, _Deployment] = {}
        self._projects: dict[str, int] = {}
        self._needs: dict[int, int | None] = {}
        self._line = Line()
        self._showing: dict[int, Showing] = {}
        self._built: dict[int, Built] = {}
        self._building: Counter[int] = Counter()
        self._builds = 0
        self._cleaning = 0
        self._in_use = 0
        self._plan_again = False
        self._planned_at = 0.0

    def run(self, arrivals: Iterable[Arrival]) -> Figures:
        """Let everything arrive, and go on until each has its verdict."""
        for _ in self.steps(arrivals):
            pass
        return self._tally.figures(
            accounts=self._pool.accounts,
            slots=self._limits.max_concurrent_builds,
            spared_seconds=self._pool.cleaning_seconds,
        )

    def steps(self, arrivals: Iterable[Arrival]) -> Iterator[float]:
        """The same, step by step: the time after each."""
        coming = iter(arrivals)
        following = next(coming, None)
        while following is not None or self._on_the_way:
            at = self._events[0][0] if self._events else float("inf")
            arrives_at = float("inf") if following is None else following.at
            sweep_at = self._planned_at + SWEEP_SECONDS if self._line else float("inf")
            if sweep_at < min(at, arrives_at):
                self._pass(sweep_at)
                self._plan_again = True
            elif following is not None and arrives_at <= at:
                self._pass(arrives_at)
                self._arrives(following)
                following = next(coming, None)
            else:
                at, _, happens, to_what = heappop(self._events)
                self._pass(at)
                happens(to_what)
            if self._plan_again and (self._line or self._built):
                self._plan()
            yield self._now

    def _pass(self, now: float) -> None:
        self._now = now
        self._tally.passes(now, self._builds, self._in_use)

    def _later(self, seconds: float, happens: Any, to_what: Any) -> None:
        heappush(self._events, (self._now + seconds, next(self._numbers), happens, to_what))

    # --- what happens ---------------------------------------------------------------------------------

    def _arrives(self, arrival: Arrival) -> None:
        self._tally.arrives(self._now)
        key = (arrival.project, arrival.merge_request)
        preview = self._previews.get(key)
        if preview is None:
            preview = self._previews[key] = _Preview(next(self._numbers), key)
            self._by_id[preview.id] = preview
        project_id = self._projects.setdefault(arrival.project, len(self._projects))
        new = _Deployment(next(self._numbers), arrival, preview, project_id, is_first=preview.newest is None)
        preview.newest = new
        preview.pending.append(new)
        self._showing.pop(preview.id, None)
        self._on_the_way[new.id] = new
        for older in preview.pending[:-1]:
            if older.phase is not Phase.CHECKING:
                self._end(older, "superseded")
        self._line.join(self._waiting(new))
        self._tally.longest_line = max(self._tally.longest_line, len(self._line))
        if arrival.open_seconds is not None:
            self._later(arrival.open_seconds, self._closed, new)
        self._plan_again = True

    def _waiting(self, new: _Deployment) -> Waiting:
        known = self._needs.get(new.project_id)
        return Waiting(
            new.id,
            new.preview.id,
            new.project_id,
            self._now,
            is_bot=new.arrival.is_bot,
            check_only=new.arrival.check_only and self._pool.shares,
            needs_bytes=UNKNOWN_BYTES if known is None else known,
        )

    def _closed(self, newest: _Deployment) -> None:
        preview = newest.preview
        if preview.newest is newest and self._by_id.get(preview.id) is preview:
            for pending in list(preview.pending):
                self._end(pending, "closed")
            self._stop(preview)
            self._forget_if_done(preview)

    def _build_ends(self, built: _Deployment) -> None:
        account = built.account
        if built.phase is not Phase.BUILDING or account is None:
            return
        self._leave_slot(built)
        arrival, limit = built.arrival, self._pool.store_bytes
        if arrival.outcome == "build":
            self._verdict(built, "build")
        elif limit is not None and account.bytes_used + arrival.image_bytes > limit:
            self._verdict(built, "full")
        else:
            account.bytes_used += arrival.image_bytes
            project_id = built.project_id
            self._needs[project_id] = history.expected_bytes(self._needs.get(project_id), arrival.image_bytes)
            built.phase, built.since = Phase.BUILT, self._now
            if account.is_shared:
                self._built[built.id] = Built(built.id, account.id, self._now)
                self._plan_again = True
            else:
                account.built.append(built)
                self._next_at_address(account)

    def _check(self, built: _Deployment, account: _Account) -> None:
        if account.is_shared:
            self._tally.waited_for_address(self._now - built.since)
        built.phase = Phase.CHECKING
        account.at_address, account.place = built, None
        self._later(self._pool.check_seconds, self._check_ends, built)

    def _check_ends(self, checked: _Deployment) -> None:
        if checked.phase is Phase.CHECKING:
            outcome = checked.arrival.outcome
            self._verdict(checked, "passed" if outcome == "ok" else outcome)

    def _verdict(self, decided: _Deployment, end: str) -> None:
        arrival, pool = decided.arrival, self._pool
        check = 0.0 if end in {"build", "full"} else pool.check_seconds
        # The first of a merge request that stays needs an account for itself, and that has to be cleaned.
        alone_on_it = decided.is_first and not arrival.check_only
        self._tally.verdict(
            end,
            self._now,
            came=arrival.at,
            started=decided.started_at,
            is_bot=arrival.is_bot,
            of_slot=arrival.build_seconds,
            of_account=check + (arrival.build_seconds + pool.cleaning_seconds if alone_on_it else 0.0),
            alone=arrival.build_seconds + check,
        )
        if end == "passed" and decided.stays:
            self._goes_live(decided)
        else:
            self._settle(decided)

    def _goes_live(self, live: _Deployment) -> None:
        preview = live.preview
        if preview.live is not None:
            preview.live.phase = Phase.ENDED
        live.phase, live.since = Phase.LIVE, self._now
        preview.live, preview.is_over = live, False
        self._later(self._pool.live_seconds, self._expires, live)
        self._settle(live)

    def _expires(self, live: _Deployment) -> None:
        if live.phase is Phase.LIVE:
            live.preview.is_over = True
            self._forget_if_done(live.preview)

    def _cleaned(self, account: _Account) -> None:
        account.is_cleaning, account.place = False, None
        self._cleaning -= 1
        self._in_use -= 1
        self._plan_again = True

    # --- what follows from it -------------------------------------------------------------------------

    def _end(self, ended: _Deployment, end: str) -> None:
        """Superseded, closed or refused before its verdict."""
        self._tally.ends[end] += 1
        if ended.phase is Phase.WAITING:
            self._line.leave(ended.id)
        elif ended.phase is Phase.BUILDING:
            self._leave_slot(ended)
        elif ended.phase is Phase.BUILT and ended.account is not None:
            self._built.pop(ended.id, None)
            if not ended.account.is_shared:
                ended.account.built.remove(ended)
        self._settle(ended)

    def _leave_slot(self, built: _Deployment) -> None:
        self._builds -= 1
        self._building[built.project_id] -= 1
        if not self._building[built.project_id]:
            del self._building[built.project_id]
        if built.account is not None:
            built.account.builds -= 1
            built.account.reserved -= built.reserved
            built.account.place = None
        self._plan_again = True

    def _settle(self, settled: _Deployment) -> None:
        """It is not on its way any more; what it used is somebody else's turn."""
        preview, account = settled.preview, settled.account
        if settled.phase is not Phase.LIVE:
            settled.phase = Phase.ENDED
        preview.pending.remove(settled)
        del self._on_the_way[settled.id]
        if account is not None:
            if account.at_address is settled:
                account.at_address, account.place = None, None
                self._plan_again = self._plan_again or account.is_shared
                self._next_at_address(account)
            if account.is_shared:
                account.users -= 1
                if account.users == 0:
                    self._release(account)
        self._forget_if_done(preview)

    def _next_at_address(self, account: _Account) -> None:
        if account.built and account.at_address is None:
            self._check(account.built.pop(0), account)

    def _stop(self, preview: _Preview) -> None:
        """Take down what is live."""
        if preview.live is not None:
            preview.live.phase, preview.live = Phase.ENDED, None
        self._showing.pop(preview.id, None)

    def _forget_if_done(self, preview: _Preview) -> None:
        """Show the preview as one that could give way, or give its account back when nothing is left."""
        if preview.pending:
            return
        if preview.is_over:
            self._stop(preview)
        if preview.live is not None:
            self._showing[preview.id] = Showing(preview.id, preview.live.since)
            self._plan_again = True
            return
        if preview.account is not None:
            self._release(preview.account)
        if self._by_id.pop(preview.id, None) is not None:
            del self._previews[preview.key]

    def _release(self, account: _Account) -> None:
        if account.preview is not None:
            account.preview.account = None
        account.preview, account.is_shared, account.is_cleaning = None, False, True
        account.bytes_used, account.place = 0, None
        self._cleaning += 1
        self._plan_again = True
        self._later(self._pool.cleaning_seconds, self._cleaned, account)

    # --- the plan -------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """What the plan looks at."""
        # Only a live preview whose next commit waits can have to be cleaned first.
        alone = frozenset(
            account.preview.id
            for account in self._accounts
            if account.preview is not None
            and account.preview.live is not None
            and account.preview.pending
            and all(one.phase is Phase.WAITING for one in account.preview.pending)
        )
        return Snapshot(
            waiting=self._line,
            places=[a.place or self._place(a) for a in self._accounts if not a.is_cleaning],
            showing=list(self._showing.values()),
            built=list(self._built.values()),
            building=self._building,
            cleaning=self._cleaning,
            alone=alone,
            largest_store=self._pool.store_bytes,
        )

    def _place(self, account: _Account) -> Place:
        account.place = Place(
            account.id,
            None if account.preview is None else account.preview.id,
            account.builds,
            is_shared=account.is_shared,
            since=account.since,
            bytes_used=account.bytes_used + account.reserved,
            bytes_limit=self._pool.store_bytes,
            is_serving=account.at_address is not None,
        )
        return account.place

    def _plan(self) -> None:
        self._plan_again = False
        self._planned_at = self._now
        for decision in plan(self.snapshot(), self._limits, self._now):
            self._carry_out(decision)

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Start():
                self._start(decision)
            case Serve(deployment_id):
                built = self._on_the_way[deployment_id]
                del self._built[deployment_id]
                if built.account is not None:
                    self._check(built, built.account)
            case MakeRoom(preview_id):
                self._tally.made_room += 1
                preview = self._by_id[preview_id]
                self._stop(preview)
                self._forget_if_done(preview)
            case CleanFirst(preview_id):
                self._tally.cleaned_first += 1
                preview = self._by_id[preview_id]
                self._stop(preview)
                if preview.account is not None:
                    self._release(preview.account)
            case Refuse(deployment_id):
                self._end(self._on_the_way[deployment_id], "refused")

    def _start(self, decision: Start) -> None:
        started = self._on_the_way[decision.deployment_id]
        account = self._accounts[decision.account_id]
        self._line.leave(started.id)
        if account.preview is None and not account.is_shared:
            account.is_shared, account.since = decision.is_shared, self._now
            self._in_use += 1
            if not decision.is_shared:
                account.preview, started.preview.account = started.preview, account
        account.users += decision.is_shared
        # Beside a good preview of its own there is nothing to give back after the verdict.
        started.stays = not started.arrival.check_only or (self._pool.shares and not decision.is_shared)
        started.account, started.phase, started.started_at = account, Phase.BUILDING, self._now
        started.reserved = decision.needs_bytes
        account.builds += 1
        account.reserved += started.reserved
        account.place = None
        self._builds += 1
        self._building[started.project_id] += 1
        self._later(started.arrival.build_seconds, self._build_ends, started)
